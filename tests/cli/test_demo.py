"""`./run.sh demo`: the real socket, at real-time pace, drawn in a terminal; here a pipe."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT, Server


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "demo", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("demo") / "short.wav"
    soundfile.write(path, demo_samples[: 16_000 * 6], 16_000, subtype="PCM_16")
    return path


@pytest.mark.slow
def test_the_demo_plays_at_real_time_and_ends_with_a_line_per_utterance_and_a_summary(
    compact: Server, short: Path
) -> None:
    began = time.monotonic()
    done = demo(short, "--url", compact.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began > 6, "at the pace of a microphone"
    assert "scored by compact" in done.stdout
    assert " 0.3–  5.0 s" in done.stdout, "the first utterance of the recording"
    assert "of speech in 6.0 s; " in done.stdout


def test_a_file_that_is_no_recording_is_refused_in_words() -> None:
    done = demo(ROOT / "README.md", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "README.md" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_server_that_is_not_there_is_said_so(short: Path) -> None:
    done = demo(short, "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "The demo ended" in done.stdout
    assert "Traceback" not in done.stderr
