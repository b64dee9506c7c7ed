"""What every engine does with the windows it holds: gather them, batch them, score them, answer all of them."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from server.engine import Busy, EngineSettings, Timing
from stream.batching import BatchLimits, Kind, plan
from stream.types import N_LABELS, Answer, EmotionModel, Failed, FrameScores, ModelSpec, Window

log = logging.getLogger("engine")

Ticket = TypeVar("Ticket")
# Background windows in a batch there: segments of 30 s fill it, and live windows wait for them.
BACKGROUND_ON_GPU = 8


def limits_for(spec: ModelSpec, wanted: BatchLimits) -> BatchLimits:
    """The batches that suit this model where it runs."""
    largest = min(wanted.max_batch, spec.best_batch)
    return replace(
        wanted,
        max_batch=largest,
        max_background=min(BACKGROUND_ON_GPU, largest) if spec.device.startswith("cuda") else 1,
        mixed_frames=spec.mixed_frames,
    )


class Admission:
    """How many windows an engine holds, and for how long. Live and background windows have limits of their own, so
    that files can neither fill the room of those who speak, nor time out because they wait behind them."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._held = {False: 0, True: 0}  # by whether they are background windows
        self._progress_s = -float("inf")  # when a background window was last scored

    def __len__(self) -> int:
        return sum(self._held.values())

    def enter(self, window: Window) -> None:
        """Raises Busy."""
        settings = self._settings
        if self._held[window.background] >= (
            settings.max_background if window.background else settings.max_queue
        ):
            raise Busy()
        self._held[window.background] += 1

    def leave(self, window: Window, answer: Answer, now: float) -> None:
        self._held[window.background] -= 1
        if window.background and isinstance(answer, FrameScores):
            self._progress_s = now

    def overdue(self, window: Window, submitted_s: float, now: float) -> Failed | None:
        """What to answer to a window that has waited too long; None while it has not."""
        if not window.background:
            limit = self._settings.deadline_s
            late = now - submitted_s > limit
            return Failed("INFERENCE_TIMEOUT", f"no scores within {limit:g} s") if late else None
        # As long as files get on at all, those that wait behind others need only patience.
        limit = self._settings.background_deadline_s
        if now - max(submitted_s, self._progress_s) <= limit:
            return None
        return Failed("OVERLOADED", f"live streams have left no room for files for {limit:g} s; try later")


class Queued(NamedTuple, Generic[Ticket]):
    """A window that waits for its batch, and the ticket that finds its owner again."""

    window: Window
    ticket: Ticket
    arrival_s: float
    kind: Kind


class BatchQueue(Generic[Ticket]):
    """Windows waiting for their batch, oldest first."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._only_live = replace(limits, max_background=0)
        self._waiting: list[Queued[Ticket]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, window: Window, ticket: Ticket, arrival_s: float) -> None:
        kind = Kind.of(window, self._limits.mixed_frames)
        self._waiting.append(Queued(window, ticket, arrival_s, kind))

    def take(self, now: float, only_live: bool = False) -> tuple[list[Queued[Ticket]], float | None]:
        """The batch to run now, or none and how many seconds to wait (None: until a window arrives)."""
        waiting = self._waiting
        decision = plan(
            [queued.kind for queued in waiting],
            [queued.arrival_s for queued in waiting],
            now,
            self._only_live if only_live else self._limits,
        )
        batch = [waiting[i] for i in decision.take]
        for i in reversed(decision.take):
            del waiting[i]
        return batch, decision.wait_s


def score(model: EmotionModel, windows: list[Window]) -> list[Answer]:
    """One answer per window, whatever happens: a window that breaks the model breaks nobody else's."""
    try:
        answers = model.score(windows)
        return [_checked(window, answer) for window, answer in zip(windows, answers, strict=True)]
    except Exception as broken:
        if len(windows) > 1:
            return [answer for window in windows for answer in score(model, [window])]
        (window,) = windows
        log.exception(
            "the model failed on frames %d+%d of session %s",
            window.first_frame,
            window.n_frames,
            window.session_id,
        )
        return [Failed("INFERENCE_FAILED", f"{type(broken).__name__}: {broken}")]


def score_timed(
    model: EmotionModel, windows: list[Window], arrivals: list[float]
) -> list[tuple[Answer, Timing]]:
    """`score`, with how long each window waited for its batch and how long that took."""
    began = time.monotonic()
    answers = score(model, windows)
    infer_s = time.monotonic() - began
    timings = [Timing(began - arrival, infer_s) for arrival in arrivals]
    return list(zip(answers, timings, strict=True))


def _checked(window: Window, answer: FrameScores) -> Answer:
    """`answer`, if it is one: what is not a number would poison the session's state and its utterance."""
    n = window.n_rows
    if answer.logits.shape != (n, N_LABELS) or answer.weights.shape != (n,):
        shapes = f"{answer.logits.shape} and {answer.weights.shape}"
        return Failed("INFERENCE_FAILED", f"the model gave scores of shape {shapes}, {n} rows were due")
    optional = [array for array in (answer.state, answer.embedding) if array is not None]
    if all(np.isfinite(numbers).all() for numbers in (answer.logits, answer.weights, *optional)):
        return answer
    return Failed("INFERENCE_FAILED", "the model gave scores that are not finite numbers")
