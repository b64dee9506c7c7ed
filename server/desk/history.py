"""How a session has gone, in memory that does not grow with it: `History` keeps all of it, the longer the coarser;
`Sparkline` keeps the last minutes as a few points. Plain arithmetic: no clock, no locks, nobody's wire.
"""

from __future__ import annotations

import math

import numpy as np

from stream.types import FRAMES_PER_S, LABELS, N_LABELS, Floats

BINS = 720  # of a history: about a bin for each pixel of its chart
FIRST_BIN = 50  # frames in a bin at first: half a second
POINTS = 60  # of the last minutes
POINT_S = 5  # so five minutes
NEGATIVE = tuple(LABELS.index(label) for label in ("angry", "disgusted", "fearful", "sad"))
MEMORY_S = 6.0  # of speech: how far back `NegativityEma` looks
FADING_S = 30.0  # of silence, in which it fades

Row = list[int] | None  # percent of each label; None: nothing was scored there


class History:
    """Mean scores for each stretch of a session's audio. When its bins are all used, each two become one."""

    def __init__(self) -> None:
        self.bin_frames = FIRST_BIN
        self.changed = 0  # the first bin that is not as it was at the last `settle`
        self._sums = np.zeros((BINS, N_LABELS), np.float32)
        self._counts = np.zeros(BINS, np.int32)
        self._end = 0

    def add(self, first_frame: int, probs: Floats) -> None:
        """The scores (n_frames, N_LABELS) of frames from `first_frame` on."""
        n = len(probs)
        while first_frame + n > BINS * self.bin_frames:
            self._coarsen()
        done = 0
        while done < n:
            number, into = divmod(first_frame + done, self.bin_frames)
            take = min(n - done, self.bin_frames - into)
            self._sums[number] += np.add.reduce(probs[done : done + take])
            self._counts[number] += take
            self.changed = min(self.changed, number)
            self._end = max(self._end, number + 1)
            done += take

    def rows(self, start: int = 0) -> list[Row]:
        """Percentages from bin `start` to the last."""
        counts = self._counts[start : self._end]
        percent = np.rint(100 * self._sums[start : self._end] / np.maximum(counts, 1)[:, None])
        rows = percent.astype(int).tolist()
        return [row if n else None for row, n in zip(rows, counts.tolist(), strict=True)]

    def settle(self) -> None:
        """What there is now has been told of."""
        self.changed = self._end

    def _coarsen(self) -> None:
        self.bin_frames *= 2
        half = BINS // 2
        self._sums[:half] = self._sums[0::2] + self._sums[1::2]
        self._counts[:half] = self._counts[0::2] + self._counts[1::2]
        self._sums[half:] = 0
        self._counts[half:] = 0
        self._end = -(-self._end // 2)
        self.changed = 0


class Sparkline:
    """The last POINTS points of POINT_S seconds each, by the clock on the wall: silence moves them along too.

    A point is 100 times the index of the likeliest label, plus what the negative ones have, in percent (0 to 99).
    """

    def __init__(self) -> None:
        self.newest = -1  # number of the newest point; point k covers [k · POINT_S, (k + 1) · POINT_S)
        self._sums = np.zeros((POINTS, N_LABELS), np.float32)

    def add(self, total: Floats, age_s: float) -> None:
        """`total`: the sum of some frames' scores (N_LABELS,), scored `age_s` after the session's start."""
        number = max(int(age_s / POINT_S), self.newest)
        for passed in range(max(self.newest + 1, number + 1 - POINTS), number + 1):
            self._sums[passed % POINTS] = 0
        self.newest = number
        self._sums[number % POINTS] += total

    def points(self, start: int) -> tuple[int, list[int | None]]:
        """The number of the first point given, and the points from `start` (or the oldest kept) to the newest."""
        first = max(start, self.newest + 1 - POINTS, 0)
        return first, [_point(self._sums[k % POINTS].tolist()) for k in range(first, self.newest + 1)]


def _point(sums: list[float]) -> int | None:
    total = sum(sums)
    if total == 0:
        return None
    negative = sum(sums[i] for i in NEGATIVE) / total
    return 100 * sums.index(max(sums)) + min(99, round(100 * negative))


class NegativityEma:
    """How negative the last seconds of speech were, 0 to 1. Fades in silence."""

    def __init__(self) -> None:
        self._value = 0.0
        self._at = 0.0

    def add(self, total: list[float], n_frames: int, now_s: float) -> None:
        """`total`: the sum of the scores of `n_frames` frames."""
        kept = math.exp(-n_frames / (MEMORY_S * FRAMES_PER_S))
        mean = sum(total[i] for i in NEGATIVE) / n_frames
        self._value = kept * self.at(now_s) + (1 - kept) * mean
        self._at = now_s

    def at(self, now_s: float) -> float:
        silence_s = max(0.0, now_s - self._at - 1)  # a second without results is no silence yet
        return self._value * math.exp(-silence_s / FADING_S)
