"""Pieces of the demo recording: real spans for the speech gate, without any corpus."""

from __future__ import annotations

import numpy as np
import pytest

from stream.types import SAMPLE_RATE, Floats


@pytest.fixture(scope="session")
def pieces(demo_samples: Floats) -> list[Floats]:
    """Eight clips of speech of 1.2 to 4 s, one of silence, one shorter than a frame."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(8):
        start = round((0.3 + 2.0 * i) * SAMPLE_RATE)
        found.append(demo_samples[start : start + round(rng.uniform(1.2, 4) * SAMPLE_RATE)])
    return [*found, np.zeros(SAMPLE_RATE, np.float32), np.zeros(100, np.float32)]
