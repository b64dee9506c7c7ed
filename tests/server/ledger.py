"""Keeping the books of a session: each frame of detected speech scored once, or lost once, never neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from stream.types import FramesScored, SpeechEnded, SpeechStarted, StreamEvent
from tests.server.clients import Event

STEP_MS = 10
TOLERANCE = 1e-5 + 5e-7  # the promise, and the sixth digit that is rounded on the wire


@dataclass
class Ledger:
    """Frames by number. `spans`: frames [start, end) of detected speech; an open one ends with None."""

    scored: dict[int, list[float]] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    spans: list[tuple[int, int | None]] = field(default_factory=list)
    _last: int = -1  # the latest frame that was told of: each comes once, in order

    @property
    def speech(self) -> set[int]:
        return {i for start, end in self.spans for i in range(start, start if end is None else end)}

    def rows(self) -> np.ndarray:
        return np.array([self.scored[i] for i in sorted(self.scored)])

    def balance(self) -> None:
        """Everything that was said to be speech is in exactly one place."""
        assert all(end is not None for _, end in self.spans), f"speech without an end: {self.spans}"
        accounted = set(self.scored) | set(self.lost)
        assert accounted == self.speech, (
            f"missing {sorted(self.speech - accounted)[:20]}, too much {sorted(accounted - self.speech)[:20]}"
        )

    def start(self, frame: int) -> None:
        assert not self.spans or (self.spans[-1][1] is not None and self.spans[-1][1] <= frame), "overlap"
        self.spans.append((frame, None))

    def end(self, frame: int) -> None:
        assert self.spans[-1][1] is None, "speech ended twice"
        self.spans[-1] = (self.spans[-1][0], frame)

    def score(self, first: int, rows: Iterable[list[float]]) -> None:
        for i, row in enumerate(rows, first):
            self._next(i)
            self.scored[i] = row

    def lose(self, first: int, end: int, code: str) -> None:
        assert first < end
        for i in range(first, end):
            self._next(i)
            self.lost[i] = code

    def _next(self, frame: int) -> None:
        assert frame > self._last, f"frame {frame} came after {self._last}"
        self._last = frame


def of_client(heard: list[Event], session_id: str, channel: str | None = None) -> Ledger:
    """What a client was told of a channel (None: the only one), entered in the order in which it came."""
    book = Ledger()
    for name, payload in heard:
        if payload.get("session_id") != session_id or payload.get("channel") != channel:
            continue
        if name == "emotion_result":
            book.score(_frame(payload["start_ms"]), payload["frame_scores"])
        elif name == "lost":
            book.lose(_frame(payload["start_ms"]), _frame(payload["end_ms"]), payload["code"])
        elif name == "speech":
            (book.start if payload["state"] == "start" else book.end)(_frame(payload["at_ms"]))
    return book


def of_events(events: Iterable[StreamEvent]) -> Ledger:
    """The same of a recording that went through `stream.offline`."""
    book = Ledger()
    for event in events:
        if isinstance(event, FramesScored):
            book.score(event.first_frame, event.probs.tolist())
        elif isinstance(event, SpeechStarted):
            book.start(event.frame)
        elif isinstance(event, SpeechEnded):
            book.end(event.frame)
    return book


def same(a: Ledger, b: Ledger) -> None:
    """The same speech, the same frames, the same scores."""
    assert a.spans == b.spans
    assert sorted(a.scored) == sorted(b.scored)
    assert a.lost == b.lost
    assert a.scored, "nothing was scored: this compares nothing"
    np.testing.assert_allclose(a.rows(), b.rows(), rtol=0, atol=TOLERANCE)


def _frame(ms: int) -> int:
    assert ms % STEP_MS == 0, f"{ms} ms is not on the grid"
    return ms // STEP_MS
