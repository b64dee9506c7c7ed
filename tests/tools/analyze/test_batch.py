"""`analyze DIR --out DIR`: every recording once, whatever interrupts, and names as odd as disks hold."""

from __future__ import annotations

import csv
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

from server.spreadsheet import cell
from tests.conftest import ROOT
from tools.analyze.batch import look

COMMAND = [sys.executable, "-m", "cli", "analyze", "--model", "fake"]


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )


def table(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def calls(tmp_path: Path, demo_samples: np.ndarray) -> Path:
    """Three recordings, one silent, one broken, one link into nowhere, a pipe, results of others, odd names."""
    top = tmp_path / "calls"
    (top / "deep").mkdir(parents=True)
    for i, name in enumerate([b"a.wav", b"deep/b.wav", b"=c\n\xff.wav"]):
        path = os.fsencode(top) + b"/" + name
        soundfile.write(
            path, demo_samples[i * 8000 : i * 8000 + 64_000], 16_000, format="WAV", subtype="PCM_16"
        )
    soundfile.write(top / "quiet.wav", np.zeros(16_000), 16_000)
    (top / "broken.wav").write_bytes(b"RIFF")
    (top / "link.wav").symlink_to("nowhere")
    os.mkfifo(top / "pipe.wav")
    (top / "._a.wav").write_bytes(b"of a Mac")
    (top / "outputs_1").mkdir()
    (top / "outputs_1" / "result.json").write_text("{}")
    soundfile.write(top / "outputs_1" / "processed_audio.wav", demo_samples[:16_000], 16_000)
    return top


def test_one_table_of_all_and_errors_at_the_end(calls: Path) -> None:
    done = analyze(calls, "--out", calls / "out", "--embeddings")
    assert done.returncode == 1
    rows = table(calls / "out")
    assert {row["file"] for row in rows} == {"a.wav", "deep/b.wav", "'=c\\n\\xff.wav", "quiet.wav"}
    (quiet,) = [row for row in rows if row["file"] == "quiet.wav"]
    assert (quiet["start_s"], quiet["emotion"], quiet["model"]) == ("", "unknown", "fake")
    for name in ("broken.wav", "link.wav: No such file", "pipe.wav: not a file"):
        assert name in done.stderr and name in (calls / "out" / "errors.txt").read_text()
    assert "4 recordings" in done.stdout and "x real time" in done.stdout

    alone = json.loads(analyze(calls / "a.wav", "--json").stdout)
    mine = [row for row in rows if row["file"] == "a.wav"]
    assert [float(row["angry"]) for row in mine] == [said["scores"]["angry"] for said in alone["utterances"]]
    assert [float(row["start_s"]) for row in mine] == [
        said["start_ms"] / 1000 for said in alone["utterances"]
    ]
    kept = json.loads((calls / "out" / "files" / "a.wav" / "result.json").read_text())
    assert kept["scores"] == alone["scores"]
    assert {row["model_fingerprint"] for row in rows} == {alone["model_fingerprint"]} != {""}
    assert np.load(calls / "out" / "files" / "a.wav" / "embedding.npy", allow_pickle=False).shape == (2,)

    # Again, its own outputs now lying within: only what changed is done.
    os.utime(calls / "a.wav", ns=(1, 1))
    again = analyze(calls, "--out", calls / "out", "--embeddings")
    assert "4 recordings, 3 of them done before" in again.stdout
    assert table(calls / "out") == rows
    assert not [p.name for p in (calls / "out").iterdir() if p.name.startswith(".")]


@pytest.mark.slow
def test_other_options_are_done_again_and_lost_outputs_made_again(calls: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "done before" not in analyze(calls, "--out", out).stdout
    assert "done before" not in analyze(calls, "--out", out, "--each").stdout
    assert "4 of them done before" in analyze(calls, "--out", out, "--each").stdout
    (out / "files" / "a.wav" / "result.json").unlink()
    assert "3 of them done before" in analyze(calls, "--out", out, "--each").stdout
    assert (out / "files" / "a.wav" / "result.json").is_file()


def test_parquet_holds_the_same(calls: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for kind in ("csv", "parquet"):
        analyze(calls, "--out", tmp_path / "out", "--table", kind)
    held = parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    rows = table(tmp_path / "out")
    assert [cell(one["file"]) for one in held] == [row["file"] for row in rows]
    assert "=c\\n\\xff.wav" in {one["file"] for one in held}, "Parquet is no spreadsheet's"
    assert [one["angry"] for one in held] == [float(row["angry"]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_interrupted_goes_on(number: int, tmp_path: Path, demo_samples: np.ndarray) -> None:
    top, out = tmp_path / "many", tmp_path / "out"
    top.mkdir()
    n = 60
    for i in range(n):
        soundfile.write(top / f"{i:03}.flac", np.tile(demo_samples, 2)[i * 100 :], 16_000)
    process = subprocess.Popen(
        [*COMMAND, str(top), "--out", str(out), "--each"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    journal = out / "journal.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (journal.exists() and journal.read_text().count("\n") >= 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)  # or it might be done before it is interrupted
    other = analyze(top, "--out", out)
    assert other.returncode == 2 and "another analyze is writing there" in other.stderr
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    before = journal.read_text().count("\n")
    assert 5 <= before < n
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert len({row["file"] for row in table(out)}) == before
    done = analyze(top, "--out", out, "--each")
    assert done.returncode == 0 and f"{n} recordings, {before} of them done before" in done.stdout
    assert len({row["file"] for row in table(out)}) == n
    assert len(list((out / "files").iterdir())) == n


@pytest.mark.slow
def test_ten_thousand_files_are_looked_at(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i:02}").mkdir()
        for j in range(100):
            (tmp_path / f"{i:02}" / f"{j:02}.wav").touch()
    found = look(tmp_path, tmp_path / "out")
    assert len(found.sizes) == 10_000 and not found.errors
    assert list(found.sizes) == sorted(found.sizes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo/conversation.wav", "--out", "x"], "give one folder"),
        (["demo", "--each"], "say where to"),
        (["demo", "--out", "x", "--granularity", "frame"], "frames are in --each"),
        (["demo", "--custom-labels", "nowhere"], "no custom labels there"),
    ],
)
def test_what_cannot_be_asked_for_is_said(arguments: list[str], said: str) -> None:
    done = analyze(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
