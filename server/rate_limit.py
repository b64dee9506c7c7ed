"""How much a client may send, and for how long at a time."""

from __future__ import annotations

import time

TURN_S = 0.002  # work for one client before the others have their turn


class TokenBucket:
    """Refills at `rate` per second up to `burst`; starts full. Time is passed in."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, amount: float, now: float) -> bool:
        """Take `amount`, or nothing when there is not as much."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True

    def wait_s(self, amount: float) -> float:
        """How long after the last `take` there will be as much."""
        return max(0.0, amount - self._tokens) / self._rate


class Turn:
    """Work for somebody who always has more: others get the processor every few milliseconds.

    Where threads are cooperative nothing else runs until this one waits, and it need never wait.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()

    def over(self) -> None:
        """To be called between two pieces of work."""
        if time.monotonic() - self._since > TURN_S:
            time.sleep(0)
            self._since = time.monotonic()
