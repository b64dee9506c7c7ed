"""export: a file that another runtime reads, with the head, and says what torch says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.full_recording import score_recording
from stream.types import LABELS, softmax
from tests.conftest import ROOT
from tests.stream.models.emotion2vec.conftest import sound
from tests.stream.models.emotion2vec.test_parity import CLOSE, generate

pytestmark = pytest.mark.skipif(
    find_spec("onnxscript") is None, reason="onnxscript is not installed: ./run.sh install export"
)

# As a program of another language would: nothing of this project, and no torch.
PROGRAM = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
samples = np.load(sys.argv[2])
answers = session.run(["logits", "frame_logits", "embedding"], {"samples": samples})
about = session.get_modelmeta().custom_metadata_map
np.savez(sys.argv[3], *answers, labels=about["labels"].split(","), rate=int(about["sample_rate"]))
assert "torch" not in sys.modules
"""


def exported(folder: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "export", str(folder), "--out", str(out), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "small.onnx"
    done = exported(folder, out)
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout and "license" in done.stdout and "differ" in done.stdout
    assert "Traceback" not in done.stderr and "torchvision" not in done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 2.31, 11.0])
def test_its_answers_are_torchs_and_funasrs(
    ours: Any, theirs: Any, file: Path, tmp_path: Path, seconds: float
) -> None:
    heard = [sound(seconds, seed) for seed in range(2)]
    np.save(tmp_path / "in.npy", np.stack(heard))
    command = [sys.executable, "-c", PROGRAM, str(file), str(tmp_path / "in.npy"), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    assert tuple(found["labels"]) == LABELS and found["rate"] == 16_000
    whole, frames, embeddings = (found[f"arr_{i}"] for i in range(3))
    assert frames.shape == (2, (len(heard[0]) - 400) // 320 + 1, 9)
    for row, samples in enumerate(heard):
        scores, embedding = generate(theirs, samples)
        mine = score_recording([samples], ours, embed=True)
        assert mine.embedding is not None
        np.testing.assert_allclose(softmax(whole[row]), scores, atol=CLOSE)
        np.testing.assert_allclose(softmax(whole[row]), mine.probs(), atol=CLOSE)
        np.testing.assert_allclose(embeddings[row], embedding, atol=CLOSE)
        np.testing.assert_allclose(embeddings[row], mine.embedding, atol=CLOSE)
        np.testing.assert_allclose(softmax(frames[row].mean(0)), scores, atol=CLOSE)


@pytest.mark.slow
def test_labels_that_the_checkpoint_does_not_know_are_never_said(folder: Path, tmp_path: Path) -> None:
    import onnxruntime

    from bench.emotion2vec_random import OLD_TOKENS

    old = tmp_path / "old"
    shutil.copytree(folder, old)
    (old / "tokens.txt").write_text("\n".join(OLD_TOKENS), encoding="utf-8")
    done = exported(old, tmp_path / "old.onnx")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "old.onnx", providers=["CPUExecutionProvider"])
    logits, frames = session.run(["logits", "frame_logits"], {"samples": sound(1.0)[None]})
    about = session.get_modelmeta().custom_metadata_map
    unknown = [i for i, label in enumerate(LABELS) if label not in about["supported_labels"].split(",")]
    assert len(unknown) == 4
    assert softmax(logits)[..., unknown].max() == 0 and softmax(frames)[..., unknown].max() == 0


@pytest.mark.slow
def test_what_is_no_model_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "emotion3vec"):
        done = exported(Path(name), tmp_path / "none.onnx")
        assert done.returncode == 2 and done.stderr.strip() and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "none.onnx").exists()
