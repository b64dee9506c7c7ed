"""Which waiting windows to run together, now or in a while: a pure rule, time passed in.

Windows of one length share a batch, so nothing is padded and nobody's score depends on a neighbour's length.
The length whose oldest window has waited longest goes first. A batch runs when it is full, or when its oldest
window has waited `max_wait_s` for company.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchLimits:
    max_batch: int = 32
    max_wait_s: float = 0.02


@dataclass(frozen=True)
class Plan:
    """Run the waiting windows at `take` (indices), or wait `wait_s` (None: until one arrives)."""

    take: tuple[int, ...] = ()
    wait_s: float | None = None


def plan(lengths: Sequence[int], arrivals: Sequence[float], now: float, limits: BatchLimits) -> Plan:
    """Plan for windows of `lengths` frames that arrived at `arrivals` seconds, oldest first."""
    if not lengths:
        return Plan()
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(length, []).append(index)
    # Before any full batch: a rare length must not starve behind a common one whose batches are always full.
    oldest = next(iter(groups.values()))
    wait_s = arrivals[oldest[0]] + limits.max_wait_s - now
    if wait_s <= 0:
        return Plan(take=tuple(oldest[: limits.max_batch]))
    for group in groups.values():  # in the order of their oldest window
        if len(group) >= limits.max_batch:
            return Plan(take=tuple(group[: limits.max_batch]))
    return Plan(wait_s=wait_s)
