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
    """Holds the frames of the last `N_FRAMES`: at most 1.08 MB, of which silence takes next to nothing.

    (The system gives memory to zeros only when something else is written.)
    """

    def __init__(self) -> None:
        self._rows = np.zeros(
            (N_FRAMES, N_LABELS), np.uint16
        )  # frame i in row i % N_FRAMES; zeros: not scored
        self._end = 0  # the frame after the last one held

    def add(self, first_frame: int, probs: Floats) -> None:
        """Scores (n, N_LABELS) of frames that follow those before, perhaps not at once."""
        # What lay there before is forgotten, also where nothing comes in its place.
        self._put(max(self._end, N_FRAMES, first_frame - N_FRAMES), first_frame, np.uint16(0))
        self._put(first_frame, first_frame + len(probs), np.rint(probs * _FULL).astype(np.uint16))
        self._end = first_frame + len(probs)

    def stretch(self, start: int, end: int, final: int) -> Stretch:
        """The frames [start, end). `final`: no scores are to come for frames before it."""
        oldest = max(0, self._end - N_FRAMES)
        held = np.arange(max(start, oldest), min(end, self._end)) % N_FRAMES
        rows = self._rows[held]
        rows = rows[rows.any(axis=1)]
        mean = (rows.mean(axis=0, dtype=np.float64) / _FULL).astype(np.float32) if len(rows) else None
        return Stretch(start, end, len(rows), mean, start >= oldest and end <= final)

    def _put(self, start: int, end: int, rows: np.ndarray | np.uint16) -> None:
        if start < end:
            self._rows[np.arange(start, end) % N_FRAMES] = rows
