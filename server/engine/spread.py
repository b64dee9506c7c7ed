"""Which of several replicas takes a window: a pure rule, time passed in.

A batch is what is given away, not a window: live windows that come within `max_wait_s` of the first go to the same
replica, which waits just as long for batch mates, until they are a full batch. The next batch goes to the replica
with the least audio outstanding. So few streams on many replicas share batches as they would on one, and many
streams keep all of them busy. Windows of files share no batch on a CPU: each goes where there is the least to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from stream.batching import BatchLimits
from stream.types import Window


class Spread:
    """Remembers the batch that is being filled."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._replica, self._until, self._left = -1, -float("inf"), 0

    def choose(self, window: Window, outstanding: Mapping[int, int], now: float) -> int:
        """One of those in `outstanding`, which says how many samples each has still to score."""
        if not window.background and self._left and now < self._until and self._replica in outstanding:
            self._left -= 1
            return self._replica
        replica = min(outstanding, key=lambda number: (outstanding[number], number))
        if not window.background:
            self._replica, self._until = replica, now + self._limits.max_wait_s
            self._left = self._limits.max_batch - 1
        return replica
