"""Lines on their way to standard error or output: put here at once, written by a thread of their own.

A pipe that nobody reads, or a disk that hangs, stops whoever writes to it. Here that is a thread of the operating
system that does nothing else. What waits for it is bounded; what comes on top is dropped, counted, and told of
when there is room again. A reader that is gone for good (a closed terminal, a broken pipe) ends nothing.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time

# The queue in C: under eventlet, `queue.SimpleQueue` is another one, on which no foreign thread can wait.
from _queue import Empty, SimpleQueue
from collections.abc import Callable

ROOM = 1 << 20  # bytes that may wait: some thousand lines
RETRY_S = 0.05

Spawn = Callable[[Callable[[], None]], None]


def spawn(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="log", daemon=True).start()


class LineWriter:
    """Writes to the descriptors that it is told. `put` may be called from any thread.

    `spawn` starts a thread of the operating system; `notice` gives the line that tells how many were dropped, and
    `notice_fd` where it goes.
    """

    def __init__(
        self,
        notice: Callable[[int], bytes],
        notice_fd: int = 2,
        spawn: Spawn = spawn,
        room: int = ROOM,
    ) -> None:
        self._notice, self._notice_fd, self._room = notice, notice_fd, room
        self._queue: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
        self._files: dict[int, io.FileIO] = {}
        self._lock = threading.Lock()
        # Each of these is changed on one side only: they need no lock that both would wait for.
        self._put = self._refused = 0  # bytes, lines
        self._written = self._failed = self._told = 0  # bytes, lines, lines
        spawn(self._run)

    @property
    def dropped(self) -> int:
        """Lines that nobody will read."""
        return self._refused + self._failed

    def put(self, line: bytes, fd: int = 2) -> None:
        """Returns at once, whatever becomes of `line`."""
        with self._lock:
            if self._put - self._written + len(line) > self._room:
                self._refused += 1
                return
            self._put += len(line)
            self._queue.put((fd, line))

    def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until all has been written, so long at most."""
        end = time.monotonic() + timeout_s
        while self._written < self._put and time.monotonic() < end:
            time.sleep(0.005)

    def _run(self) -> None:
        while True:
            fd, line = self._queue.get()
            if not self._write(fd, line):
                self._failed += 1
            self._written += len(line)
            missing = self._refused - self._told
            if missing and self._put - self._written <= self._room // 2:
                self._told += missing
                self._write(self._notice_fd, self._notice(missing))

    def _write(self, fd: int, data: bytes) -> bool:
        left = memoryview(data)
        try:
            # Not os.write, which eventlet replaces.
            file = self._files.get(fd) or self._files.setdefault(fd, io.FileIO(fd, "wb", closefd=False))
            while left:
                n = file.write(left)
                if n is None:  # somebody has made the pipe non-blocking, and it is full
                    with contextlib.suppress(Empty):
                        SimpleQueue[None]().get(timeout=RETRY_S)
                else:
                    left = left[n:]
        except OSError:
            return False
        return True
