"""How much of the disk results take and may take: counted while uploads come in and results are written.

`files.keep_gb` holds at every moment, but for what has been written since the last look. Room is made by removing
the oldest results, never fresh ones: what somebody was just given is not taken away because somebody else sends a
lot. Of all room one peer's fresh results may take half. Who finds none is refused as NO_ROOM.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.config import FilesSection
from server.errors import ClientError
from server.paths import HOME

SWEEP_S = 600.0  # between two sweeps when nothing is written
AGAIN_S = 1.0  # between two when there is no room
TIMEOUT_S = 60.0  # for one

log = logging.getLogger("upload")


class Hold:
    """What one upload has on the disk."""

    def __init__(self, room: DiskRoom, peer: str) -> None:
        self._room, self.peer = room, peer
        self.bytes = 0

    def grow(self, n_bytes: int) -> None:
        """It takes so much now. Raises ClientError NO_ROOM, then it is to be removed."""
        self.bytes = n_bytes
        self._room.check(self)


class DiskRoom:
    """Of all uploads and their results below one folder."""

    def __init__(self, root: Path, files: FilesSection) -> None:
        self._root, self._files = root, files
        self._most = round(files.keep_gb * 1e9)
        self._kept = 0  # bytes of results, as the last sweep found them, and what came since
        self._fresh: dict[str, tuple[float, str, int]] = {}  # result → when it was made, whose, bytes
        self._writing: set[Hold] = set()
        self._lock = threading.Lock()  # of what is counted; held for an addition
        self._sweeping = threading.Lock()
        self._swept = float("-inf")

    @contextmanager
    def held(self, peer: str) -> Iterator[Hold]:
        """For the time in which an upload and its result are written."""
        hold = Hold(self, peer)
        with self._lock:
            self._writing.add(hold)
        try:
            yield hold
        finally:
            with self._lock:
                self._writing.discard(hold)

    def keep(self, name: str, hold: Hold) -> None:
        """A result is complete."""
        with self._lock:
            self._writing.discard(hold)
            self._kept += hold.bytes
            self._fresh[name] = (time.monotonic(), hold.peer, hold.bytes)

    def removed(self, name: str) -> None:
        """A result was removed by whoever has it."""
        with self._lock:
            _, _, n_bytes = self._fresh.pop(name, (0.0, "", 0))
            self._kept -= n_bytes

    def check(self, hold: Hold) -> None:
        """Whether it may take what it takes; old results make room for it. Raises ClientError NO_ROOM."""
        if self._theirs(hold.peer) > self._most / 2:
            raise _no_room("your recent uploads take half of all storage")
        if self._taken() > self._most and time.monotonic() > self._swept + AGAIN_S:
            self.sweep()
        if self._taken() > self._most:
            raise _no_room("the storage is full of recent results")

    def sweep_if_due(self) -> None:
        if time.monotonic() > self._swept + SWEEP_S:
            self.sweep()

    def sweep(self) -> None:
        """Remove what is too old, or too much.

        In a process of its own: looking at thousands of folders, or freeing gigabytes, would hold others up.
        """
        with self._sweeping:
            if time.monotonic() < self._swept + AGAIN_S:
                return
            with self._lock:
                writing, came = sum(hold.bytes for hold in self._writing), self._kept
            limits = [self._root, self._files.keep_days, max(0, self._most - writing) / 1e9]
            left = _swept([*map(str, limits), str(self._files.fresh_s), "outputs"])
            with self._lock:
                if left is not None:
                    self._kept += left - came  # what was completed meanwhile stays counted
                self._swept = time.monotonic()

    def _taken(self) -> int:
        with self._lock:
            return self._kept + sum(hold.bytes for hold in self._writing)

    def _theirs(self, peer: str) -> int:
        """Bytes of what a peer sends now and of its fresh results."""
        with self._lock:
            old = time.monotonic() - self._files.fresh_s
            self._fresh = {name: one for name, one in self._fresh.items() if one[0] > old}
            fresh = sum(n_bytes for _, whose, n_bytes in self._fresh.values() if whose == peer)
            return fresh + sum(hold.bytes for hold in self._writing if hold.peer == peer)


def _swept(arguments: list[str]) -> int | None:
    """Bytes of the results that a sweep has left; None where it could not be made."""
    ours, theirs = socket.socketpair()  # a pipe would hold up all green threads
    command = [sys.executable, "-m", "server.storage", *arguments]
    with ours:
        ours.settimeout(TIMEOUT_S)
        try:
            with theirs:
                process = subprocess.Popen(command, cwd=HOME, stdout=theirs.fileno())
            said = ours.recv(100)
            process.wait()
        except OSError as broken:
            log.error("old results cannot be swept: %s", broken)
            return None
    return int(said) if said else None


def _no_room(why: str) -> ClientError:
    return ClientError(
        "NO_ROOM", f"there is no room for more results: {why} (files.keep_gb); try again later"
    )
