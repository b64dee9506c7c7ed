"""Channel: one voice of a session, or all there is: its own gate, ring, windows, scores and counters.

It belongs to a LiveSession, which calls it with its lock held.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from server.metrics import Metrics
from server.observers import Counters
from stream.history import ScoreHistory
from stream.session import StreamConfig, StreamSession
from stream.types import HOP, SAMPLE_RATE, Floats, Step, frames_in

SAME_MOMENT_S = 0.001  # chunks closer than this count as one arrival
FAST_CLOCK = 0.02  # by so much a client's clock may be fast before its audio counts as sent ahead


class Arrival(NamedTuple):
    """Audio up to sample `end` had come at `at_s`; it is `due_s` for scoring: later, where it was sent ahead."""

    end: int
    at_s: float
    due_s: float


class Channel:
    """`name` None: the session's only channel. `stream` is its speech, windows and scores."""

    def __init__(self, session_id: str, name: str | None, config: StreamConfig) -> None:
        self.name = name
        self.stream = StreamSession(session_id if name is None else f"{session_id}/{name}", config)
        self.history = ScoreHistory()
        self._ring = config.ring
        self._arrivals: deque[Arrival] = deque()
        self._began_s = -float("inf")  # when the audio's first sample was spoken, if it is not sent ahead
        self._counted = [0.0, 0.0, 0.0]  # seconds of audio, speech, silence that the metrics have

    def push(self, samples: Floats, now: float) -> Step:
        """Samples that have come at `now`, at least one."""
        end = self.stream.received + len(samples)
        last = self._arrivals[-1] if self._arrivals else None
        drift = FAST_CLOCK * (now - last.at_s) if last else 0.0
        self._began_s = max(now - end / SAMPLE_RATE, self._began_s - drift)
        due_s = self._began_s + end / SAMPLE_RATE
        if last and now - last.at_s < SAME_MOMENT_S:
            self._arrivals[-1] = Arrival(end, last.at_s, due_s)
        else:
            self._arrivals.append(Arrival(end, now, due_s))
        oldest = end - self._ring
        while self._arrivals[0].end < oldest:
            self._arrivals.popleft()
        return self.stream.push(samples)

    def arrival_of(self, end_sample: int) -> float:
        """When the chunk came that brought the sample before `end_sample`. Windows ask in order."""
        while self._arrivals[0].end < end_sample:
            self._arrivals.popleft()
        return self._arrivals[0].at_s

    def since_s(self, end_sample: int, now: float) -> float:
        """How long ago audio up to `end_sample` was spoken, going by when the latest came."""
        latest = self._arrivals[-1]
        return now - latest.at_s + max(0, latest.end - end_sample) / SAMPLE_RATE

    def lag_s(self, now: float) -> float:
        """For how long the oldest window that waits for the model has been due; 0 where none does.

        Audio that was sent ahead of real time is due when it would have been spoken.
        """
        complete = self.stream.waits_since
        if complete is None:
            return 0.0
        due_s = next((arrival.due_s for arrival in self._arrivals if arrival.end >= complete), now)
        return max(0.0, now - due_s)

    def shed(self, now: float, max_lag_s: float) -> Step:
        """Tell as lost the speech that has been due for longer than `max_lag_s`."""
        end = 0
        for arrival in self._arrivals:
            if arrival.due_s > now - max_lag_s:
                break
            end = arrival.end
        return self.stream.shed(frames_in(end))

    def count(self, metrics: Metrics, at_least_s: float = 0.0) -> None:
        """Bring the metrics up to date, if they lack `at_least_s` of audio.

        A pre-roll turns silence into speech afterwards; counters only grow.
        """
        audio = self.stream.received / SAMPLE_RATE
        if audio - self._counted[0] < at_least_s:
            return
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
