"""Which windows run together, and when: tested with plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.batching import BatchLimits, BatchPlan, Kind
from stream.batching import plan as plan_kinds
from stream.types import RecordingWindow, Window, samples_for
from tests.stream.material import many

LIMITS = BatchLimits(max_batch=4, max_wait_s=0.02)


def plan(lengths: Sequence[int], arrivals: Sequence[float], now: float, limits: BatchLimits) -> BatchPlan:
    """For windows that differ in how many frames they score; negative lengths are background windows."""
    kinds = [Kind(abs(length), background=length < 0) for length in lengths]
    return plan_kinds(kinds, arrivals, now, limits)


def test_nothing_waits_for_nothing() -> None:
    assert plan([], [], 100.0, LIMITS) == BatchPlan(take=(), wait_s=None)


def test_one_window_waits_for_batch_mates_and_not_longer() -> None:
    decision = plan([10], [1.0], 1.005, LIMITS)
    assert decision.take == () and decision.wait_s is not None
    assert abs(decision.wait_s - 0.015) < 1e-9
    assert plan([10], [1.0], 1.021, LIMITS).take == (0,)


def test_a_full_batch_runs_at_once() -> None:
    assert plan([10] * 6, [1.0] * 6, 1.0, LIMITS).take == (0, 1, 2, 3)


def test_lengths_are_never_mixed_and_the_oldest_goes_first() -> None:
    assert plan([10, 20, 10, 20], [1.0, 1.001, 1.002, 1.003], 1.5, LIMITS).take == (0, 2)
    assert plan([20, 10, 20, 10], [1.0, 1.001, 1.002, 1.003], 1.5, LIMITS).take == (0, 2)


def test_a_full_batch_does_not_wait_for_older_windows_that_still_may_have_batch_mates() -> None:
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
        assert full or len(decision.take) == lengths.count(length), "batch mates are not left behind"
        overdue = now - arrivals[0] >= limits.max_wait_s - 1e-9
        assert full or overdue
        assert not overdue or decision.take[0] == 0
    elif windows:
        assert decision.wait_s is not None and 0 < decision.wait_s <= limits.max_wait_s + 1e-9
        assert abs(now + decision.wait_s - (arrivals[0] + limits.max_wait_s)) < 1e-9
        assert all(lengths.count(n) < max_batch for n in lengths)
    else:
        assert decision == BatchPlan()


def test_a_background_window_waits_for_no_batch_mates() -> None:
    assert plan([-10, -10], [1.0, 1.0], 1.0, LIMITS).take == (0,)
    assert plan([-10, -10, -20, -10], [1.0] * 4, 1.0, replace(LIMITS, max_background=2)).take == (0, 1)


def test_background_windows_run_in_turn() -> None:
    assert plan([-20, -10, -20], [1.0, 1.1, 1.2], 9.0, LIMITS).take == (0,)
    assert plan([-10, -20, -20], [1.1, 1.2, 1.3], 9.0, replace(LIMITS, max_background=8)).take == (0,)


def test_live_windows_that_are_due_go_first() -> None:
    assert plan([-10, 10, -10], [1.0, 2.0, 2.0], 2.021, LIMITS).take == (1,)
    assert plan([-10] + [10] * 5, [1.0] + [2.0] * 5, 2.0, LIMITS).take == (1, 2, 3, 4)


def test_while_live_windows_wait_for_batch_mates_a_background_window_may_run() -> None:
    assert plan([10, -10], [2.0, 1.0], 2.0, LIMITS).take == (1,)


def test_where_none_may_run_a_background_window_is_not_waited_for() -> None:
    nothing = replace(LIMITS, max_background=0)
    assert plan([-10], [1.0], 9.0, nothing) == BatchPlan()
    decision = plan([-10, 10], [1.0, 2.0], 2.0, nothing)
    assert decision.take == () and decision.wait_s == pytest.approx(0.02)


@pytest.mark.parametrize("max_background", [1, 4])
def test_a_due_live_window_waits_for_one_background_run_at_most(max_background: int) -> None:
    """Files all the time, each run longer than live windows may wait for batch mates."""
    limits, run_s = replace(LIMITS, max_background=max_background), 0.05
    rng = np.random.default_rng(0)
    coming = sorted(rng.uniform(0, 5, 60).tolist())
    waiting: list[tuple[int, float]] = []
    now, live_run_s, worst, done = 0.0, 0.005, 0.0, 0
    while done < 60:
        while coming and coming[0] <= now:
            waiting.append((10, coming.pop(0)))
        while sum(length < 0 for length, _ in waiting) < 6:
            waiting.append((-10, now))
        decision = plan([n for n, _ in waiting], [at for _, at in waiting], now, limits)
        taken = [waiting[i] for i in decision.take]
        waiting = [w for i, w in enumerate(waiting) if i not in decision.take]
        live = [at for length, at in taken if length > 0]
        assert taken and len(live) in (0, len(taken))
        worst = max([worst, *(now - at for at in live)])
        done += len(live)
        now += live_run_s if live else run_s
    assert worst <= limits.max_wait_s + run_s + live_run_s


def test_files_get_what_live_windows_leave() -> None:
    """Live windows take 60 % of the time, never all at once: files get on meanwhile, and starve only when there is
    nothing left."""
    for share, files_run in ((0.6, True), (1.05, False)):
        waiting: list[tuple[int, float]] = [(-10, 0.0)]
        now = due = 0.0
        runs = 0
        while now < 3:
            while due <= now:
                waiting.append((10, due))
                due += 0.03
            decision = plan(
                [n for n, _ in waiting], [at for _, at in waiting], now, replace(LIMITS, max_batch=1)
            )
            if not decision.take:
                now += decision.wait_s or 0.01
                continue
            (index,) = decision.take
            length, _ = waiting.pop(index)
            now += 0.03 * share if length > 0 else 0.01
            if length < 0:
                runs += 1
                waiting.append((-10, now))
        assert (runs > 50) if files_run else runs <= 1


@pytest.mark.parametrize(
    "other",
    [
        {"n_frames": 9},
        {"left_frames": 1},
        {"samples": np.zeros(401, np.float32)},
        {"embed": True},
        {"background": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_windows_that_a_model_cannot_score_together_are_of_another_kind(other: dict) -> None:
    window = Window("a", 0, 10, True, np.zeros(400, np.float32), None)
    assert Kind.of(replace(window, **other)) != Kind.of(window)
    assert Kind.of(RecordingWindow("a", 0, 10, True, np.zeros(400, np.float32), None)) != Kind.of(window)
    alike = replace(window, session_id="b", first_frame=7, starts_span=False, state=np.ones(3, np.float32))
    assert Kind.of(alike) == Kind.of(window)


def test_lengths_are_mixed_up_to_where_the_model_allows() -> None:
    windows = [Window("a", 0, n, True, np.zeros(samples_for(n), np.float32), None) for n in (3, 10, 11)]
    assert len({Kind.of(window) for window in windows}) == 3
    short, full, long = (Kind.of(window, mixed_frames=10) for window in windows)
    assert short == full != long
    assert Kind.of(replace(windows[0], embed=True), mixed_frames=10) != full
