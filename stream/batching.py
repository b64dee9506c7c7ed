"""Which waiting windows to run together, now or in a while: a pure rule, time passed in.

Windows that are alike share a batch, so nobody's score depends on a neighbor's length. Lengths are mixed only for
a model that promises the same (`ModelSpec.mixed_frames`), so that a span's short last window need not run alone.
Live windows go first: the kind whose oldest window has waited longest, when its batch is full or when that window
has waited `max_wait_s` for batch mates. Background windows, those of files, run when no live window is due: the
oldest, with those like it up to `max_background`. So a live window waits for one background run at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stream.types import RecordingWindow, Window, samples_for


class Kind(NamedTuple):
    """What windows must have in common to share a batch."""

    n_frames: int
    left_frames: int = 0
    n_samples: int = 0
    embed: bool = False
    recording: bool = False
    background: bool = False

    @classmethod
    def of(cls, window: Window, mixed_frames: int = 0) -> Kind:
        """The kind of `window`; all live windows of at most `mixed_frames` frames are one."""
        n_frames, n_samples = window.n_frames, len(window.samples)
        if n_frames <= mixed_frames:
            n_frames, n_samples = mixed_frames, samples_for(mixed_frames)
        recording = isinstance(window, RecordingWindow)
        return cls(n_frames, window.left_frames, n_samples, window.embed, recording, window.background)


@dataclass(frozen=True)
class BatchLimits:
    """How many windows share a batch, and how long one waits for others."""

    max_batch: int = 32
    max_wait_s: float = 0.02
    # Background windows in a batch; 0: none runs. One by one a file's scores are the same to the last digit,
    # whatever else runs, and a live window waits for one of them at most.
    max_background: int = 1
    mixed_frames: int = 0  # windows of up to as many frames are alike in length


@dataclass(frozen=True)
class BatchPlan:
    """Run the waiting windows at `take` (indices), or wait `wait_s` (None: until one arrives)."""

    take: tuple[int, ...] = ()
    wait_s: float | None = None


def plan(kinds: Sequence[Kind], arrivals: Sequence[float], now: float, limits: BatchLimits) -> BatchPlan:
    """BatchPlan for windows of `kinds` that arrived at `arrivals` seconds, oldest first."""
    live: dict[Kind, list[int]] = {}
    background: dict[Kind, list[int]] = {}
    for index, kind in enumerate(kinds):
        (background if kind.background else live).setdefault(kind, []).append(index)
    wait_s = None
    if live:
        # Before any full batch: a rare kind must not starve behind a common one whose batches are always full.
        oldest = next(iter(live.values()))
        wait_s = arrivals[oldest[0]] + limits.max_wait_s - now
        if wait_s <= 0:
            return BatchPlan(take=tuple(oldest[: limits.max_batch]))
        for group in live.values():  # in the order of their oldest window
            if len(group) >= limits.max_batch:
                return BatchPlan(take=tuple(group[: limits.max_batch]))
    if background and limits.max_background:
        return BatchPlan(take=tuple(next(iter(background.values()))[: limits.max_background]))
    return BatchPlan(wait_s=wait_s)
