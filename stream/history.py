"""The scores of the last minutes, for questions about any stretch of them. One channel's; no clock, no lock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.types import FRAMES_PER_S, N_LABELS, Floats

MINUTES = 10
N_FRAMES = MINUTES * 60 * FRAMES_PER_S
_FULL = np.iinfo(np.uint16).max  # of probability 1: two bytes are finer than the fifth decimal


@dataclass(frozen=True, eq=False)
class Stretch:
    """What is known of frames [start, end)."""

    start: int
    end: int
    n_scored: int
    probs: Floats | None  # (N_LABELS,): the mean of those that were scored; None where none was
    complete: bool  # all of it is held, and final


class ScoreHistory:
    """Holds the frames of the last `N_FRAMES`: at most 1.14 MB, of which silence takes next to nothing.

    (The system gives memory to zeros only when something else is written.)
    """

    def __init__(self) -> None:
        # Frame i is in row i % N_FRAMES; the rows of frames without scores are zeros.
        self._rows = np.zeros((N_FRAMES, N_LABELS), np.uint16)
        self._scored = np.zeros(N_FRAMES, np.bool_)
        self._end = 0  # the frame after the last one held

    def add(self, first_frame: int, probs: Floats) -> None:
        """Scores (n, N_LABELS) of frames that follow those before, perhaps not at once."""
        # What lay there before is forgotten, also where nothing comes in its place.
        for part in _parts(max(self._end, N_FRAMES, first_frame - N_FRAMES), first_frame):
            self._rows[part], self._scored[part] = 0, False
        rows, at = np.rint(probs * _FULL).astype(np.uint16), 0
        for part in _parts(first_frame, first_frame + len(probs)):
            n = part.stop - part.start
            self._rows[part], self._scored[part] = rows[at : at + n], True
            at += n
        self._end = first_frame + len(probs)

    def stretch(self, start: int, end: int, final: int) -> Stretch:
        """The frames [start, end). `final`: no scores are to come for frames before it."""
        oldest = max(0, self._end - N_FRAMES)
        n, total = 0, np.zeros(N_LABELS)
        for part in _parts(max(start, oldest), min(end, self._end)):
            n += int(np.count_nonzero(self._scored[part]))
            total += self._rows[part].sum(axis=0, dtype=np.uint32)  # of 60,000 times two bytes at most
        mean = (total / (n * _FULL)).astype(np.float32) if n else None
        return Stretch(start, end, n, mean, start >= oldest and end <= final)


def _parts(start: int, end: int) -> list[slice]:
    """The rows of frames [start, end), at most all that there are: one piece, or two where they begin anew."""
    if start >= end:
        return []
    first, last = start % N_FRAMES, (end - 1) % N_FRAMES + 1
    return [slice(first, last)] if first < last else [slice(first, N_FRAMES), slice(0, last)]
