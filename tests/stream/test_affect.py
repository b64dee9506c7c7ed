"""Arousal and valence: places of labels, and means of them."""

from __future__ import annotations

import numpy as np
import pytest

from stream.affect import AROUSAL, PLACES, VALENCE, affect, affects
from stream.types import LABELS, Floats


def certain(label: str) -> Floats:
    found: Floats = np.eye(len(LABELS), dtype=np.float32)[LABELS.index(label)]
    return found


def test_every_label_has_a_place_on_the_side_that_its_name_says() -> None:
    assert set(PLACES) == set(LABELS) and np.abs([AROUSAL, VALENCE]).max() <= 1
    assert affect(certain("neutral")) == (0, 0)
    assert affect(certain("angry")).arousal > 0 > affect(certain("angry")).valence
    assert affect(certain("happy")).arousal > 0 and affect(certain("happy")).valence > 0
    assert affect(certain("sad")).arousal < 0 and affect(certain("sad")).valence < 0


def test_that_of_a_mean_is_the_mean() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(len(LABELS)), 40).astype(np.float32)
    each = [affect(row) for row in probs]
    assert affect(probs.mean(0)) == pytest.approx(np.mean(each, axis=0), abs=1e-6)
    np.testing.assert_allclose(affects(probs), each, atol=1e-6)
