"""RingBuffer: the only place a session's samples live; written in order, read by absolute sample index."""

from __future__ import annotations

import numpy as np

from stream.types import Floats


class RingBuffer:
    """The last `capacity` samples of a session. Positions count from the session's first sample."""

    def __init__(self, capacity: int) -> None:
        self._data = np.empty(capacity, np.float32)
        self.end = 0  # index after the last sample written

    @property
    def start(self) -> int:
        """Index of the oldest sample still held."""
        return max(0, self.end - len(self._data))

    def write(self, samples: Floats) -> None:
        """Append samples (n,); the oldest give way. Raises ValueError for more than the capacity at once."""
        size, n = len(self._data), len(samples)
        if n > size:
            raise ValueError(f"{n} samples at once do not fit into a ring of {size}")
        at = self.end % size
        first = min(n, size - at)
        self._data[at : at + first] = samples[:first]
        self._data[: n - first] = samples[first:]
        self.end += n

    def read(self, start: int, end: int) -> Floats:
        """A copy of samples [start, end). Raises IndexError for samples no longer, or not yet, held."""
        if not self.start <= start <= end <= self.end:
            raise IndexError(f"samples {start}..{end} of a ring that holds {self.start}..{self.end}")
        size = len(self._data)
        a, n = start % size, end - start
        first = min(n, size - a)
        out = np.empty(n, np.float32)
        out[:first] = self._data[a : a + first]
        out[first:] = self._data[: n - first]
        return out
