"""The model process is killed in the midst of 200 streams: each goes on to the last digit that is promised."""

from __future__ import annotations

import os
import random
import signal
import threading

import numpy as np
import pytest

pytest.importorskip("torch", reason="the compact model needs torch")

from server.engine import EngineSettings, Timing
from server.engine.process import ProcessEngine
from stream.batching import BatchLimits
from stream.models.compact.model import load
from stream.models.compact.windows import HOP_FRAMES
from stream.types import Answer, Floats, FrameScores, Window
from tests.server.engine.material import until
from tests.stream.voices import assert_same, play, voice, window

STREAMS = 200
KILLS = 3
VOICES = 20


class Stream:
    """One voice, cut at random, its last window short; one window out at a time, each with the state before."""

    def __init__(self, number: int, sound: Floats, engine: ProcessEngine) -> None:
        rng = random.Random(number)
        self.cuts = [HOP_FRAMES] * rng.randint(8, 16) + [rng.randint(1, HOP_FRAMES)]
        self.sound, self._engine = sound, engine
        self.answers: list[FrameScores] = []
        self.failed: Answer | None = None
        self.done = threading.Event()

    def go_on(self) -> None:
        n = len(self.answers)
        state = self.answers[-1].state if n else None
        self._engine.submit(window(self.sound, sum(self.cuts[:n]), self.cuts[n], state, n == 0), self._reply)

    def _reply(self, out: Window, answer: Answer, timing: Timing) -> None:
        if not isinstance(answer, FrameScores):
            self.failed = answer
            self.done.set()
            return
        self.answers.append(answer)
        if len(self.answers) < len(self.cuts):
            self.go_on()
        else:
            self.done.set()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_streams_that_lose_their_model_process_score_as_those_that_do_not() -> None:
    sounds = [voice(seed) for seed in range(VOICES)]
    settings = EngineSettings(model="compact", deadline_s=120, batching=BatchLimits(32, 0.005))
    engine = ProcessEngine(settings, "ERROR")
    engine.start()
    streams = [Stream(i, sounds[i % VOICES], engine) for i in range(STREAMS)]
    for number in range(KILLS):
        # All are in the midst: the first windows of nearly all are out when it dies for the first time.
        until(lambda: engine.health().up, 60)
        if number == 0:
            for stream in streams:
                stream.go_on()
        until(lambda n=number: sum(len(s.answers) for s in streams) >= (n + 1) * 2 * STREAMS, 60)  # type: ignore[misc]
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        until(lambda n=number: engine.health().restarts == n + 1, 60)  # type: ignore[misc]
    for stream in streams:
        assert stream.done.wait(120)
        assert stream.failed is None, stream.failed
    assert engine.health().restarts == KILLS
    engine.close()
    model = load("cpu")
    for stream in streams:
        alone = play(model, stream.sound, stream.cuts)
        logits = np.concatenate([a.logits for a in stream.answers])
        weights = np.concatenate([a.weights for a in stream.answers])
        assert_same(alone, FrameScores(logits, weights, stream.answers[-1].state, gain=alone.gain))
