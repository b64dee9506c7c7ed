"""Channel: one voice of a session, or all there is: its own gate, ring, windows, scores and counters.

It belongs to a LiveSession, which calls it with its lock held.
"""

from __future__ import annotations

from collections import deque

from server.metrics import Metrics
from server.observers import Counters
from stream.session import StreamConfig, StreamSession
from stream.types import HOP, SAMPLE_RATE, Floats, Step

SAME_MOMENT_S = 0.001  # chunks closer than this count as one arrival


class Channel:
    """`name` None: the session's only channel. `stream` is its speech, windows and scores."""

    def __init__(self, session_id: str, name: str | None, config: StreamConfig) -> None:
        self.name = name
        self.stream = StreamSession(session_id if name is None else f"{session_id}/{name}", config)
        self._ring = config.ring
        self._arrivals: deque[tuple[int, float]] = deque()  # (samples received by then, when)
        self._counted = [0.0, 0.0, 0.0]  # seconds of audio, speech, silence that the metrics have

    def push(self, samples: Floats, now: float) -> Step:
        """Samples that have come at `now`, at least one."""
        end = self.stream.received + len(samples)
        if self._arrivals and now - self._arrivals[-1][1] < SAME_MOMENT_S:
            self._arrivals[-1] = (end, self._arrivals[-1][1])
        else:
            self._arrivals.append((end, now))
        oldest = end - self._ring
        while self._arrivals[0][0] < oldest:
            self._arrivals.popleft()
        return self.stream.push(samples)

    def arrival_of(self, end_sample: int) -> float:
        """When the chunk came that brought the sample before `end_sample`. Windows ask in order."""
        while self._arrivals[0][0] < end_sample:
            self._arrivals.popleft()
        return self._arrivals[0][1]

    def count(self, metrics: Metrics) -> None:
        """Bring the metrics up to date. A pre-roll turns silence into speech afterwards; counters only grow."""
        audio = self.stream.received / SAMPLE_RATE
        speech = self.stream.speech_so_far * HOP / SAMPLE_RATE
        totals = (audio, speech, audio - speech)
        for i, counter in enumerate((metrics.audio, metrics.speech, metrics.silence)):
            if totals[i] > self._counted[i]:
                counter.inc(totals[i] - self._counted[i])
                self._counted[i] = totals[i]

    @property
    def counters(self) -> Counters:
        return Counters(
            self.stream.speech_frames, self.stream.lost_frames, self.stream.frames_by_label.copy()
        )
