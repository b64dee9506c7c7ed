"""Scores of one channel, added up every half second: the grid on which rules are evaluated. No clock.

Sums are cumulative, so that any window is one subtraction; they do not depend on how audio was cut into windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stream.types import N_LABELS, Floats

GRID = 50  # frames: half a second
Sums = npt.NDArray[np.float64]  # (2 * N_LABELS,): scores added up, then frames by likeliest label

_NOTHING: Sums = np.zeros(2 * N_LABELS)


def split_on_grid(first_frame: int, probs: Floats) -> Iterator[tuple[int, Floats]]:
    """Scores (n, N_LABELS) of the frames from `first_frame` on, cut where half seconds begin."""
    done, n = 0, len(probs)
    while done < n:
        at = first_frame + done
        take = min(n - done, GRID - at % GRID)
        yield at, probs if take == n else probs[done : done + take]
        done += take


class WindowedSums:
    """Frames come in order; `tick` closes half seconds in order."""

    def __init__(self, longest: int) -> None:
        """`longest`: frames of the longest window that will be asked for, a multiple of GRID."""
        self.at = 0  # half seconds before this frame are closed
        self.newest = 0  # frames scored in the half second closed last
        self._rows: list[Floats] = []  # of the half second that is open
        self._sums = _NOTHING  # of it, what came added up
        self._past: deque[Sums] = deque([np.zeros(2 * N_LABELS)], maxlen=longest // GRID + 1)

    def add(self, probs: Floats) -> None:
        """Scores (n, N_LABELS) of frames that all lie in the half second that is open."""
        self._rows.append(probs)

    def add_sums(self, sums: Sums) -> None:
        """Scores and counts (2 * N_LABELS,) of frames of the half second that is open, already added up."""
        self._sums = self._sums + sums

    def tick(self) -> None:
        """Close the half second that is open."""
        sums = self._sums
        if self._rows:
            rows = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
            counts = np.bincount(rows.argmax(axis=1), minlength=N_LABELS)
            sums = sums + np.concatenate([rows.sum(axis=0, dtype=np.float64), counts])
            self._rows = []
        self.newest = 0
        total = self._past[-1]
        if sums is not _NOTHING:
            self.newest = round(float(sums[N_LABELS:].sum()))
            total = total + sums
            self._sums = _NOTHING
        self._past.append(total)
        self.at += GRID

    def last(self, n_frames: int) -> Sums:
        """Sums over the last `n_frames` frames that are closed; fewer at the session's start."""
        return self._past[-1] - self._past[max(0, len(self._past) - 1 - n_frames // GRID)]
