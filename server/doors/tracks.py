"""The tracks of a call, each packet at the time it carries: what comes late, twice or never moves nothing else.

Bytes of one sample each (µ-law). No clock: time is the packets' own.
"""

from __future__ import annotations

import numpy as np

PER_MS = 8  # samples of telephone audio
SILENCE = b"\xff"  # in µ-law
SLACK = 10 * PER_MS  # half a packet: by less, its time may differ from the samples before it
WAIT = 500 * PER_MS  # so long one track is waited for by the other
MAX_GAP = 8_000 * PER_MS  # a longer one is not filled: time went on without the call


class Tracks:
    """`put` gives what is complete, interleaved in the order of the tracks."""

    def __init__(self, n_tracks: int) -> None:
        self._origin: int | None = None  # when the first packet began
        self._waiting = [bytearray() for _ in range(n_tracks)]
        self._ends = [0] * n_tracks

    def put(self, track: int, at_ms: int, data: bytes, ordered: bool = False) -> bytes:
        """A packet of `track`. Silence takes the place of what is missing before it; what came late is dropped.

        `ordered`: none comes late, and one whose time says so follows the one before it.
        """
        if self._origin is None:
            self._origin = at_ms
        ahead = (at_ms - self._origin) * PER_MS - self._ends[track]
        if ahead > MAX_GAP:
            self._origin += (ahead - MAX_GAP) // PER_MS
            ahead = MAX_GAP
        if ahead < -SLACK and not ordered:
            return b""
        if ahead > SLACK:
            self._append(track, SILENCE * ahead)
        self._append(track, data)
        latest = max(self._ends)
        for other, end in enumerate(self._ends):
            if latest - end > WAIT:
                self._append(other, SILENCE * (latest - WAIT - end))
        return self._taken(min(len(waiting) for waiting in self._waiting))

    def rest(self) -> bytes:
        """What is left at the end of the call."""
        longest = max(len(waiting) for waiting in self._waiting)
        for track, waiting in enumerate(self._waiting):
            self._append(track, SILENCE * (longest - len(waiting)))
        return self._taken(longest)

    def _append(self, track: int, data: bytes) -> None:
        self._waiting[track] += data
        self._ends[track] += len(data)

    def _taken(self, n: int) -> bytes:
        pieces = [np.frombuffer(bytes(waiting[:n]), np.uint8) for waiting in self._waiting]
        for waiting in self._waiting:
            del waiting[:n]
        return np.stack(pieces, axis=1).tobytes()
