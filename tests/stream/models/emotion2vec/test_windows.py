"""Numbers about live windows, without a model."""

from __future__ import annotations

import numpy as np
import pytest

from stream.models.emotion2vec.windows import WindowRule, crossfade, pack_state
from stream.types import Floats


def logits(n: int, value: float) -> Floats:
    return np.full((n, 9), value, np.float32)


def test_a_fade_goes_from_one_to_the_other() -> None:
    rule = WindowRule(hop=8, left=0, right=4)
    state = pack_state(rule, 100, logits(4, 1.0))
    assert state is not None
    assert state.shape == (rule.state_size,)
    faded = crossfade(logits(8, 0.0), 100, state)
    np.testing.assert_allclose(faded[:, 0], [0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0], atol=1e-6)
    assert crossfade(logits(2, 0.0), 100, state).shape == (2, 9)


@pytest.mark.parametrize("first", [0, 4095, 4096, 2**24 + 1, 2**35 + 12_345])
def test_a_state_knows_its_frame(first: int) -> None:
    rule = WindowRule(right=2)
    state = pack_state(rule, first, logits(2, 1.0))
    assert crossfade(logits(3, 0.0), first, state)[0, 0] > 0
    for other in (first + 1, first - 1, first + 4096, 0 if first else 7):
        assert crossfade(logits(3, 0.0), other, state)[0, 0] == 0


def test_nothing_ahead_nothing_faded() -> None:
    rule = WindowRule(right=2)
    own = logits(3, 0.0)
    assert crossfade(own, 5, pack_state(rule, 5, logits(0, 1.0))) is own
    assert crossfade(own, 5, None) is own
    assert pack_state(WindowRule(right=0), 5, logits(0, 1.0)) is None


@pytest.mark.parametrize("wrong", [{"hop": 0}, {"left": -1}, {"right": -1}])
def test_rules_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window rule"):
        WindowRule(**wrong)  # type: ignore[arg-type]
