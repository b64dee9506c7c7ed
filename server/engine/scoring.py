"""What every engine does with the windows it holds: gather them, batch them, score them, answer all of them."""

from __future__ import annotations

import logging
import time
from typing import Generic, TypeVar

import numpy as np

from server.engine import Timing
from stream.batching import BatchLimits, plan
from stream.types import N_LABELS, Answer, EmotionModel, Failed, FrameScores, Window

log = logging.getLogger("engine")

Ticket = TypeVar("Ticket")


class WaitingRoom(Generic[Ticket]):
    """Windows waiting for company, oldest first, each with the ticket that finds its owner again."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._windows: list[Window] = []
        self._tickets: list[Ticket] = []
        self._arrivals: list[float] = []

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, window: Window, ticket: Ticket, arrival_s: float) -> None:
        self._windows.append(window)
        self._tickets.append(ticket)
        self._arrivals.append(arrival_s)

    def take(self, now: float) -> tuple[list[tuple[Window, Ticket, float]], float | None]:
        """The batch to run now, or none and how many seconds to wait (None: until a window arrives)."""
        decision = plan([w.n_frames for w in self._windows], self._arrivals, now, self._limits)
        batch = [(self._windows[i], self._tickets[i], self._arrivals[i]) for i in decision.take]
        for i in reversed(decision.take):
            del self._windows[i], self._tickets[i], self._arrivals[i]
        return batch, decision.wait_s


def score(model: EmotionModel, windows: list[Window]) -> list[Answer]:
    """One answer per window, whatever happens: a window that breaks the model breaks nobody else's."""
    try:
        answers = model.score(windows)
        return [_checked(window, answer) for window, answer in zip(windows, answers, strict=True)]
    except Exception as broken:
        if len(windows) > 1:
            return [answer for window in windows for answer in score(model, [window])]
        log.exception("the model failed on frames %s+%s", windows[0].first_frame, windows[0].n_frames)
        return [Failed("INFERENCE_FAILED", f"{type(broken).__name__}: {broken}")]


def score_timed(
    model: EmotionModel, windows: list[Window], arrivals: list[float]
) -> list[tuple[Answer, Timing]]:
    """`score`, with how long each window waited and how long the batch took."""
    began = time.monotonic()
    answers = score(model, windows)
    infer_s = time.monotonic() - began
    return [
        (answer, Timing(began - arrival, infer_s, 0 if index else len(windows)))
        for index, (answer, arrival) in enumerate(zip(answers, arrivals, strict=True))
    ]


def _checked(window: Window, answer: FrameScores) -> Answer:
    """`answer`, if it is one: what is not a number would poison the session's state and its utterance."""
    n = window.n_frames
    if answer.logits.shape != (n, N_LABELS) or answer.weights.shape != (n,):
        shapes = f"{answer.logits.shape} and {answer.weights.shape}"
        return Failed("INFERENCE_FAILED", f"the model gave scores of shape {shapes} for {n} frames")
    optional = [array for array in (answer.state, answer.embedding) if array is not None]
    if all(np.isfinite(numbers).all() for numbers in (answer.logits, answer.weights, *optional)):
        return answer
    return Failed("INFERENCE_FAILED", "the model gave scores that are not finite numbers")
