"""How much a client may send: a token bucket, time passed in."""

from __future__ import annotations


class TokenBucket:
    """Refills at `rate` per second up to `burst`; starts full."""

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
