"""Questions about any stretch of the last minutes: the mean of what was scored there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.history import N_FRAMES, ScoreHistory
from stream.types import N_LABELS

CLOSE = 2e-5  # two bytes


def probs(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).random((n, N_LABELS)).astype(np.float32)
    shares: np.ndarray = rows / rows.sum(axis=1, keepdims=True)
    return shares


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 400)), min_size=1, max_size=12),
    st.integers(0, 120_000),
    st.integers(1, 120_000),
)
def test_it_gives_the_mean_of_the_frames_that_are_held(
    pieces: list[tuple[int, int]], start: int, length: int
) -> None:
    """Beside a list that keeps everything: pieces with gaps, for longer than is held."""
    history, at = ScoreHistory(), 0
    everything: dict[int, np.ndarray] = {}
    for number, (gap, n) in enumerate(pieces):
        at += gap
        rows = probs(n, number)
        history.add(at, rows)
        everything |= {at + i: row for i, row in enumerate(rows)}
        at += n
    wanted = [row for i, row in everything.items() if max(start, at - N_FRAMES) <= i < start + length]
    found = history.stretch(start, start + length, at)
    assert found.n_scored == len(wanted)
    if wanted:
        assert found.probs is not None
        np.testing.assert_allclose(found.probs, np.mean(wanted, axis=0), atol=CLOSE)
    else:
        assert found.probs is None
    assert found.complete == (start >= at - N_FRAMES and start + length <= at)


@pytest.mark.parametrize(("final", "complete"), [(100, True), (99, False), (500, True)])
def test_it_is_complete_once_nothing_is_to_come(final: int, complete: bool) -> None:
    history = ScoreHistory()
    history.add(0, probs(50, 1))
    assert history.stretch(0, 100, final).complete is complete
