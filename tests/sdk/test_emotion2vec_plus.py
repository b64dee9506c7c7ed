"""Programs written against `Emotion2VecPlus`, as readers of the guides type them, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile

import server
from stream.types import LABELS, SAMPLE_RATE
from tests.conftest import ROOT, free_port
from tests.server.clients import eventually

INTEGRATION = ROOT / "integrations" / "emotion2vec_plus"

SERVICE = """
import json, sys
from pathlib import Path

import numpy as np
from emotion2vec_plus import Emotion2VecPlus
from sklearn.metrics.pairwise import cosine_similarity

model = Emotion2VecPlus(model_name="large")
REFERENCE = np.load("reference.npy")


def handle(path):
    try:
        vector = model.extract_embedding(path)
        scores = model.classify_embedding(vector)
        best = max(scores.items(), key=lambda pair: pair[1])[0]
        near = float(cosine_similarity([vector], [REFERENCE])[0][0])
        return {
            "filepath": path,
            "embedding": vector.tolist(),
            "emotion": best,
            "confidence": float(scores[best]),
            "similarity_to_sample": round(near, 4),
            "status": "success",
        }
    except Exception as wrong:
        return {"filepath": path, "error": str(wrong), "status": "failed"}


where = Path(sys.argv[1])
files = [where] if where.is_file() else sorted(where.glob("**/*.wav"))
print(json.dumps([handle(str(file)) for file in files], ensure_ascii=False, indent=2))
"""

OFFLINE = """
import json, sys
from datetime import datetime
from pathlib import Path

import numpy as np
from emotion2vec_plus import Emotion2VecPlus

model = Emotion2VecPlus(model_path=sys.argv[1], device="cpu")


def offline(path, granularity):
    waveform, sample_rate = model.load_audio(path)
    result = model.inference(
        waveform=waveform, sample_rate=sample_rate, granularity=granularity, return_embedding=True
    )
    out = Path("offline") / datetime.now().strftime("outputs_%Y%m%d_%H%M%S_%f")
    out.mkdir(parents=True)
    with open(out / "result.json", "w") as file:
        json.dump(result, file, indent=2, ensure_ascii=False)
    if "embedding" in result:
        np.save(out / "embedding.npy", result["embedding"])
    return result


said = offline("speech.wav", "utterance")
print(f"{said['emotion']} ({said['confidence']:.2%})")
frames = offline("speech.wav", "frame")
assert frames["emotion"] in frames["scores"] and len(frames["frame_emotions"]) == len(frames["frame_scores"]) > 100
"""

WRAPPER = """
import os, sys, tempfile

from emotion2vec_plus import Emotion2VecPlus
from flask import Flask, jsonify, request

app = Flask(__name__)
model = Emotion2VecPlus(model_name="large")


@app.post("/analyze")
def analyze():
    upload = request.files["file"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "upload" + os.path.splitext(upload.filename)[1])
        upload.save(path)
        try:
            waveform, sample_rate = model.load_audio(path)
            found = model.inference(waveform=waveform, sample_rate=sample_rate)
        except Exception as wrong:
            return jsonify(detail=str(wrong)), 500
    return jsonify({name: found[name] for name in ("emotion", "confidence", "scores", "granularity")})


app.run(port=int(sys.argv[1]), threaded=True)
"""


def environment(**more: str) -> dict[str, str]:
    """Both packages, as if they were installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(INTEGRATION), str(ROOT)]), **more}


def run(program: str, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "program.py", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=110
    )


