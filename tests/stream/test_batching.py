"""Which windows run together, and when: tested with plain numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.batching import BatchLimits, Plan, plan
from tests.stream.material import many

LIMITS = BatchLimits(max_batch=4, max_wait_s=0.02)


def test_nothing_waits_for_nothing() -> None:
    assert plan([], [], 100.0, LIMITS) == Plan(take=(), wait_s=None)


def test_one_window_waits_for_company_and_not_longer() -> None:
    decision = plan([10], [1.0], 1.005, LIMITS)
    assert decision.take == () and decision.wait_s is not None
    assert abs(decision.wait_s - 0.015) < 1e-9
    assert plan([10], [1.0], 1.021, LIMITS).take == (0,)


def test_a_full_batch_runs_at_once() -> None:
    assert plan([10] * 6, [1.0] * 6, 1.0, LIMITS).take == (0, 1, 2, 3)


def test_lengths_are_never_mixed_and_the_oldest_goes_first() -> None:
    assert plan([10, 20, 10, 20], [1.0, 1.001, 1.002, 1.003], 1.5, LIMITS).take == (0, 2)
    assert plan([20, 10, 20, 10], [1.0, 1.001, 1.002, 1.003], 1.5, LIMITS).take == (0, 2)


def test_a_full_batch_does_not_wait_for_older_windows_that_still_may_have_company() -> None:
    assert plan([20, 10, 10, 10, 10], [1.0] * 5, 1.01, LIMITS).take == (1, 2, 3, 4)


def test_a_rare_length_does_not_starve_behind_a_common_one() -> None:
    """Overload: every time the engine looks, a full batch of the common length is there."""
    lengths, arrivals, now = [7], [0.0], 0.0
    while 7 in lengths:
        now += 0.01
        lengths += [10] * 4
        arrivals += [now] * 4
        taken = plan(lengths, arrivals, now, LIMITS).take
        lengths = [n for i, n in enumerate(lengths) if i not in taken]
        arrivals = [at for i, at in enumerate(arrivals) if i not in taken]
        assert now < 0.05, "it has waited far longer than the limit"


@given(
    windows=st.lists(st.tuples(st.sampled_from([3, 10, 20]), st.floats(0, 0.05)), max_size=40),
    later=st.floats(0, 0.05),
    max_batch=st.integers(1, 8),
)
@many
def test_a_plan_takes_one_length_oldest_first_and_is_never_late(
    windows: list[tuple[int, float]], later: float, max_batch: int
) -> None:
    windows.sort(key=lambda window: window[1])
    lengths, arrivals = [n for n, _ in windows], [at for _, at in windows]
    now = (arrivals[-1] if arrivals else 0) + later
    limits = BatchLimits(max_batch, 0.02)
    decision = plan(lengths, arrivals, now, limits)
    if decision.take:
        (length,) = {lengths[i] for i in decision.take}
        assert list(decision.take) == [i for i, n in enumerate(lengths) if n == length][: len(decision.take)]
        assert len(decision.take) <= max_batch
        full = len(decision.take) == max_batch
        assert full or len(decision.take) == lengths.count(length), "company is not left behind"
        overdue = now - arrivals[0] >= limits.max_wait_s - 1e-9
        assert full or overdue
        assert not overdue or decision.take[0] == 0
    elif windows:
        assert decision.wait_s is not None and 0 < decision.wait_s <= limits.max_wait_s + 1e-9
        assert abs(now + decision.wait_s - (arrivals[0] + limits.max_wait_s)) < 1e-9
        assert all(lengths.count(n) < max_batch for n in lengths)
    else:
        assert decision == Plan()
