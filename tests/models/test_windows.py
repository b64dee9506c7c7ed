"""Numbers about windows, without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.models.emotion2vec.windows import STEP, WindowRule, fade, pieces, remember
from stream.types import FRAME, SAMPLE_RATE, Floats


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 60_000), st.lists(st.integers(0, 40_000), max_size=6), st.sampled_from([0.5, 1.0, 1.51])
)
def test_pieces_take_each_frame_once(n: int, cuts: list[int], longest_s: float) -> None:
    x = np.arange(n, dtype=np.float32)
    blocks = np.split(x, sorted(min(cut, n) for cut in cuts))
    context = round(0.1 * SAMPLE_RATE) // STEP
    next_frame = 0
    for piece in pieces(blocks, longest_s, context_s=0.1):
        frames = (len(piece.samples) - FRAME) // STEP + 1
        start = next_frame - piece.skip
        assert len(piece.samples) <= longest_s * SAMPLE_RATE
        np.testing.assert_array_equal(piece.samples, x[start * STEP :][: len(piece.samples)])
        assert piece.skip == min(next_frame, context)
        after = frames - piece.skip - piece.take
        next_frame += piece.take
        total = max(0, (n - FRAME) // STEP + 1)
        assert after >= 0
        assert after == context or next_frame == total or after == total - next_frame
    assert next_frame == max(0, (n - FRAME) // STEP + 1)


@pytest.mark.parametrize("n", [400, 8000, SAMPLE_RATE])
def test_what_fits_is_one_piece(n: int) -> None:
    x = np.ones(n, np.float32)
    (piece,) = pieces(np.array_split(x, 5), 1.0, 0.1)
    assert (len(piece.samples), piece.skip, piece.take) == (n, 0, (n - FRAME) // STEP + 1)


def test_windows_that_leave_nothing() -> None:
    with pytest.raises(ValueError, match="leave nothing"):
        list(pieces([], 2.0, 1.0))


def logits(n: int, value: float) -> Floats:
    return np.full((n, 9), value, np.float32)


def test_a_fade_goes_from_one_to_the_other() -> None:
    rule = WindowRule(hop=8, left=0, right=4)
    state = remember(rule, 100, logits(4, 1.0))
    assert state is not None
    assert state.shape == (rule.state_size,)
    faded = fade(logits(8, 0.0), 100, state)
    np.testing.assert_allclose(faded[:, 0], [0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0], atol=1e-6)
    assert fade(logits(2, 0.0), 100, state).shape == (2, 9)


@pytest.mark.parametrize("first", [0, 4095, 4096, 2**24 + 1, 2**35 + 12_345])
def test_a_state_knows_its_frame(first: int) -> None:
    rule = WindowRule(right=2)
    state = remember(rule, first, logits(2, 1.0))
    assert fade(logits(3, 0.0), first, state)[0, 0] > 0
    for other in (first + 1, first - 1, first + 4096, 0 if first else 7):
        assert fade(logits(3, 0.0), other, state)[0, 0] == 0


def test_nothing_ahead_nothing_faded() -> None:
    rule = WindowRule(right=2)
    own = logits(3, 0.0)
    assert fade(own, 5, remember(rule, 5, logits(0, 1.0))) is own
    assert fade(own, 5, None) is own
    assert remember(WindowRule(right=0), 5, logits(0, 1.0)) is None


@pytest.mark.parametrize("wrong", [{"hop": 0}, {"left": -1}, {"right": -1}])
def test_rules_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window rule"):
        WindowRule(**wrong)  # type: ignore[arg-type]
