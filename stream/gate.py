"""Speech or silence, every 10 ms, on a grid that does not depend on chunk sizes. No I/O.

webrtcvad judges each hop of 10 ms (it takes 10, 20 or 30 ms, not a frame's 25). `onset` voiced hops in a row
open a span, which begins `pre_roll` hops earlier, since consonants start before the voice does; `hang_over`
quiet hops in a row close it, and belong to it: they were scored while nobody could know that the speaker
had finished. A span longer than `max_span` is closed and the next one opens where it ended.

webrtcvad misses the softer half of a quiet voice: of recordings at -40 dBFS it passed nine tenths. So what it hears
is raised, by `max_gain` at most, as far as neither the voice is brought beyond VOICE nor the room's noise beyond
NOISE, below which it opens on no noise. The model hears what was recorded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import webrtcvad

from stream.ring import RingBuffer
from stream.types import HOP, SAMPLE_RATE, Floats, SpeechEnded, SpeechStarted, frames_in


VOICE, NOISE = -20.0, -60.0  # dBFS
FADE = 0.003  # dB per hop by which the loudest that was heard is forgotten: 3 dB in 10 s
RISE, FALL = 0.06, 1.0  # dB per hop that the noise is believed to have become louder, softer


@dataclass(frozen=True)
class GateConfig:
    """Everything in hops of 10 ms, but `aggressiveness` (0 lets most pass, 3 least) and `max_gain` in dB."""

    aggressiveness: int = 2
    max_gain: float = 20.0
    onset: int = 6
    pre_roll: int = 10
    hang_over: int = 40
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
        self._loudest, self._noise = -math.inf, NOISE  # dBFS

    @property
    def quiet_to(self) -> int:
        """Speech that has not begun yet will not begin before this frame."""
        return max(self._last_end, self._next + 1 - self._config.onset - self._config.pre_roll)

    def advance(self, ring: RingBuffer) -> list[SpeechStarted | SpeechEnded]:
        """Judge every whole hop that the ring has gained."""
        n = ring.end // HOP - self._next
        if n <= 0:
            return []
        samples = self._raised(ring.read(self._next * HOP, (self._next + n) * HOP))
        pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
        is_speech = self._vad.is_speech
        edges: list[SpeechStarted | SpeechEnded] = []
        for at in range(0, len(pcm), 2 * HOP):
            edge = self._step(is_speech(pcm[at : at + 2 * HOP], SAMPLE_RATE))
            if edge is not None:
                edges.extend(edge)
        return edges

    def close(self, end: int) -> list[SpeechStarted | SpeechEnded]:
        """End an open span at frame `end`: the audio is over, for now."""
        if self._start is None:
            return []
        end = max(end, self._start)
        self._start, self._last_end, self._voiced, self._quiet = None, end, 0, 0
        return [SpeechEnded(end)]

    def _raised(self, samples: Floats) -> Floats:
        """Whole hops of samples as the detector is to hear them; a hop's gain depends on it and those before."""
        hops = samples.reshape(-1, HOP)
        levels = 10 * np.log10(np.einsum("ij,ij->i", hops, hops) / HOP + 1e-9)
        gains, most = [], self._config.max_gain
        for level in levels.tolist():
            self._loudest = max(level, self._loudest - FADE)
            self._noise = min(max(level, self._noise - FALL), self._noise + RISE)
            gains.append(min(most, VOICE - self._loudest, NOISE - self._noise))
        if max(gains) <= 0:
            return samples
        factors = 10 ** (np.maximum(gains, 0)[:, None] / 20)
        return (hops * factors).reshape(-1)

    def _step(self, voiced: bool) -> tuple[SpeechStarted | SpeechEnded, ...] | None:
        config = self._config
        self._next += 1
        self._voiced = self._voiced + 1 if voiced else 0
        self._quiet = 0 if voiced else self._quiet + 1
        if self._start is None:
            if self._voiced < config.onset:
                return None
            self._start = max(self._last_end, self._next - config.onset - config.pre_roll)
            return (SpeechStarted(self._start),)
        end = frames_in(self._next * HOP)  # the last frame of a span is whole when the span closes
        if self._quiet >= config.hang_over:
            self._start, self._last_end = None, end
            return (SpeechEnded(end),)
        if end - self._start >= config.max_span:
            self._start = self._last_end = end
            return SpeechEnded(end), SpeechStarted(end)
        return None
