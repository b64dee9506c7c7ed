"""Track: one line of a session, a channel of it or all there is: its own gate, ring, windows, scores and books.

It belongs to a LiveSession, which calls it with its lock held.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from server import wire
from server.metrics import Metrics
from stream.session import StreamConfig, StreamSession
from stream.types import HOP, LABELS, SAMPLE_RATE, Answer, Floats, JsonDict, Step, Window

SAME_MOMENT_S = 0.001  # chunks closer than this count as one arrival


class Track:
    """`channel` None: the session's only line."""

    def __init__(self, session_id: str, channel: str | None, config: StreamConfig) -> None:
        self.channel = channel
        name = session_id if channel is None else f"{session_id}/{channel}"
        self._session = StreamSession(name, config)
        self._ring = config.ring
        self._arrivals: deque[tuple[int, float]] = deque()  # (samples received by then, when)
        self._counted = [0.0, 0.0, 0.0]  # seconds of audio, speech, silence that the metrics have

    def take(self, samples: Floats, now: float) -> Step:
        """Samples that have come at `now`, at least one."""
        end = self._session.received + len(samples)
        if self._arrivals and now - self._arrivals[-1][1] < SAME_MOMENT_S:
            self._arrivals[-1] = (end, self._arrivals[-1][1])
        else:
            self._arrivals.append((end, now))
        oldest = end - self._ring
        while self._arrivals[0][0] < oldest:
            self._arrivals.popleft()
        return self._session.push(samples)

    def absorb(self, window: Window, answer: Answer) -> Step:
        return self._session.absorb(window, answer)

    def flush(self) -> Step:
        return self._session.flush()

    def give_up(self, code: str) -> Step:
        return self._session.give_up(code)

    @property
    def settled(self) -> bool:
        return self._session.settled

    @property
    def watermark_frame(self) -> int:
        """Frames before this one will not be spoken of again."""
        return self._session.watermark_frame

    def arrival_of(self, end_sample: int) -> float:
        """When the chunk came that brought the sample before `end_sample`. Windows ask in order."""
        while self._arrivals[0][0] < end_sample:
            self._arrivals.popleft()
        return self._arrivals[0][1]

    def count(self, metrics: Metrics) -> None:
        """Bring the metrics up to date. A pre-roll turns silence into speech afterwards; counters only grow."""
        audio = self._session.received / SAMPLE_RATE
        speech = self._session.speech_so_far * HOP / SAMPLE_RATE
        totals = (audio, speech, audio - speech)
        for i, counter in enumerate((metrics.audio, metrics.speech, metrics.silence)):
            if totals[i] > self._counted[i]:
                counter.inc(totals[i] - self._counted[i])
                self._counted[i] = totals[i]

    @property
    def books(self) -> npt.NDArray[np.int64]:
        """Frames of speech, frames lost, then scored frames by likeliest label."""
        session = self._session
        return np.concatenate([[session.speech_frames, session.lost_frames], session.frames_by_label])


def totals(books: npt.NDArray[np.int64]) -> JsonDict:
    """The fields of a summary that can be added up, of one track or of several together."""
    speech, lost, *by_label = books.tolist()
    n = sum(by_label)
    return {
        "speech_ms": speech * wire.STEP_MS,
        "lost_ms": lost * wire.STEP_MS,
        "frames": n,
        "share": {
            label: round(count / n, wire.DIGITS) if n else 0.0
            for label, count in zip(LABELS, by_label, strict=True)
        },
    }
