"""Who tries keys: after some that were wrong, an address is heard again ever so often only."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from ipaddress import IPv6Address

from server.errors import ClientError
from server.peer import address_of
from server.rate_limit import TokenBucket

BURST = 10  # wrong keys of one address, after a quiet time
PER_S = 0.2  # in the long run
ADDRESSES = 4096  # remembered; the one that was quiet for longest is forgotten first


class Guesses:
    """May be used from any thread."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, peer: str) -> None:
        """One more. Raises ClientError RATE_LIMITED for an address that has been wrong too often."""
        now = time.monotonic()
        with self._lock:
            bucket = self._buckets.setdefault(_whole(peer), TokenBucket(PER_S, BURST, now))
            self._buckets.move_to_end(_whole(peer))
            if len(self._buckets) > ADDRESSES:
                self._buckets.popitem(last=False)
            if bucket.take(1, now):
                return
            wait_s = math.ceil(bucket.wait_s(1))
        raise ClientError(
            "RATE_LIMITED",
            "too many wrong keys came from this address; try again later",
            retry_after_s=max(1, wait_s),
        )

    def right(self, peer: str) -> None:
        """The last one was."""
        with self._lock:
            if (bucket := self._buckets.get(_whole(peer))) is not None:
                bucket.take(-1, time.monotonic())


def _whole(peer: str) -> str:
    """The address, or the network that one subscriber has of IPv6."""
    address = address_of(peer)
    return peer if not isinstance(address, IPv6Address) else str(int(address) >> 64)
