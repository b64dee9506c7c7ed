"""The first minute: what `./run.sh` fetches on a machine that has nothing yet, until it answers, and the memory.

    python -m bench.first_minute                 # of the last commit of this checkout
    python -m bench.first_minute --commit main~5 # of another, to compare

A clone of the commit, without an environment, is started with `./run.sh` and asked for `/readyz` until it is
ready; pip keeps nothing between runs. Memory is what is resident some seconds later: of the server's process, and
of the model's. What was fetched is counted by fetching it once more.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import requests

ROOT = Path(__file__).parents[1]
LONGEST_S = 1800
SETTLED_S = 5.0  # what only helps to start has ended
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes, seconds and memory of a first start.")
    parser.add_argument("--commit", default="HEAD")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run("git", "clone", "-q", "--no-checkout", str(ROOT), str(clone), cwd=ROOT)
        commit = run("git", "rev-parse", args.commit, cwd=ROOT)
        run("git", "checkout", "-q", commit, cwd=clone)
        measure(clone)


def measure(clone: Path) -> None:
    environment = {**os.environ, "PIP_NO_CACHE_DIR": "1"}
    port = free_port()
    began = time.monotonic()
    process = subprocess.Popen(
        ["./run.sh", "--port", str(port)], cwd=clone, env=environment, start_new_session=True
    )
    try:
        until_ready(process, f"http://127.0.0.1:{port}/readyz")
        took = time.monotonic() - began
        server = psutil.Process(process.pid)  # once the shell that made the environment
        used = sum(server.cpu_times()[:4])
        time.sleep(SETTLED_S)
        resident = [one.memory_info().rss / MB for one in (server, *server.children(recursive=True))]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    held = " + ".join(f"{one:.0f}" for one in resident)
    print(f"ready after {took:.0f} s, {used:.0f} s of CPU time; resident: {held} MB")
    again = time.monotonic()
    listed = next(
        clone / name for name in ("requirements-light.txt", "requirements.txt") if (clone / name).exists()
    )
    fetched = clone / "fetched"
    run(".venv/bin/python", "-m", "pip", "download", "-q", "-d", str(fetched), "-r", str(listed), cwd=clone)
    sizes = [path.stat().st_size / MB for path in fetched.iterdir()]
    fetching = time.monotonic() - again
    print(f"fetched: {sum(sizes):.0f} MB in {len(sizes)} files; once more: {fetching:.0f} s")
    print(f"installed: {run('du', '-sm', '.venv', cwd=clone).split()[0]} MB")


def until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(address, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"not ready: exit status {process.poll()}")


def run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
