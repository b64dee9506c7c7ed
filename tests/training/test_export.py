"""compact as one file: a program that has nothing of ours scores with it as the server does, in any windows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.models.compact import graph
from stream.types import LABELS, samples_for, softmax
from stream.utterance import Utterance
from tests.conftest import ROOT
from tests.stream.voices import voice, window

# As a program of another language would: nothing of this project.
PROGRAM = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
shapes = {given.name: given.shape for given in session.get_inputs()}
samples, frames = np.load(sys.argv[2]), [int(n) for n in sys.argv[4].split(",")]
fed = {name: np.zeros((len(samples), *shapes[name][1:]), np.float32) for name in ("state", "kv")}
at, said = 0, []
for n in frames:
    fed["samples"] = samples[:, at * 160 : at * 160 + (n - 1) * 160 + 400]
    names = ["logits", "frame_logits", "frame_weights", "embedding", "state_after", "kv_after"]
    *answers, fed["state"], fed["kv"] = session.run(names, fed)
    said.append(answers)
    at += n
about = session.get_modelmeta().custom_metadata_map
np.savez(sys.argv[3], logits=said[0][0], embedding=said[0][3], labels=about["labels"].split(","),
         step=int(about["step_ms"]), **{name: np.concatenate([part[i] for part in said], 1)
                                        for i, name in ((1, "frames"), (2, "weights"))})
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in ("torch", "onnx"):
        pytest.importorskip(library, reason="./run.sh install torch export")
    out = tmp_path_factory.mktemp("export") / "compact.onnx"
    command = [sys.executable, "-m", "cli", "export", "compact", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout and "differ" in done.stdout and "non-commercial" in done.stdout
    assert [path.name for path in out.parent.iterdir()] == ["compact.onnx"]
    return out


@pytest.mark.parametrize("cuts", ["180", "10,20,50,100"])
def test_its_answers_are_the_servers(file: Path, tmp_path: Path, cuts: str) -> None:
    voices = [voice(seed) for seed in range(3)]
    np.save(tmp_path / "in.npy", np.stack(voices)[:, : samples_for(180)])
    paths = [str(file), str(tmp_path / "in.npy"), str(tmp_path / "out.npz")]
    command = [sys.executable, "-c", PROGRAM, *paths, cuts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    assert tuple(found["labels"]) == LABELS
    each = int(found["step"]) // 10  # frames of an answer
    model, n_first = graph.load(prior="conversation"), int(cuts.split(",")[0])
    for row, samples in enumerate(voices):
        (mine,) = model.score([window(samples, 0, 180, None, True)])
        frames = np.repeat(found["frames"][row], each, axis=0)
        np.testing.assert_allclose(softmax(frames), softmax(mine.logits), atol=3e-4)
        np.testing.assert_allclose(np.repeat(found["weights"][row], each), mine.weights, atol=3e-4)
        first = Utterance()
        (scores,) = model.score([replace(window(samples, 0, n_first, None, True), embed=True)])
        assert scores.embedding is not None
        np.testing.assert_allclose(found["embedding"][row], scores.embedding, atol=1e-3)
        first.add(scores)
        np.testing.assert_allclose(softmax(found["logits"][row]), first.probs(), atol=3e-4)


def test_a_file_that_differs_from_torch_is_not_kept(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is the reference")
    pytest.importorskip("onnx", reason="./run.sh install torch export")
    from stream.models.fake import FakeModel
    from training.export import export

    with pytest.raises(ValueError, match="not written: its scores differ from torch's by"):
        export(tmp_path / "other.onnx", FakeModel())
    assert not list(tmp_path.iterdir())
