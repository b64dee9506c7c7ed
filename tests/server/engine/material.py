"""Windows to submit, a desk that counts the answers, and small true models that fail on a mark."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from server.engine import EngineSettings, Timing
from server.engine.process import ProcessEngine
from stream.models.fake import FakeModel
from stream.types import Answer, Failed, FrameScores, Window, samples_for

MARK = np.float32(0.777)  # the first sample of a window that breaks a model


def window(
    number: int,
    n_frames: int = 10,
    *,
    marked: bool = False,
    samples: np.ndarray | None = None,
    background: bool = False,
) -> Window:
    """`number` is its first frame: what tells windows apart in a test."""
    if samples is None:
        samples = np.random.default_rng(number).uniform(-1, 1, samples_for(n_frames)).astype(np.float32)
    if marked:
        samples[0] = MARK
    state = np.array([number], np.float32)
    return Window("s", number, n_frames, True, samples, state, background=background)


def poison(number: int) -> Window:
    """A window that ends the process which unpacks it: its state is no array of float32."""
    good = window(number)
    return Window("s", number, 10, True, good.samples, np.zeros(3, np.uint8))


class Desk:
    """Takes answers from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.answers: dict[int, Answer] = {}
        self.times: Counter[int] = Counter()
        self.timings: list[Timing] = []

    def reply(self, window: Window, answer: Answer, timing: Timing) -> None:
        with self._changed:
            self.answers[window.first_frame] = answer
            self.times[window.first_frame] += 1
            self.timings.append(timing)
            self._changed.notify_all()

    def wait(self, n: int, seconds: float = 60) -> None:
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.answers) >= n, seconds)
        assert arrived, f"{len(self.answers)} of {n} windows were answered within {seconds} s"

    def codes(self) -> Counter[str]:
        """How often each kind of answer was given."""
        return Counter(a.code if isinstance(a, Failed) else "scores" for a in self.answers.values())

    def check_once(self, n: int) -> None:
        assert sorted(self.times) == list(range(n))
        assert set(self.times.values()) == {1}


def check_scores(windows: list[Window], desk: Desk) -> None:
    """Scored windows have the scores that the model gives to each of them alone."""
    for w in windows:
        answer, (alone,) = desk.answers[w.first_frame], FakeModel().score([w])
        assert isinstance(answer, FrameScores), answer
        assert np.array_equal(answer.logits, alone.logits)
        assert np.array_equal(answer.weights, alone.weights)
        assert answer.state is not None and alone.state is not None
        assert np.array_equal(answer.state, alone.state)


class Marked(FakeModel):
    """Fails on a marked window, in a way of its own, and takes the whole batch down with it where it raises."""

    def __init__(self, fault: Callable[[FrameScores], FrameScores] | Exception) -> None:
        super().__init__()
        self.fault = fault

    def score(self, windows: list[Window]) -> list[FrameScores]:
        answers = super().score(windows)
        for i, w in enumerate(windows):
            if w.samples[0] == MARK:
                if isinstance(self.fault, Exception):
                    raise self.fault
                answers[i] = self.fault(answers[i])
        return answers


class Held(FakeModel):
    """Scores nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.working, self.go = threading.Event(), threading.Event()

    def score(self, windows: list[Window]) -> list[FrameScores]:
        self.working.set()
        assert self.go.wait(20)
        return super().score(windows)


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"did not become true within {seconds} s"
        time.sleep(0.01)


def started(**settings: object) -> ProcessEngine:
    """A process engine with the fake model that is up."""
    engine = ProcessEngine(EngineSettings(**{"model": "fake", **settings}), "CRITICAL")  # type: ignore[arg-type]
    engine.start()
    until(lambda: engine.health().up)
    return engine


def stop_child(engine: ProcessEngine) -> int:
    """The child holds still until it is sent SIGCONT, or killed."""
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return pid


def alive(pid: int) -> bool:
    """Whether there is such a process; a zombie is one."""
    return Path(f"/proc/{pid}").exists()


def running(pid: int) -> bool:
    """As `alive`, but a zombie is none: who adopts an orphan may be slow to bury it."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
