"""What the README tells people to type is typed here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT, Server, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.strip()
]
SERVING = [c for c in COMMANDS if c == "./run.sh" or c.startswith("./run.sh --port")]
ENDING = [c for c in COMMANDS if c not in SERVING and not c.startswith("./run.sh test")]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("command", ENDING)
def test_a_command_does_what_it_says(command: str) -> None:
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", SERVING)
def test_a_command_that_serves_says_where_and_answers_there(command: str) -> None:
    port = free_port()
    command = re.sub(r"--port \d+", f"--port {port}", command)
    server = subprocess.Popen(
        command.split(),
        cwd=ROOT,
        env={**os.environ, "EMOTION_SERVER__PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        end = time.monotonic() + 60
        said = ""
        while "Ctrl-C stops" not in said and time.monotonic() < end:
            said += server.stdout.readline()
        assert f":{port}" in said
        assert "compact on" in said
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            assert answer.status == 200
    finally:
        server.terminate()
        assert server.wait(20) == 0


def test_the_python_example_runs_as_it_stands(compact: Server, demo_pcm: bytes, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    (tmp_path / "speech.raw").write_bytes(demo_pcm[: 32_000 * 6])
    done = subprocess.run(
        [sys.executable, "-c", example.replace("http://127.0.0.1:7860", compact.url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "utterance: " in done.stdout, done.stdout + done.stderr
    assert "'audio_ms': 6000" in done.stdout
    assert "Traceback" not in done.stderr
