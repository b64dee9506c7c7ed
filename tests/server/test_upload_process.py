"""The process that reads strangers' files: what it is told and what it can do, with all that is secret on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from server.config import Config
from server.taught import ask_model
from stream.models.fake import FakeModel
from stream.taught import Taught
from tests.conftest import Server
from tests.server.conftest import EVENTLET_FIRST, children_of, running
from tests.server.recordings import FORMATS, made
from tests.server.test_recognize_rest import PATH

SECRETS = {
    "server__token": "token-of-the-server",
    "monitor__token": "token-of-the-desk",
    "webhook_secret": "secret-of-a-receiver",
}
HEADERS = {"Authorization": f"Bearer {SECRETS['server__token']}"}
WEBHOOKS = '[{"name": "crm", "url": "http://127.0.0.1:9/x", "secret": "secret-of-a-receiver"}]'


def labels(folder: Path) -> Path:
    """Labels of one's own for the fake model."""
    probe = ask_model(FakeModel())
    assert probe is not None
    size = len(probe)
    weights = np.eye(2, size, dtype=np.float32)
    nothing, ones = np.zeros(size, np.float32), np.ones(size, np.float32)
    Taught("own", ("a", "b"), "fake", nothing, ones, weights, nothing[:2], probe, {}).save(folder)
    return folder


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Webhooks, both tokens, labels of one's own, recording with audio."""
    folder = tmp_path_factory.mktemp("outputs")
    with running(
        model__name="fake",
        server__async_mode=request.param,
        server__token=SECRETS["server__token"],
        monitor__token=SECRETS["monitor__token"],
        alerts__webhooks=WEBHOOKS,
        recording__sessions=True,
        recording__audio=True,
        files__outputs=folder,
        files__concurrent=1,
        model__taught=labels(tmp_path_factory.mktemp("labels")),
    ) as server:
        yield server
        assert "Traceback" not in server.log() and "INTERNAL" not in server.log()


def post(server: Server, data: bytes, **fields: str) -> requests.Response:
    return requests.post(
        server.url + PATH, files={"audio_file": ("x", data)}, data=fields, headers=HEADERS, timeout=60
    )


@pytest.fixture
def worker(files: Server, demo_samples: np.ndarray) -> psutil.Process:
    """The process, which has read a file."""
    assert post(files, made("pcm16.wav", demo_samples[:16_000])).status_code == 200
    (found,) = children_of(files, "server.recognition.upload_worker")
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_with_all_that_is_secret_switched_on(
    files: Server, demo_samples: np.ndarray, name: str
) -> None:
    said = post(files, made(name, demo_samples[:32_000]), extract_embedding="true", granularity="frame")
    assert said.status_code == 200, said.text
    assert said.json()["utterances"] and said.json()["taught"]["name"] == "own"
    assert said.json()["embedding_saved"]


def test_its_environment_is_a_handful_of_names_and_no_secret(worker: psutil.Process) -> None:
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes().decode()
    assert not [secret for secret in SECRETS.values() if secret in environment]
    names = {line.partition("=")[0] for line in environment.split("\0") if line}
    assert "OMP_NUM_THREADS" in names and len(names) <= 10
    assert not [name for name in names if name.startswith("EMOTION_")]


def test_its_settings_hold_no_secret_and_hear_as_the_server_does() -> None:
    config = Config(server={"token": "a-secret"}, monitor={"token": "a-secret"})  # type: ignore[arg-type]
    told = config.for_files.model_dump_json()
    assert "secret" not in told and "token" not in told and "webhooks" not in told
