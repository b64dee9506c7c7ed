"""`similarity_to_sample`: on every way in the same cosine; what cannot be compared with is refused at start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
from emotion_stream_client import EmotionClient

from emotion_stream import EmotionModel
from server.config import Config, ConfigError
from server.files import samples
from server.files.similarity import Samples
from tests.conftest import ROOT, Server
from tests.server.conftest import no_traceback, running

BOTH = ("similarity_to_sample", "similarity_to_samples")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> Path:
    """Two recordings, and an embedding that is the opposite of the first's."""
    found = tmp_path_factory.mktemp("samples")
    soundfile.write(found / "calm.wav", demo_samples[: 5 * 16_000], 16_000)
    soundfile.write(found / "吃惊.flac", demo_samples[8 * 16_000 : 13 * 16_000], 16_000)
    (found / "notes.txt").write_text("not a sample")
    with EmotionModel(device="cpu") as model:
        np.save(found / "other.npy", -model.extract_embedding(found / "calm.wav"))
    return found


@pytest.fixture(scope="module")
def compared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(files__samples=folder, files__outputs=tmp_path_factory.mktemp("outputs")) as server:
        yield server
        no_traceback(server.log())


@pytest.mark.parametrize("path", ["/api/v1/emotion/recognize", "/upload", "/api/predict/"])
@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_a_result_tells_how_near_it_is(compared: Server, folder: Path, path: str, granularity: str) -> None:
    with (folder / "calm.wav").open("rb") as f:
        said = requests.post(
            compared.url + path, files={"file": f}, data={"granularity": granularity}, timeout=60
        ).json()
    assert said["similarity_to_sample"] == 1, "its own sample is among them"
    each = said["similarity_to_samples"]
    assert list(each) == ["calm", "other", "吃惊"] and each["calm"] == 1 and each["other"] == -1
    assert -1 < each["吃惊"] < 1
    assert said["embedding_saved"] is False and "embedding_note" not in said, "it was not asked for"
    kept = requests.get(compared.url + said["files"]["result"], timeout=10).json()
    assert {name: kept[name] for name in BOTH} == {name: said[name] for name in BOTH}


def test_where_nobody_speaks_there_is_nothing_to_compare(compared: Server, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16_000), 16_000)
    with EmotionClient(compared.url) as client:
        found = client.recognize(tmp_path / "quiet.wav")
    assert found.emotion == "unknown"
    assert found.similarity_to_sample is None and found.similarity_to_samples is None


@pytest.mark.slow
def test_clients_the_sdk_and_the_command_line_say_the_same(
    compared: Server, folder: Path, demo_wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmotionClient(compared.url) as client:
        there = client.recognize(demo_wav, embedding=True)
        embedding = client.embedding(there)
    monkeypatch.setenv("EMOTION_FILES__SAMPLES", str(folder))
    with EmotionModel(device="cpu") as model:
        here = model.analyze(demo_wav)
        of_sample = model.extract_embedding(folder / "calm.wav")
    each = here.similarity_to_samples
    assert each is not None and each == there.similarity_to_samples
    assert here.similarity_to_sample == there.similarity_to_sample == max(each.values())
    assert {name: here.to_dict()[name] for name in BOTH} == {name: there.raw[name] for name in BOTH}
    cosine = embedding @ of_sample / np.linalg.norm(embedding) / np.linalg.norm(of_sample)
    assert each["calm"] == pytest.approx(float(cosine), abs=1e-4)
    command = [sys.executable, "-m", "cli", "analyze", str(demo_wav), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name: told[name] for name in BOTH} == {name: there.raw[name] for name in BOTH}


def load(folder: Path, embedding: np.ndarray | None = None, size: int = 3) -> Samples | None:
    return samples.load(Config(files={"samples": str(folder)}), size, lambda path: embedding)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("a.npy", np.ones(4, np.float32), "3 finite numbers"),
        ("a.npy", np.ones((1, 3), np.float32), "3 finite numbers"),
        ("a.npy", np.array([1, np.nan, 1], np.float32), "3 finite numbers"),
        ("a.npy", np.array([{}], object), "pickle"),
        ("a.npy", np.zeros(3, np.float32), "no speech"),
        ("a.wav", None, "no speech"),
    ],
)
def test_what_is_no_sample_is_named(tmp_path: Path, name: str, array: np.ndarray | None, words: str) -> None:
    if array is None:
        (tmp_path / name).write_bytes(b"RIFF")
    else:
        np.save(tmp_path / name, array)
    with pytest.raises(ConfigError, match=words) as refused:
        load(tmp_path)
    assert f"files.samples: {tmp_path / name}" in str(refused.value)


def test_there_are_one_to_twenty_of_bounded_size(tmp_path: Path) -> None:
    assert samples.load(Config(), 3, lambda path: None) is None
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds 0"):
        load(tmp_path)
    for n in range(21):
        (tmp_path / f"{n:02}.wav").write_bytes(b"RIFF")
    with pytest.raises(ConfigError, match="holds 21"):
        load(tmp_path, np.ones(3, np.float32))
    (tmp_path / "20.wav").unlink()
    found = load(tmp_path, np.ones(3, np.float32))
    assert found is not None and len(found.names) == 20
    with pytest.raises(ConfigError, match="no embeddings"):
        load(tmp_path, np.ones(3, np.float32), size=0)
    with (tmp_path / "00.wav").open("wb") as f:
        f.truncate(samples.MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="larger than 20 MB"):
        load(tmp_path, np.ones(3, np.float32))


def test_a_server_with_a_broken_sample_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF, but no more")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTION_FILES__SAMPLES", str(tmp_path))
        with pytest.raises(ConfigError, match=r"bad\.wav"):
            EmotionModel(device="cpu")
    environment = {**os.environ, "EMOTION_FILES__SAMPLES": str(tmp_path)}
    command = [sys.executable, "-m", "cli", "serve", "--port", "0", "--model", "fake"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    log = done.stdout + done.stderr
    assert "files.samples" in log and "bad.wav" in log and "Traceback" not in log
