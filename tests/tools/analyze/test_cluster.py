"""A folder over two workers of a Ray cluster: interrupted, gone on with, one of them killed; nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.ray_cluster import ray_cluster

N = 500
COMMAND = (sys.executable, "-m", "cli", "analyze")


def journal(out: Path) -> list[str]:
    """The files that are done, in the order in which they were."""
    path = out / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["file"] for line in lines if line.endswith("\n")]


def wait_for(n: int, out: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while len(journal(out)) < n:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_of_five_hundred_files_is_complete_and_nothing_is_done_twice(
    tmp_path: Path, demo_samples: np.ndarray
) -> None:
    top, out, here = tmp_path / "calls", tmp_path / "out", tmp_path / "here"
    top.mkdir()
    for i in range(N):
        at = 16_000 + 1_600 * (i % 150)
        soundfile.write(top / f"{i:03}.wav", demo_samples[at : at + 8_000 + 40 * i], 16_000, subtype="PCM_16")
    options = [str(top), "--model", "fake"]
    with ray_cluster() as cluster:
        environment = {
            **os.environ,
            "EMOTION_ENGINE__RAY_ADDRESS": cluster.address,
            "EMOTION_ENGINE__REPLICAS": "2",
        }
        command = [*COMMAND, *options, "--engine", "ray", "--out", str(out)]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as first:
            wait_for(60, out, first)
            first.send_signal(signal.SIGINT)
            assert first.wait(60) == 130
        done = len(journal(out))
        assert 60 <= done < N
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as second:
            wait_for(done + 60, out, second)
            cluster.actors()[0].kill()
            assert second.wait(300) == 0
    assert sorted(journal(out)) == [f"{i:03}.wav" for i in range(N)], "each once"
    subprocess.run([*COMMAND, *options, "--out", str(here)], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    assert (out / "results.csv").read_text() == (here / "results.csv").read_text()


def test_a_cluster_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "EMOTION_ENGINE__RAY_ADDRESS": "127.0.0.1:1",
        "LC_ALL": "zh_CN.UTF-8",
    }
    done = subprocess.run(
        [*COMMAND, "demo", "--engine", "ray"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and not done.stdout
    assert "需要 Ray" in done.stderr or "无法连接 Ray 集群 127.0.0.1:1" in done.stderr
