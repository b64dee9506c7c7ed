"""What the workers of a server have open, together: so that one set of limits holds for all of them.

A table with a row for each worker, in memory that they share. Each writes its own row alone; whoever admits
somebody adds up the others'. A server that is one process has a table of one row, and nobody else is counted. A
worker that is killed writes no more, and the parent clears its row. What other servers of the same service have
comes from `far`, where there are any (`server.cluster`).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from server import system

Kind = Literal[
    "channels", "sessions", "connections", "decoders", "desks", "sockets", "level", "lag_ms", "busy"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
PEERS = 4096  # places for addresses; two that share one are counted as one, which only makes limits stricter

Table = npt.NDArray[np.int64]  # (workers, KINDS and PEERS)


class Far(Protocol):
    """What other servers have."""

    def take(self, kind: Kind, mine: int, most: float) -> bool:
        """Whether this process may have `mine`, with those of all others."""
        ...

    def changed(self, kind: Kind) -> None:
        """This process has another number of them."""
        ...


class SharedCounts:
    """One worker's view. Every method may be called from any thread."""

    def __init__(self, table: Table, me: int = 0, key: bytes = b"", lock: Path | None = None) -> None:
        """`key`: nobody can choose addresses that share a place; `lock`: a file, where there are others."""
        self._table, self._me, self._key, self._file = table, me, key, lock
        self._lock = threading.Lock()
        self.far: Far | None = None
        self.far_peers = np.zeros(PEERS, np.int64)  # connections to other servers, by place of their address

    @staticmethod
    def alone(key: bytes = b"") -> SharedCounts:
        """Those of a server that is one process."""
        return SharedCounts(np.zeros((1, len(KINDS) + PEERS), np.int64), 0, key)

    @staticmethod
    def shared(file: Path, n_workers: int, me: int, key: bytes) -> SharedCounts:
        """A table in `file`, which is made where it is missing."""
        shape = (n_workers, len(KINDS) + PEERS)
        mode: Literal["r+", "w+"] = "r+" if file.exists() else "w+"
        return SharedCounts(np.memmap(file, np.int64, mode, shape=shape), me, key, file)

    @property
    def n_workers(self) -> int:
        return len(self._table)

    def publish(self, kind: Kind, value: int) -> None:
        """So many of this kind are mine now."""
        self._table[self._me, KINDS.index(kind)] = value
        if self.far is not None:
            self.far.changed(kind)

    def mine(self, kind: Kind) -> int:
        return int(self._table[self._me, KINDS.index(kind)])

    def elsewhere(self, kind: Kind) -> int:
        """How many the others have, together."""
        column = self._table[:, KINDS.index(kind)]
        return int(column.sum() - column[self._me])

    def each(self, kind: Kind) -> list[int]:
        """By worker."""
        column: list[int] = self._table[:, KINDS.index(kind)].tolist()
        return column

    def take(self, kind: Kind, mine: int, n: int, most: float) -> bool:
        """Make `mine` so many more, if all together stay within `most`; whether they do."""
        with self._alone():
            if self.elsewhere(kind) + mine + n > most:
                return False
            self.publish(kind, mine + n)
        if self.far is None or self.far.take(kind, mine + n, most):
            return True
        self.publish(kind, mine)
        return False

    def peer(self, address: str, change: int) -> int:
        """Count a connection of an address in or out, and give how many others have of it."""
        if self.n_workers == 1 and self.far is None:
            return 0
        digest = hashlib.blake2b(address.encode(), digest_size=2, key=self._key).digest()
        place = int.from_bytes(digest, "big") % PEERS
        column = self._table[:, len(KINDS) + place]
        column[self._me] += change
        return int(column.sum() - column[self._me] + self.far_peers[place])

    def my_peers(self) -> list[list[int]]:
        """The places of addresses that have connections here, and how many."""
        row = self._table[self._me, len(KINDS) :]
        return [[int(place), int(row[place])] for place in np.flatnonzero(row)]

    def clear(self, worker: int) -> None:
        """It is no more."""
        self._table[worker] = 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else takes anything: for some microseconds. The system frees it for whoever is killed."""
        with self._lock:
            if self._file is None:
                yield
                return
            with self._file.open("rb") as file:
                system.lock(file, wait=True)
                yield


def new_key() -> bytes:
    return os.urandom(16)
