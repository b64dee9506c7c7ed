"""A line in the log for each stranger who is refused, with the address; of a flood, some and how many more."""

from __future__ import annotations

import logging
import threading
import time

from server.rate_limit import TokenBucket

PER_S = 0.5  # lines, in the long run
BURST = 20  # lines at once, after a quiet time


class Refusals:
    """What is told of those who were refused. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bucket = TokenBucket(PER_S, BURST, time.monotonic())
        self._left_out = 0

    def tell(self, log: logging.Logger, message: str, peer: str, **fields: object) -> None:
        """A line at WARNING, or one more of those that are left out."""
        with self._lock:
            if self._left_out or not self._bucket.take(1, time.monotonic()):
                self._left_out += 1
                return
        log.warning(message, extra={"peer": peer, **fields})

    def reap(self) -> None:
        """Say how many were left out, when there is room for a line again. To be called about once a second."""
        with self._lock:
            if not self._left_out or not self._bucket.take(1, time.monotonic()):
                return
            left_out, self._left_out = self._left_out, 0
        logging.getLogger("http").warning("more were refused", extra={"left_out": left_out})
