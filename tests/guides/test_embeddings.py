"""What people do with embedding.npy files, as code for other servers does it: NumPy, scikit-learn, UMAP; and then
the same by this product's own tools, which have to agree.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile

from tests.conftest import ROOT
from tests.server.conftest import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed"),
]

HERE = "/api/v1/emotion/recognize"
CLIPS = 24


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> Path:
    """What a server keeps of two dozen clips, sent as the guides send them; odd ones by a bad telephone."""
    clips, kept = tmp_path_factory.mktemp("clips"), tmp_path_factory.mktemp("outputs")
    for i in range(CLIPS):
        at = 7_000 * i
        piece = demo_samples[at : at + 4 * 16_000]
        sound = np.repeat(piece[::4], 4) if i % 2 else piece
        soundfile.write(clips / f"call_{i:03}.wav", sound, 16_000, subtype="PCM_16")
    with running(files__outputs=kept) as server:

        def send(path: Path) -> dict[str, Any]:
            with path.open("rb") as f:
                data = {"granularity": "utterance", "extract_embedding": "true"}
                response = requests.post(server.url + HERE, files={"audio_file": f}, data=data, timeout=60)
            response.raise_for_status()
            answer: dict[str, Any] = response.json()
            return answer

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(send, sorted(clips.glob("*.wav"))))
    assert all(answer["embedding_saved"] for answer in answers)
    return kept


@pytest.fixture(scope="module")
def loaded(outputs: Path) -> tuple[list[Path], np.ndarray]:
    """All embeddings below a folder, by the names of their folders."""
    paths = sorted(outputs.glob("outputs_*/embedding.npy"))
    rows = [safe_load(path) for path in paths]
    assert len(rows) == CLIPS and len({row.shape for row in rows}) == 1
    return [path.parent for path in paths], np.stack(rows)


def safe_load(path: Path) -> np.ndarray:
    """As the careful among them read it: its magic number, without pickle, mapped into memory."""
    with path.open("rb") as f:
        assert f.read(6) == b"\x93NUMPY"
    vector: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False).astype(np.float32)
    return vector


def tools(*arguments: object) -> str:
    command = [sys.executable, "-m", "cli", "tools", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_embedding_is_a_plain_float32_vector(outputs: Path) -> None:
    path = next(outputs.glob("outputs_*/embedding.npy"))
    vector = np.load(path, allow_pickle=False)
    assert vector.dtype == np.float32 and vector.ndim == 1 and np.linalg.norm(vector) > 0
    assert path.read_bytes()[:8] == b"\x93NUMPY\x01\x00"


def test_similarity_by_cosine_and_by_the_tool(outputs: Path, loaded: tuple[list[Path], np.ndarray]) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    folders, rows = loaded
    a, b = rows[0], rows[1]
    similarity = cosine_similarity([a], [b])[0][0]
    assert -1 <= similarity <= 1 and cosine_similarity([a], [a])[0][0] == pytest.approx(1, abs=1e-5)
    everything = cosine_similarity([a], rows)[0]
    nearest = [i for i in np.argsort(-everything) if i != 0][:5]
    said = tools("similar", folders[0], outputs, "-n", 5)
    assert re.findall(r"\((outputs_\S+)\)", said) == [folders[i].name for i in nearest]
    cosines = [float(line.split()[0]) for line in said.splitlines()]
    assert cosines == pytest.approx([everything[i] for i in nearest], abs=1e-4)


def test_a_hundred_thousand_fit_into_a_memory_map(tmp_path: Path) -> None:
    """Rows written one by one, looked at in blocks: as the guides advise, and as the tool does."""
    n, size = 20_000, 774
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=size).astype(np.float32)
    held = np.lib.format.open_memmap(tmp_path / "all.npy", "w+", np.float32, (n, size))
    for start in range(0, n, 5000):
        held[start : start + 5000] = rng.normal(size=(5000, size))
    held[12_345] = 2 * wanted
    held.flush()
    mapped = np.load(tmp_path / "all.npy", mmap_mode="r", allow_pickle=False)
    best = [-1.0, -1.0]
    for start in range(0, n, 4096):
        block = mapped[start : start + 4096]
        cosines = block @ wanted / (np.linalg.norm(block, axis=1) * np.linalg.norm(wanted))
        at = int(cosines.argmax())
        if cosines[at] > best[0]:
            best = [float(cosines[at]), start + at]
    assert best == [pytest.approx(1, abs=1e-5), 12_345]


@pytest.mark.filterwarnings("ignore")  # UMAP's, about Tensorflow and one thread
def test_groups_by_umap_and_hdbscan(loaded: tuple[list[Path], np.ndarray]) -> None:
    from sklearn.cluster import HDBSCAN

    umap = pytest.importorskip("umap", exc_type=ImportError)
    _, rows = loaded
    flat = umap.UMAP(n_components=2, random_state=42, n_jobs=1, n_neighbors=10).fit_transform(rows)
    labels = HDBSCAN(min_cluster_size=5, copy=True).fit_predict(flat)
    assert flat.shape == (CLIPS, 2) and np.isfinite(flat).all() and labels.shape == (CLIPS,)


def test_the_tools_groups_are_a_table_for_others(outputs: Path, tmp_path: Path) -> None:
    tools("cluster", outputs, "--method", "pca", "-k", 2, "--out", tmp_path)
    with (tmp_path / "clusters.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == CLIPS and {row["cluster"] for row in rows} == {"0", "1"}
    assert all(row["name"].startswith("call_") for row in rows)


def test_own_labels_from_few_examples(loaded: tuple[list[Path], np.ndarray]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    folders, rows = loaded
    called = [json.loads((folder / "result.json").read_bytes())["file_name"] for folder in folders]
    names = np.array(["telephone" if int(name[5:8]) % 2 else "direct" for name in called])
    train, test, wanted, told = train_test_split(rows, names, test_size=0.25, random_state=42, stratify=names)
    classifier = LogisticRegression(max_iter=1000).fit(train, wanted)
    assert classifier.score(test, told) > 0.8
