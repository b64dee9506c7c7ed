"""Plays audio to a session as a server would: chunks come in, answers come late, some fail. Checks the books."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from stream.models.fake import FakeModel
from stream.session import StreamSession
from stream.types import (
    FRAME,
    HOP,
    LABELS,
    Answer,
    EmotionModel,
    Failed,
    FailureCode,
    FramesScored,
    Lost,
    SpeechEnded,
    SpeechStarted,
    Step,
    StreamEvent,
    UtteranceScored,
    Window,
    softmax,
)


@dataclass
class Player:
    """`delays`: how many pushes each answer takes; `failures`: an error code for each window, or None."""

    session: StreamSession
    delays: Iterable[int] = field(default_factory=lambda: itertools.repeat(0))
    failures: Iterable[FailureCode | None] = field(default_factory=lambda: itertools.repeat(None))
    model: EmotionModel = field(default_factory=FakeModel)
    events: list[StreamEvent] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._delays, self._failures = iter(self.delays), iter(self.failures)
        self._out: Window | None = None
        self._wait = 0

    def push(self, samples: np.ndarray) -> None:
        self._take(self.session.push(samples))
        self._tick()

    def flush(self) -> None:
        self._take(self.session.flush())

    def give_up(self, code: FailureCode) -> Window | None:
        """Wait no longer. The window that was out, if any."""
        late, self._out = self._out, None
        self._take(self.session.give_up(code))
        return late

    def finish(self) -> list[StreamEvent]:
        """Flush, and wait for every answer."""
        self.flush()
        while self._out is not None:
            self.answer()
        assert self.session.settled
        return self.events

    def answer(self) -> None:
        assert self._out is not None
        window, self._out = self._out, None
        code = next(self._failures)
        answer: Answer = Failed(code, "told to") if code else self.model.score([window])[0]
        self._take(self.session.absorb(window, answer))

    def _tick(self) -> None:
        while self._out is not None and self._wait <= 0:
            self.answer()
        self._wait -= 1

    def _take(self, step: Step) -> None:
        self.events += step.events
        if step.window is not None and step.window is not self._out:
            assert self._out is None, "one window at a time"
            self.windows.append(step.window)
            self._out, self._wait = step.window, next(self._delays)


def spans(events: Iterable[StreamEvent]) -> list[tuple[int, int]]:
    starts = [e.frame for e in events if isinstance(e, SpeechStarted)]
    ends = [e.frame for e in events if isinstance(e, SpeechEnded)]
    return list(zip(starts, ends, strict=True))


def frames_of(event: FramesScored | Lost) -> range:
    n = event.n_frames if isinstance(event, Lost) else len(event.probs)
    return range(event.first_frame, event.first_frame + n)


def check_books(player: Player, samples: np.ndarray) -> None:
    """The promise: every frame of speech is scored once, or lost once, in order; and what follows from it.

    `FakeModel` numbers the frames that it scores, and its first logit tells which audio it heard.
    """
    events, session = player.events, player.session
    speech = spans(events)
    told = [e for e in events if isinstance(e, FramesScored | Lost)]
    assert [f for e in told for f in frames_of(e)] == [f for a, b in speech for f in range(a, b)]

    scored = [e for e in told if isinstance(e, FramesScored)]
    numbers = np.arange(sum(len(e.probs) for e in scored))
    heard = [f for e in scored for f in frames_of(e)]
    logits = np.concatenate([e.scores.logits for e in scored]) if scored else np.empty((0, len(LABELS)))
    assert np.array_equal(logits[:, 4], np.sin(numbers).astype(np.float32)), "the state is handed on"
    audio = (
        np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP][heard] if heard else np.empty((0, 1))
    )
    assert np.allclose(logits[:, 0], 10 * np.sqrt(np.mean(audio**2, axis=1)), rtol=1e-5), "its own audio"

    # Verdicts: one per span with any score, after everything of its span and before anything of the next.
    order = [e for e in events if isinstance(e, FramesScored | Lost | UtteranceScored)]
    verdicts = [e for e in order if isinstance(e, UtteranceScored)]
    expected = []
    for start, end in speech:
        inside = [e for e in scored if start <= e.first_frame < end]
        if inside:
            expected.append((start, end, sum(len(e.probs) for e in inside)))
    assert [(e.start, e.end, e.n_scored) for e in verdicts] == expected
    for verdict in verdicts:
        at = order.index(verdict)
        assert all(frames_of(e).stop <= verdict.end for e in order[:at] if not isinstance(e, UtteranceScored))
        assert all(e.first_frame >= verdict.end for e in order[at:] if not isinstance(e, UtteranceScored))
        rows = [row for f, row in zip(heard, logits, strict=True) if verdict.start <= f < verdict.end]
        assert np.allclose(verdict.probs, softmax(np.mean(rows, axis=0)), atol=1e-5)

    lost = sum(e.n_frames for e in told if isinstance(e, Lost))
    assert session.lost_frames == lost
    assert session.frames_by_label.sum() == len(heard)
    assert session.speech_frames == session.speech_so_far == lost + len(heard)
    windows = player.windows
    firsts = [w.first_frame for w in windows if w.starts_span]
    begun = [[w.first_frame for w in windows if start <= w.first_frame < end] for start, end in speech]
    assert firsts == [min(inside) for inside in begun if inside], "a span starts once"


def facts(events: Iterable[StreamEvent]) -> list[tuple[object, ...]]:
    """Events with their arrays as bytes: equal only when they are bit for bit the same."""
    found: list[tuple[object, ...]] = []
    for e in events:
        if isinstance(e, FramesScored):
            arrays = (e.scores.logits, e.scores.weights, e.probs, e.smoothed)
            found.append((e.first_frame, *(array.tobytes() for array in arrays)))
        elif isinstance(e, UtteranceScored):
            found.append((e.start, e.end, e.n_scored, e.probs.tobytes()))
        else:
            found.append((e,))
    return found
