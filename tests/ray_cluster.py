"""A Ray cluster of this machine's own, for tests. Ray is installed beside the environment, not into it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from server import system
from tests.conftest import ROOT, free_port
from tests.server.clients import eventually

PACKAGES = Path(sys.prefix) / "ray-for-tests"


def install() -> Path:
    """The folder with Ray in it, for PYTHONPATH; skips the test where it cannot be had."""
    PACKAGES.mkdir(exist_ok=True)
    with (PACKAGES / ".lock").open("wb") as lock:
        system.lock(lock, wait=True)
        done = PACKAGES / ".done"
        wanted = (ROOT / "requirements-ray.txt").read_text()
        if not done.exists() or done.read_text() != wanted:
            command = ["pip", "install", "-q", "--upgrade", "--target", str(PACKAGES)]
            command += ["-r", "requirements-ray.txt"]
            told = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
            if told.returncode:
                pytest.skip(f"Ray cannot be installed: {told.stderr.strip().splitlines()[-1]}")
            done.write_text(wanted)
    return PACKAGES


class RayCluster:
    """`ray start --head`, and what runs on it."""

    def __init__(self, folder: str, n_cpus: int) -> None:
        self.port = free_port()
        options: list[str] = [f"--port={self.port}", f"--num-cpus={n_cpus}", f"--temp-dir={folder}"]
        options += ["--include-dashboard=false", "--object-store-memory=80000000", "--block"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", *options],
            cwd=folder,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        eventually(self._started, "the cluster has started", 60)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _started(self) -> bool:
        said = os.pread(self._log.fileno(), 100_000, 0)
        assert self._head.poll() is None, said.decode()
        return b"Ray runtime started" in said

    def actors(self) -> list[psutil.Process]:
        """The processes of replicas, the oldest first."""
        found = []
        for process in psutil.Process(self._head.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::ModelActor" in " ".join(process.cmdline()):
                    found.append(process)
        return sorted(found, key=psutil.Process.create_time)

    def stop(self) -> None:
        family = psutil.Process(self._head.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._head.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._head.wait()
        self._log.close()


@contextlib.contextmanager
def ray_cluster(n_cpus: int = 2) -> Iterator[RayCluster]:
    """One that every process that is started meanwhile finds Ray and a token for."""
    paths = filter(None, (str(install()), os.environ.get("PYTHONPATH")))
    environment = {
        "PYTHONPATH": os.pathsep.join(paths),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
    }
    with (
        patch.dict(os.environ, environment),
        tempfile.TemporaryDirectory(prefix="es-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        cluster = RayCluster(folder, n_cpus)
        try:
            yield cluster
        finally:
            cluster.stop()
