"""Things that must not become slow, each beside its bare alternative in the same run.

    python -m bench.guards                # all of them, three rounds
    python -m bench.guards --rounds 7 --only recording,desk

What a machine needs for them says little; how they compare with the least that such a thing can cost says whether
something went wrong. Each round does one after the other, medians are shown, and a ratio above `at most` (about
twice what is usual) ends the command with 1.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import psutil
import requests
import soundfile
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import osproc
from evaluation import intervals
from evaluation.metrics import tabulate
from server import wire
from server.config import Config
from server.desk.board import Board
from server.engine import EngineSettings
from server.engine.inprocess import InProcessEngine
from server.files.recognize import RecognizeOptions, recognize
from server.observers import SessionInfo
from stream.batching import BatchLimits
from stream.models.compact import model as compact
from stream.types import (
    HOP,
    LABELS,
    SAMPLE_RATE,
    EmotionModel,
    FrameScores,
    FramesScored,
    Window,
    samples_for,
)
from tools.analyze.batch import look

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo" / "conversation.wav"
Work = Callable[[], object]
Works = AbstractContextManager[tuple[Work, Work]]  # ours, and the bare alternative


@dataclass(frozen=True)
class Guard:
    """`cpu`: of this process CPU time is compared, else time by the clock."""

    works: Callable[[], Works]
    at_most: float
    cpu: bool = True


@contextmanager
def recording() -> Iterator[tuple[Work, Work]]:
    """A minute of speech through decoder, gate, session, engine, results; the model alone on all of its sound."""
    minute = np.resize(soundfile.read(DEMO, dtype="float32")[0], 60 * SAMPLE_RATE)
    with recognizer(minute) as (model, recognized):
        yield recognized, lambda: alone(model, minute)


@contextmanager
def recognizer(samples: np.ndarray) -> Iterator[tuple[EmotionModel, Work]]:
    """The embedded model on one thread, and the recognition of `samples` as a file in this process."""
    import torch

    torch.set_num_threads(1)
    model = compact.load("cpu")
    engine = InProcessEngine(model, EngineSettings(batching=BatchLimits(max_wait_s=0)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        soundfile.write(path, samples, SAMPLE_RATE)

        def recognized() -> None:
            with path.open("rb") as file:
                recognize(file, engine, Config(), RecognizeOptions())

        yield model, recognized
    engine.close()


def alone(model: EmotionModel, samples: np.ndarray) -> None:
    """Windows of two seconds, one after the other."""
    n, state = 200, None
    for first in range(0, len(samples) // HOP - n, n):
        part = samples[first * HOP : first * HOP + samples_for(n)]
        state = model.score([Window("bench", first, n, first == 0, part, state)])[0].state


@contextmanager
def request() -> Iterator[tuple[Work, Work]]:
    """Three seconds of a recording over REST; its recognition in this process."""
    samples = soundfile.read(DEMO, dtype="float32", stop=3 * SAMPLE_RATE)[0]
    sound = io.BytesIO()
    soundfile.write(sound, samples, SAMPLE_RATE, format="WAV")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(folder) as server,
        recognizer(samples) as (_, recognized),
    ):

        def ours() -> None:
            url, files = f"{server.url}/api/v1/emotion/recognize", {"audio_file": ("a.wav", sound.getvalue())}
            requests.post(url, files=files, timeout=60).raise_for_status()

        yield ours, recognized


@contextmanager
def folder() -> Iterator[tuple[Work, Work]]:
    """Looking at 10,000 recordings before they are analyzed; listing the folders with their sizes."""
    with tempfile.TemporaryDirectory() as made:
        top = Path(made) / "many"
        for i in range(100):
            (top / f"{i:02}").mkdir(parents=True)
            for j in range(100):
                (top / f"{i:02}" / f"{j:02}.wav").touch()

        def bare() -> int:
            return sum(file.stat().st_size for inside in os.scandir(top) for file in os.scandir(inside))

        yield lambda: look(top, Path(made) / "out"), bare


@contextmanager
def desk() -> Iterator[tuple[Work, Work]]:
    """A thousand results as the desk's board takes them; as JSON, which each of them becomes anyway."""
    board, rows = Board(30), np.tile(np.eye(len(LABELS), dtype=np.float32)[0], (10, 1))
    board.on_open(SessionInfo("one", "", time.monotonic()))
    event = FramesScored(0, FrameScores(rows, rows[:, 0], None), rows, rows[0])
    _, payload = wire.to_wire("one", None, event, "")

    def ours() -> None:
        for _ in range(1000):
            board.on_event("one", None, event)

    def bare() -> None:
        for _ in range(1000):
            wire.Json.dumps(payload)

    yield ours, bare


