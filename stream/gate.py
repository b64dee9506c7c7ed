"""Speech or silence, every 10 ms, on a grid that does not depend on chunk sizes. No I/O.

webrtcvad judges each hop of 10 ms (it takes 10, 20 or 30 ms, not a frame's 25). `onset` voiced hops in a row
open a span, which begins `pre_roll` hops earlier, since consonants start before the voice does; `hangover`
quiet hops in a row close it, and belong to it: they were scored while nobody could know that the speaker
had finished. A span longer than `max_span` is closed and the next one opens where it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import webrtcvad

from stream.pcm import to_pcm16
from stream.ring import RingBuffer
from stream.types import HOP, SAMPLE_RATE, SpeechEnded, SpeechStarted, frames_in


@dataclass(frozen=True)
class GateConfig:
    """Everything in hops of 10 ms, but `aggressiveness`: 0 lets most pass, 3 least."""

    aggressiveness: int = 2
    onset: int = 6
    pre_roll: int = 10
    hangover: int = 40
    max_span: int = 3000


class SpeechGate:
    """Reads a session's ring hop by hop and says where speech starts and ends."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._vad = webrtcvad.Vad(config.aggressiveness)
        self._next = 0  # the next hop to judge
        self._voiced = 0  # voiced hops in a row
        self._quiet = 0  # quiet hops in a row
        self._start: int | None = None  # where the open span started
        self._last_end = 0

    @property
    def quiet_to(self) -> int:
        """Speech that has not begun yet will not begin before this frame."""
        return max(self._last_end, self._next + 1 - self._config.onset - self._config.pre_roll)

    def advance(self, ring: RingBuffer) -> list[SpeechStarted | SpeechEnded]:
        """RuleEngine every whole hop that the ring has gained."""
        n = ring.end // HOP - self._next
        if n <= 0:
            return []
        samples = ring.read(self._next * HOP, (self._next + n) * HOP)
        pcm = to_pcm16(samples)
        is_speech = self._vad.is_speech
        edges: list[SpeechStarted | SpeechEnded] = []
        for at in range(0, len(pcm), 2 * HOP):
            edges += self._step(is_speech(pcm[at : at + 2 * HOP], SAMPLE_RATE, HOP))
        return edges

    def close(self, end: int) -> list[SpeechStarted | SpeechEnded]:
        """End an open span at frame `end`: the audio is over, for now."""
        if self._start is None:
            return []
        end = max(end, self._start)
        self._start, self._last_end, self._voiced, self._quiet = None, end, 0, 0
        return [SpeechEnded(end)]

    def _step(self, voiced: bool) -> Sequence[SpeechStarted | SpeechEnded]:
        """The edges at the next hop: none, one, or an end and the start that follows it at once."""
        config = self._config
        self._next += 1
        self._voiced = self._voiced + 1 if voiced else 0
        self._quiet = 0 if voiced else self._quiet + 1
        if self._start is None:
            if self._voiced < config.onset:
                return ()
            self._start = max(self._last_end, self._next - config.onset - config.pre_roll)
            return (SpeechStarted(self._start),)
        if self._quiet < config.hangover and self._next - self._start < config.max_span:
            return ()  # nearly always
        end = frames_in(self._next * HOP)  # the last frame of a span is whole when the span closes
        if self._quiet >= config.hangover:
            self._start, self._last_end = None, end
            return (SpeechEnded(end),)
        if end - self._start >= config.max_span:
            self._start = self._last_end = end
            return SpeechEnded(end), SpeechStarted(end)
        return ()