@pytest.fixture
def folder(tmp_path: Path, speech: np.ndarray) -> Path:
    soundfile.write(tmp_path / "speech.wav", speech, SAMPLE_RATE)
    calls = tmp_path / "calls"
    calls.mkdir()
    soundfile.write(calls / "a.wav", speech[: 3 * SAMPLE_RATE], SAMPLE_RATE)
    soundfile.write(calls / "b.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    return tmp_path


@pytest.mark.slow
def test_the_service_runs_as_it_stands(folder: Path) -> None:
    compact = {"EMOTION2VEC_PLUS_MODEL": "compact"}
    make = "import numpy as np; from emotion2vec_plus import Emotion2VecPlus as E; "
    done = run(
        make + "np.save('reference.npy', E(model_name='large').extract_embedding('speech.wav'))",
        folder,
        **compact,
    )
    assert done.returncode == 0, done.stderr
    assert "EMOTION2VEC_PLUS_MODEL=compact is used instead of large" in done.stderr
    (one,) = json.loads(run(SERVICE, folder, "speech.wav", **compact).stdout)
    assert one["status"] == "success" and one["emotion"] in LABELS and len(one["embedding"]) == 512
    assert one["similarity_to_sample"] == 1.0
    speaking, silent = json.loads(run(SERVICE, folder, "calls", **compact).stdout)
    assert speaking["status"] == "success" and 0 < speaking["similarity_to_sample"] < 1
    assert silent["status"] == "failed" and "no speech" in silent["error"]


@pytest.mark.slow
def test_offline_analysis_with_a_checkpoint_of_emotion2vec(folder: Path, checkpoint: Path) -> None:
    done = run(OFFLINE, folder, str(checkpoint))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\w+ \(\d+\.\d\d%\)$", done.stdout, re.M)
    whole, frames = sorted((folder / "offline").iterdir())
    told = json.loads((whole / "result.json").read_text(encoding="utf-8"))
    assert told["granularity"] == "utterance" and set(told["scores"]) == set(LABELS)
    np.testing.assert_allclose(np.load(whole / "embedding.npy"), told["embedding"])
    assert json.loads((frames / "result.json").read_text(encoding="utf-8"))["granularity"] == "frame"


@pytest.mark.slow
def test_a_classified_embedding_of_emotion2vec_is_its_recordings_verdict(
    folder: Path, checkpoint: Path
) -> None:
    from emotion_stream import EmotionModel

    with EmotionModel(str(checkpoint), "cpu") as model:
        found = model.analyze(folder / "speech.wav", return_embedding=True)
        scores = model.classify_embedding(found.embedding)
    assert scores == pytest.approx(found.scores, abs=1e-4)
    assert max(scores.values()) - min(scores.values()) > 0.05, "this test could see another answer"


@pytest.fixture
def wrapper(folder: Path) -> Iterator[str]:
    (folder / "wrapper.py").write_text(WRAPPER, encoding="utf-8")
    port = free_port()
    env = environment(EMOTION2VEC_PLUS_MODEL="compact")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "wrapper.py", str(port)], cwd=folder, env=env, stdout=log, stderr=log
        )
    eventually(
        lambda: "Running on" in (folder / "log").read_text() or process.poll() is not None, "it serves", 60
    )
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


@pytest.mark.slow
def test_a_web_service_around_it_answers(wrapper: str, folder: Path) -> None:
    def post(path: Path) -> requests.Response:
        with path.open("rb") as file:
            return requests.post(f"{wrapper}/analyze", files={"file": file}, timeout=60)

    answer = post(folder / "speech.wav")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["emotion"] in LABELS and told["confidence"] == max(told["scores"].values())
    (folder / "notes.txt").write_text("no audio")
    assert "send WAV, MP3" in post(folder / "notes.txt").json()["detail"]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_example_of_the_page_runs(page: str, folder: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (INTEGRATION / page).read_text(encoding="utf-8"), re.S)
    done = run(example, folder, EMOTION2VEC_PLUS_MODEL="compact")
    assert done.returncode == 0, done.stderr
    assert " 512\n" in done.stdout


def test_a_model_that_cannot_be_had_says_what_to_do(folder: Path) -> None:
    done = run("from emotion2vec_plus import Emotion2VecPlus as E; E(model_path='/nowhere/large')", folder)
    assert "no model, and no folder, is called '/nowhere/large'" in done.stderr
    done = run("from emotion2vec_plus import Emotion2VecPlus as E; E('a', model_name='b')", folder)
    assert "not both" in done.stderr


def test_it_has_the_products_version_and_license() -> None:
    project = tomllib.loads((INTEGRATION / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["version"] == {"path": "emotion2vec_plus/__init__.py"}
    source = (INTEGRATION / "emotion2vec_plus" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{server.__version__}"' in source
    minor = server.__version__.rpartition(".")[0]
    assert f"emotion-stream>={minor},<" in project["project"]["dependencies"][0]
    assert (INTEGRATION / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    pages = [(INTEGRATION / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")]
    assert pages[0].count("\n- **") == pages[1].count("\n- **") == 7