@contextmanager
def draws() -> Iterator[tuple[Work, Work]]:
    """The intervals of an evaluation of 2,000 utterances; as many draws of recalls, one by one."""
    rng = np.random.default_rng(0)
    truth, probs = rng.integers(0, 4, 2000), rng.dirichlet(np.ones(len(LABELS)), 2000).astype(np.float32)
    table = tabulate(truth, probs)
    right = probs.argmax(1) == truth

    def ours() -> None:
        intervals.times_drawn.cache_clear()
        intervals.assess(intervals.draw(table, intervals.voices([""] * 2000), 0))

    def bare() -> None:
        for _ in range(intervals.DRAWS):
            some = rng.integers(0, 2000, 2000)
            [right[some][truth[some] == label].mean() for label in range(4)]

    yield ours, bare


@contextmanager
def loading() -> Iterator[tuple[Work, Work]]:
    """The embedded model until it can score, its proof included; reading its weights."""

    def bare() -> None:
        compact.read_weights()

    yield lambda: compact.load("cpu"), bare


@contextmanager
def restart() -> Iterator[tuple[Work, Work]]:
    """From the death of the model process until its successor answers; a bare process that loads the model."""
    with tempfile.TemporaryDirectory() as folder, served(folder) as server:

        def ours() -> None:
            before = _restarts(server.url)
            for child in psutil.Process(server.pid).children():
                if "server.engine.worker" in " ".join(child.cmdline()):
                    child.kill()
            while not (
                _restarts(server.url) > before and requests.get(f"{server.url}/readyz", timeout=30).ok
            ):
                time.sleep(0.02)

        def bare() -> None:
            subprocess.run(
                [sys.executable, "-c", "from stream.models.compact.model import load; load('cpu')"],
                check=True,
            )

        yield ours, bare


def served(outputs: str) -> AbstractContextManager[osproc.Server]:
    """A server of this checkout whose results go to `outputs`."""
    port = osproc.free_port()
    command = ["env", f"EMOTION_FILES__OUTPUTS={outputs}", sys.executable, "-m", "cli", "serve"]
    return osproc.running([*command, "--port", str(port)], f"http://127.0.0.1:{port}", "/readyz", cwd=ROOT)


def _restarts(url: str) -> int:
    return int(requests.get(f"{url}/api/v1/status", timeout=30).json()["engine_restarts"])


GUARDS = {
    "recording": Guard(recording, 3),
    "request": Guard(request, 8, cpu=False),
    "folder": Guard(folder, 12),
    "desk": Guard(desk, 25),
    "draws": Guard(draws, 4),
    "loading": Guard(loading, 8),
    "restart": Guard(restart, 2, cpu=False),
}


def main(
    rounds: Annotated[int, typer.Option(help="of each, one after the other")] = 3,
    only: Annotated[str, typer.Option(help="names with commas between")] = ",".join(GUARDS),
) -> None:
    table = Table("", "what, and the bare alternative", "ours", "bare", "ratio", "at most")
    slow = []
    for name in track(only.split(","), description="guards", transient=True):
        guard = GUARDS[name]
        with guard.works() as pair:
            took = [[timed(work, guard.cpu) for work in pair] for _ in range(rounds + 1)][1:]  # one warms up
        ours, bare = (median(times) for times in zip(*took, strict=True))
        row = [f"{1000 * ours:.1f} ms", f"{1000 * bare:.1f} ms", f"{ours / bare:.2f}", f"{guard.at_most:g}"]
        table.add_row(name, guard.works.__doc__ or "", *row)
        slow += [name] if ours / bare > guard.at_most else []
    Console().print(table)
    if slow:
        print(f"slower than it should be: {', '.join(slow)}")
    raise typer.Exit(1 if slow else 0)


def timed(work: Work, cpu: bool) -> float:
    clock = time.process_time if cpu else time.perf_counter
    began = clock()
    work()
    return clock() - began


if __name__ == "__main__":
    typer.run(main)
