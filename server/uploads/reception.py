"""Uploads while they come in: how many, of whom, and how slowly. Nobody holds a place for recognition meanwhile.

The clock is looked at once a second, whether anything comes or not. An upload that is too slow is broken off where
it is; one that is slow but not yet too slow gives way when there is no room for the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.config import FilesSection
from server.errors import ClientError

WATCH_S = 1.0
LAST_WORDS_S = 2.0  # for those who are told that the server stops
SLOW_S, SLOW_RATE = 20.0, 10_000.0  # after so many seconds, an upload of fewer bytes per second is given up
CROWDED_S = 5.0  # or after so many, when others find no room


@dataclass(eq=False)
class Receipt:
    """One upload that is being received."""

    peer: str
    break_off: Callable[[], None]  # ends its body, from any thread
    began: float = field(default_factory=time.monotonic)
    received: int = 0  # bytes
    refusal: ClientError | None = None  # why it has been broken off

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.began

    def is_slow(self, after_s: float) -> bool:
        return self.spent_s > after_s and self.received < self.spent_s * SLOW_RATE

    def give_up(self, why: str) -> None:
        slow = f"the upload is too slow: {self.received} bytes in {self.spent_s:.0f} s{why}"
        self.refuse(ClientError("BAD_REQUEST", slow))

    def refuse(self, why: ClientError) -> None:
        self.refusal = why
        self.break_off()


class Reception:
    """All uploads that are being received."""

    def __init__(self, files: FilesSection) -> None:
        self._files = files
        self._open: set[Receipt] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __len__(self) -> int:
        return len(self._open)

    def start(self) -> None:
        threading.Thread(target=self._watch, name="reception", daemon=True).start()

    def close(self) -> None:
        """Break off all that come in: they are told so, and nothing of them stays on the disk."""
        self._stop.set()
        with self._lock:
            coming = list(self._open)
        for one in coming:
            one.refuse(ClientError("NOT_READY", "the server is shutting down"))
        end = time.monotonic() + LAST_WORDS_S
        while self._open and time.monotonic() < end:
            time.sleep(0.02)

    @contextmanager
    def admitted(self, peer: str, break_off: Callable[[], None]) -> Iterator[Receipt]:
        """For the time in which an upload is received. Raises ClientError BUSY, BAD_REQUEST if it is too slow."""
        receipt = Receipt(peer, break_off)
        with self._lock:
            self._make_room(peer)
            self._open.add(receipt)
        try:
            yield receipt
        except ClientError:
            if receipt.refusal:
                raise receipt.refusal from None
            raise
        finally:
            with self._lock:
                self._open.discard(receipt)

    def _make_room(self, peer: str) -> None:
        theirs = [one for one in self._open if one.peer == peer]
        for held, most in (
            (theirs, self._files.max_receiving_per_peer),
            (self._open, self._files.max_receiving),
        ):
            if len(held) < most:
                continue
            slow = [one for one in held if one.is_slow(CROWDED_S)]
            if not slow:
                raise ClientError(
                    "BUSY", "the server is receiving the maximum number of files; try again in a few seconds"
                )
            slowest = min(slow, key=lambda one: one.received / one.spent_s)
            self._open.discard(slowest)
            slowest.give_up(", and others wait")

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_S):
            with self._lock:
                waiting = list(self._open)
            for one in waiting:
                if one.is_slow(SLOW_S):
                    one.give_up("")
                elif one.spent_s > self._files.receive_s:
                    one.give_up(f", and {self._files.receive_s:g} s are allowed (files.receive_s)")
