"""Which replica takes a window: batches are given away whole, and the least busy takes the next one."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from server.engine.spread import Spread
from stream.batching import BatchLimits
from tests.server.engine.material import window

WAIT_S = 0.04
LIVE, FILE = window(0), window(1, background=True)


def spread(max_batch: int = 8) -> Spread:
    return Spread(BatchLimits(max_batch, WAIT_S))


def test_those_who_come_within_the_wait_go_together_however_much_is_outstanding() -> None:
    rule = spread()
    chosen = [rule.choose(LIVE, {0: 1000 * i, 1: 0}, 0.009 * i) for i in range(5)]
    assert chosen == [0] * 5, "the first of them chose"
    assert rule.choose(LIVE, {0: 5000, 1: 0}, 0.0401) == 1, "the next batch goes to the least busy"
    assert rule.choose(LIVE, {0: 0, 1: 9000}, 0.08) == 1, "and so does who comes while it is filled"


def test_a_full_batch_is_followed_by_one_for_the_least_busy() -> None:
    rule, outstanding, chosen = spread(), {0: 0, 1: 0, 2: 0}, []
    for _ in range(24):
        chosen.append(rule.choose(LIVE, outstanding, 0.0))
        outstanding[chosen[-1]] += 1
    assert chosen == [0] * 8 + [1] * 8 + [2] * 8


def test_a_replica_that_is_not_there_any_more_takes_nothing() -> None:
    rule = spread()
    assert rule.choose(LIVE, {0: 0, 1: 0}, 0.0) == 0
    assert rule.choose(LIVE, {1: 10**6, 2: 10**7}, 0.001) == 1


def test_files_go_where_there_is_the_least_to_do_and_break_up_nobodys_batch() -> None:
    rule = spread()
    assert rule.choose(LIVE, {0: 0, 1: 5}, 0.0) == 0
    assert rule.choose(FILE, {0: 100, 1: 5}, 0.001) == 1
    assert rule.choose(LIVE, {0: 100, 1: 5}, 0.002) == 0
    assert rule.choose(FILE, {0: 100, 1: 105}, 0.003) == 0


@given(
    st.lists(st.tuples(st.floats(0, 0.03), st.booleans()), max_size=200),
    st.integers(1, 5),
    st.integers(1, 32),
)
def test_no_more_batches_than_one_replica_would_make(
    arrivals: list[tuple[float, bool]], n: int, max_batch: int
) -> None:
    """`arrivals`: how long after the one before, and whether a replica has got everything done by then."""

    def batches(n: int) -> int:
        rule, now = Spread(BatchLimits(max_batch, WAIT_S)), 0.0
        outstanding: Counter[int] = Counter(dict.fromkeys(range(n), 0))
        runs, began, left, last = 0, -1.0, 0, -1
        for after, done in arrivals:
            now += after
            if done:
                outstanding = Counter(dict.fromkeys(range(n), 0))
            chosen = rule.choose(LIVE, outstanding, now)
            outstanding[chosen] += 1
            if chosen != last or now >= began + WAIT_S or not left:
                runs, began, left, last = runs + 1, now, max_batch, chosen
            left -= 1
        return runs

    assert batches(n) == batches(1)
