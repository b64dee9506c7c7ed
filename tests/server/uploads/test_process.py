"""The process that reads strangers' files: what it is told and what it can do, with all that is secret on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from server.config import Config
from server.custom_labels import fingerprint_of_model
from server.decoding import sandbox
from stream.custom_labels import CustomLabels
from stream.models.fake import FakeModel
from tests.conftest import ROOT, Server
from tests.server.conftest import EVENTLET_FIRST, children_of, running
from tests.server.recordings import FORMATS, long_silence, made, wav
from tests.server.uploads.test_routes import PATH

SECRETS = {
    "server__token": "token-of-the-server",
    "monitor__token": "token-of-the-desk",
    "webhook_secret": "secret-of-a-receiver",
}
HEADERS = {"Authorization": f"Bearer {SECRETS['server__token']}"}
WEBHOOKS = '[{"name": "crm", "url": "http://127.0.0.1:9/x", "secret": "secret-of-a-receiver"}]'


protected = pytest.mark.skipif(bool(sandbox.missing()), reason=f"this system lacks {sandbox.missing()}")


def labels(folder: Path) -> Path:
    """Labels of one's own for the fake model."""
    probe = fingerprint_of_model(FakeModel())
    assert probe is not None
    size = len(probe)
    weights = np.eye(2, size, dtype=np.float32)
    nothing, ones = np.zeros(size, np.float32), np.ones(size, np.float32)
    CustomLabels("own", ("a", "b"), "fake", nothing, ones, weights, nothing[:2], probe, {}).save(folder)
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
        model__custom_labels=labels(tmp_path_factory.mktemp("labels")),
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
    (found,) = children_of(files, "server.uploads.worker")
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_with_all_that_is_secret_switched_on(
    files: Server, demo_samples: np.ndarray, name: str
) -> None:
    said = post(files, made(name, demo_samples[:32_000]), extract_embedding="true", granularity="frame")
    assert said.status_code == 200, said.text
    assert said.json()["utterances"] and said.json()["taught"]["name"] == "own"
    assert said.json()["embedding_saved"]


@pytest.mark.parametrize(
    ("name", "at", "size"), [("a.w64", 55, b"\x7f" + 7 * b"\xff"), ("a.caf", 55, bytes(7) + b"\x80")]
)
def test_a_header_that_names_a_place_before_the_beginning_is_a_damaged_recording(
    files: Server, demo_samples: np.ndarray, name: str, at: int, size: bytes
) -> None:
    data = made(name, demo_samples[:24_000])
    said = post(files, data[:at] + size + data[at + 8 :])
    assert (said.status_code, said.json()["error"]["code"]) == (422, "BAD_AUDIO")
    assert "damaged" in said.json()["error"]["message"]


def test_its_environment_is_a_handful_of_names_and_no_secret(worker: psutil.Process) -> None:
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes().decode()
    assert not [secret for secret in SECRETS.values() if secret in environment]
    names = {line.partition("=")[0] for line in environment.split("\0") if line}
    assert "OMP_NUM_THREADS" in names and len(names) <= 10
    assert not [name for name in names if name.startswith("EMOTION_")]


@protected
def test_it_has_no_new_privileges_a_filter_and_limits(worker: psutil.Process) -> None:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    lines = Path(f"/proc/{worker.pid}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split() for line in lines}
    most = {
        name: int(limits[name][1]) for name in ("Max address space", "Max open files", "Max core file size")
    }
    assert most == {"Max address space": sandbox.MEMORY, "Max open files": 64, "Max core file size": 0}
    assert int(limits["Max processes"][1]) == 0
    assert limits["Max file size"][1].isdigit() and limits["Max cpu time"][0].isdigit()


TRIED = {
    "a socket": "import socket; socket.socket()",
    "a socket of UDP": "import socket; socket.socket(type=socket.SOCK_DGRAM)",
    "the settings": f"open({str(ROOT / 'config.yaml')!r})",
    "users": "open('/etc/passwd')",
    "the parent's secrets": "import os; open(f'/proc/{os.getppid()}/environ')",
    "a list of what is there": "import os; os.listdir('/')",
    "a new file": "open(tempfile, 'w')",
    "a file of ours": f"open({str(ROOT / 'server' / 'hub.py')!r}, 'a')",
    "removal": "import os; os.unlink(existing)",
    "a program": "import os; os.execv('/bin/true', ['true'])",
    "a process": "import os; os.fork()",
    "a child": "import subprocess; subprocess.run(['/bin/true'])",
    "a signal to others": "import os; os.kill(os.getppid(), 0)",
}


@protected
def test_shut_in_it_reaches_nothing(tmp_path: Path) -> None:
    """The same two calls, in a process that then tries what a decoder that was taken over would."""
    (tmp_path / "existing").write_text("x")
    code = f"""
import json, threading
from server.decoding import sandbox
tempfile, existing = {str(tmp_path / "new")!r}, {str(tmp_path / "existing")!r}
handed = open({str(tmp_path / "handed")!r}, "w")
sandbox.limit(1_000_000)
sandbox.enter()
done = []
for what, how in {TRIED!r}.items():
    try:
        exec(how)
    except PermissionError:
        continue
    done.append(what)
thread = threading.Thread(target=handed.write, args=("threads run, and what was handed over can be written",))
thread.start(), thread.join(), handed.close()
import wave, ctypes.util, uuid  # what is imported late
print(json.dumps(done))
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == []
    assert (tmp_path / "handed").read_text() and (tmp_path / "existing").exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_file_that_takes_too_much_computing_is_told_so_and_leaves_nothing(tmp_path: Path) -> None:
    with running(model__name="fake", files__outputs=tmp_path, files__cpu_s=1) as server:
        said = post(server, long_silence(7200))
        assert (said.status_code, said.json()["error"]["code"]) == (422, "BAD_AUDIO"), said.text
        assert "1 s of CPU time" in said.json()["error"]["message"]
        assert post(server, wav(bytes(64_000))).status_code == 200, "the next one has a process of its own"
        assert len(list(tmp_path.iterdir())) == 1


def test_its_settings_hold_no_secret_and_hear_as_the_server_does() -> None:
    config = Config(server={"token": "a-secret"}, monitor={"token": "a-secret"})
    told = config.for_files.model_dump_json()
    assert "secret" not in told and "token" not in told and "webhooks" not in told
