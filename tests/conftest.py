"""Real parts for every test: a server in a process of its own on a free port, a recording, a microphone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

# Several workers share the cores: threads of OpenMP that spin until the others come cost 15 times the CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch look
# Each worker, and some hundred processes that tests start, would compile everything anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`python -m cli serve` as an operator runs it. `settings`: EMOTION_ variables without the prefix.

    Unless told otherwise it serves whoever comes, however late: other tests use the same processors.
    `of_terminal`: the descriptor of a terminal that it is started from; `stderr`: of what takes its log.
    """

    within: tuple[str, ...] = ()  # the command that it is run by

    def __init__(self, of_terminal: int | None = None, stderr: int | None = None, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://{settings.get('server__host', '127.0.0.1')}:{self.port}"
        settings = {"limits__max_sessions": 200, "limits__max_lag_ms": 60_000, **settings}
        self._env = {**os.environ, **{f"EMOTION_{k.upper()}": str(v) for k, v in settings.items()}}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._log.close)  # not in `stop`: tests read it afterwards
        self._terminal, self._stderr = of_terminal, stderr
        self.process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        of_it = [] if self._terminal is None else ["setsid", "--ctty"]  # util-linux
        process = subprocess.Popen(
            [*of_it, *self.within, sys.executable, "-m", "cli", "serve", "--port", str(self.port)],
            cwd=ROOT,
            env=self._env,
            stdin=self._terminal,
            stdout=self._log,
            stderr=subprocess.STDOUT if self._stderr is None else self._stderr,
        )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}:\n{self.log()}")
            try:
                if self.get("/readyz")[0] == 200:
                    return process
            except OSError:
                pass
            time.sleep(0.05)
        process.kill()
        raise RuntimeError(f"the server was not ready within 60 s:\n{self.log()}")

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def log(self) -> str:
        fd = self._log.fileno()  # not `seek`: the server writes at the same place in the file
        return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM, as an operator stops it; gives the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def restart(self) -> None:
        """On the same port."""
        self.stop()
        self.process = self._launch()


# Room for whole recordings sent at once; what is refused for its pace is tested with other servers.
ROOMY: dict[str, Any] = {
    "limits__max_ahead_s": 150,
    "stream__ring_s": 160,
    "limits__messages_per_s": 100_000,
    "limits__max_sessions_per_connection": 20,
}


def no_traceback(log: str) -> None:
    assert "Traceback" not in log and "INTERNAL" not in log, log[-4000:]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the embedded model for all tests: a start costs as much as thirty of them."""
    server = Server(files__outputs=tmp_path_factory.mktemp("outputs"), **ROOMY)
    yield server
    server.stop()


@pytest.fixture
def compact(shared: Server) -> Iterator[Server]:
    """`shared`, proven to have no traceback in its log after the test; its counts go on from test to test."""
    before = len(shared.log())
    yield shared
    no_traceback(shared.log()[before:])


@pytest.fixture(scope="module")
def live_server() -> Iterator[Server]:
    """A server with the embedded model and the settings that it ships with, to be stopped and looked into."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def demo_wav() -> Path:
    """A recording that ships with the project: 16 kHz mono PCM16."""
    return ROOT / "demo" / "conversation.wav"


@pytest.fixture(scope="session")
def demo_pcm(demo_wav: Path) -> bytes:
    """The samples of the demo recording as PCM16 bytes."""
    samples, rate = soundfile.read(demo_wav, dtype="int16")
    assert rate == 16_000
    return bytes(samples.astype("<i2").tobytes())


@pytest.fixture(scope="session")
def demo_samples(demo_pcm: bytes) -> np.ndarray:
    """The same as float32 in [-1, 1)."""
    return np.frombuffer(demo_pcm, "<i2").astype(np.float32) / 32768
