"""Starting a server, waiting for it, and asking the operating system what its processes cost."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Server:
    """A server to measure. `pid` 0: it runs elsewhere, its CPU time cannot be read."""

    url: str
    pid: int
    log: Path | None = None


def free_port() -> int:
    """A TCP port that is free right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str], url: str, ready: str, *, cwd: Path, timeout_s: float = 120.0
) -> Iterator[Server]:
    """Start `command`, wait until `url + ready` answers 200, and stop it with SIGTERM at the end."""
    log = Path(tempfile.mkstemp(prefix="bench-server-", suffix=".log")[1])
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd)
    try:
        _wait_ready(process, url + ready, log, timeout_s)
        yield Server(url, process.pid, log)
    finally:
        stopped = _stop(process)
    if stopped:
        log.unlink()
    else:
        print(f"the server did not stop within 20 s of SIGTERM and was killed; its log: {log}")


def _stop(process: subprocess.Popen[bytes]) -> bool:
    """SIGTERM, as an operator stops it; whether that was enough."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}; its log:\n{_tail(log)}")
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=2) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer 200 within {timeout_s:.0f} s; the server's log:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


class CpuMeter:
    """User + system time of a process and all its descendants, between `start` and `stop`."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid) if pid else None
        self._before: dict[int, float] = {}
        self.seconds: dict[str, float] = {}  # by process, the parent first

    def start(self) -> None:
        self._before = {pid: spent for pid, _, spent in self._read()}

    def stop(self) -> None:
        after = self._read()
        self.seconds = {name: spent - self._before.get(pid, 0.0) for pid, name, spent in after}
        # A child that ended meanwhile is in its parent's account with its whole life: take off what it had before.
        gone = self._before.keys() - {pid for pid, _, _ in after}
        if gone and after:
            self.seconds["parent"] -= sum(self._before[pid] for pid in gone)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def _read(self) -> list[tuple[int, str, float]]:
        if self._root is None:
            return []
        found = []
        for rank, process in enumerate([self._root, *self._root.children(recursive=True)]):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                name = "parent" if rank == 0 else f"child {rank} {_nickname(process)}".strip()
                ended = times.children_user + times.children_system if rank == 0 else 0.0
                found.append((process.pid, name, times.user + times.system + ended))
        return found


def _nickname(process: psutil.Process) -> str:
    words = " ".join(process.cmdline()[1:])
    known = {
        "resource_tracker": "(resource tracker)",
        "server.engine.worker": "(model)",
        "server.run": "(worker)",
    }
    return next((name for word, name in known.items() if word in words), "")
