"""Logits to probabilities, frames to a state, frames to a verdict."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream.smoothing import Smoother
from stream.types import (
    FRAME,
    HOP,
    IMPOSSIBLE,
    LABELS,
    LABELS_ZH,
    N_LABELS,
    FrameScores,
    frames_in,
    samples_for,
    softmax,
)
from stream.utterance import Utterance
from tests.stream.material import some

rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.just(N_LABELS)),
    elements=st.floats(-80, 80, width=32),
)


@given(rows, st.sets(st.integers(0, N_LABELS - 1), max_size=N_LABELS - 1))
@some
def test_softmax_rows_sum_to_one_and_the_impossible_is_exactly_zero(
    logits: np.ndarray, out: set[int]
) -> None:
    logits = logits.copy()
    logits[:, list(out)] = IMPOSSIBLE
    probs = softmax(logits)
    assert probs.dtype == np.float32 and probs.shape == logits.shape
    assert (probs[:, list(out)] == 0).all()
    assert np.allclose(probs.sum(axis=1), 1, atol=1e-6)
    possible = [i for i in range(N_LABELS) if i not in out]
    exact = np.exp(logits[:, possible].astype(np.float64) - logits[:, possible].max(axis=1, keepdims=True))
    assert np.allclose(probs[:, possible], exact / exact.sum(axis=1, keepdims=True), atol=1e-6)


def test_softmax_of_anything_finite_is_finite() -> None:
    for extreme in (np.finfo(np.float32).max / 4, 1e4, -1e4, -1e30):
        row = np.full((1, N_LABELS), extreme, np.float32)
        assert np.allclose(softmax(row), 1 / N_LABELS)
        row[0, 0] = -row[0, 0]
        assert softmax(row).sum() == pytest.approx(1)


@given(rows, st.lists(st.integers(0, 30), max_size=6), st.floats(0, 500))
@some
def test_the_smoothed_state_does_not_depend_on_how_frames_are_grouped(
    logits: np.ndarray, cuts: list[int], time_constant: float
) -> None:
    probs = softmax(logits)
    weights = np.linspace(0.1, 3, len(probs)).astype(np.float32)
    whole = Smoother(time_constant).update(probs, weights)
    grouped = Smoother(time_constant)
    places = [0, *sorted(min(cut, len(probs)) for cut in cuts), len(probs)]
    for a, b in itertools.pairwise(places):
        if a < b:
            state = grouped.update(probs[a:b], weights[a:b])
    assert np.allclose(state, whole, atol=1e-5)
    assert whole.sum() == pytest.approx(1, abs=1e-5)


def test_the_smoothed_state_is_the_exponential_average_it_says_it_is() -> None:
    rng = np.random.default_rng(3)
    probs, weights = rng.dirichlet(np.ones(N_LABELS), 40).astype(np.float32), rng.uniform(0.1, 2, 40)
    state = Smoother(12.0).update(probs, weights.astype(np.float32))
    shares = weights * np.exp(-np.arange(39, -1, -1) / 12)
    assert np.allclose(state, shares @ probs / shares.sum(), atol=1e-6)


def test_the_first_state_is_the_first_frame_and_without_a_time_constant_always_the_last() -> None:
    a, b = np.eye(N_LABELS, dtype=np.float32)[:2]
    one = np.ones(1, np.float32)
    assert np.array_equal(Smoother(50).update(a[None], one), a)
    quick = Smoother(0)
    quick.update(a[None], one)
    assert np.array_equal(quick.update(b[None], one), b)


def test_a_state_half_forgets_in_its_half_life() -> None:
    a, b = np.eye(N_LABELS, dtype=np.float32)[:2]
    smoother = Smoother(50)
    smoother.update(np.tile(a, (5000, 1)), np.ones(5000, np.float32))
    n = round(50 * np.log(2))
    state = smoother.update(np.tile(b, (n, 1)), np.ones(n, np.float32))
    assert state[0] == pytest.approx(0.5, abs=0.01) and state[1] == pytest.approx(0.5, abs=0.01)


def test_a_pause_fades_what_came_before_as_frames_would() -> None:
    a, b = np.eye(N_LABELS, dtype=np.float32)[:2]
    smoother, one = Smoother(50), np.ones(1, np.float32)
    smoother.update(a[None], one)
    smoother.rest(round(50 * np.log(2)) - 1)
    state = smoother.update(b[None], one)
    assert state[0] == pytest.approx(1 / 3, abs=0.01) and state[1] == pytest.approx(2 / 3, abs=0.01)
    for ever in (0, 10**9):
        smoother.rest(ever)
        assert smoother.update(b[None], one).sum() == pytest.approx(1)


@given(rows, st.integers(0, 30))
@some
def test_a_verdict_does_not_depend_on_how_frames_are_grouped(logits: np.ndarray, cut: int) -> None:
    weights = np.linspace(0.1, 3, len(logits)).astype(np.float32)
    whole, halves = Utterance(), Utterance()
    whole.add(FrameScores(logits, weights, None))
    for part in (slice(0, cut), slice(cut, None)):
        halves.add(FrameScores(logits[part], weights[part], None))
    assert whole.n_frames == halves.n_frames == len(logits)
    assert np.allclose(whole.probs(), halves.probs(), atol=1e-5)
    mean = (weights[:, None].astype(np.float64) * logits).sum(axis=0) / weights.sum(dtype=np.float64)
    assert np.allclose(whole.probs(), softmax(mean.astype(np.float32)), atol=1e-5)


def test_a_gain_makes_a_verdict_surer_than_its_frames() -> None:
    logits = np.zeros((3, N_LABELS), np.float32)
    logits[:, 2] = 1.0
    plain, gained = Utterance(), Utterance()
    plain.add(FrameScores(logits, np.ones(3, np.float32), None))
    gained.add(FrameScores(logits, np.ones(3, np.float32), None, gain=2.0))
    assert np.allclose(plain.probs(), softmax(logits[0]), atol=1e-6)
    assert np.allclose(gained.probs(), softmax(2 * logits[0]), atol=1e-6)


def test_a_verdict_needs_frames() -> None:
    with pytest.raises(ValueError, match="without scored frames"):
        Utterance().probs()


@given(st.integers(0, 100_000))
def test_frames_and_samples_are_counted_alike(n: int) -> None:
    frames = frames_in(n)
    assert samples_for(frames) <= n
    assert samples_for(frames + 1) > n
    assert frames == len(range(0, n - FRAME + 1, HOP))


def test_the_nine_labels_stand_in_their_order() -> None:
    assert " ".join(LABELS) == "angry disgusted fearful happy neutral other sad surprised unknown"
    assert " ".join(LABELS_ZH) == "生气 厌恶 恐惧 开心 中立 其他 难过 吃惊 未知"


def test_what_was_said_before_a_pause_weighs_less_after_it() -> None:
    a, b = np.eye(9, dtype=np.float32)[:2]
    states = []
    for pause in (0, 50, 500):
        smoother = Smoother(50)
        smoother.update(np.tile(a, (5000, 1)), np.ones(5000, np.float32))
        smoother.rest(pause)
        states.append(float(smoother.update(b[None], np.ones(1, np.float32))[0]))
    assert states[0] > 0.97
    assert np.diff(states).max() < 0, "the longer the pause, the less"
    assert states[2] < 0.01
