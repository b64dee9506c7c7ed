"""The token bucket: never more than the burst and the time allow, and never less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.rate_limit import TokenBucket

takes = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 5)), max_size=60)  # (seconds later, amount)


def test_it_starts_full_and_refills_with_time() -> None:
    bucket = TokenBucket(rate=2, burst=10, now=100)
    assert bucket.take(10, 100)
    assert not bucket.take(0.1, 100)
    assert not bucket.take(2.1, 101) and bucket.take(2, 101)
    assert bucket.take(10, 200) and not bucket.take(0.1, 200), "it holds a burst, however long it waits"


def test_what_is_refused_takes_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=5, now=0)
    for _ in range(100):
        assert not bucket.take(6, 0)
    assert bucket.take(5, 0)


@given(takes, st.floats(0.1, 5), st.floats(0.1, 10))
def test_no_more_than_burst_and_rate_allow(
    steps: list[tuple[float, float]], rate: float, burst: float
) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0), 0.0, 0.0
    for later, amount in steps:
        now += later
        taken += amount if bucket.take(amount, now) else 0
        assert taken <= burst + rate * now + 1e-6


@given(st.integers(1, 40), st.floats(0.1, 10))
def test_a_steady_taker_at_the_rate_is_never_refused(n: int, rate: float) -> None:
    bucket = TokenBucket(rate, burst=2 * rate, now=0)
    assert all(bucket.take(rate * 0.1, 0.1 * i) for i in range(1, n))


@given(takes, st.floats(0.1, 5), st.floats(0.1, 10))
def test_a_refusal_is_right(steps: list[tuple[float, float]], rate: float, burst: float) -> None:
    """Refused only when the same arithmetic, done plainly, does not have as much."""
    bucket, now, left = TokenBucket(rate, burst, 0), 0.0, burst
    for later, amount in steps:
        now, left = now + later, min(burst, left + later * rate)
        taken = bucket.take(amount, now)
        if abs(amount - left) > 1e-6:
            assert taken == (amount < left)
        left -= amount if taken else 0
