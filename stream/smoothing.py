"""The current state shown to a person: frames' probabilities, smoothed over time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stream.types import N_LABELS, Floats


@lru_cache(maxsize=256)
def _shares(decay: float, n: int) -> npt.NDArray[np.float64]:
    """(n,): what each of `n` frames has in the state after the last of them, where all weigh the same."""
    return (1 - decay) * np.power(decay, np.arange(n - 1, -1, -1, dtype=np.float64))


class Smoother:
    """Exponential average over frames, weighted as the model weighs them; time constant in frames."""

    def __init__(self, time_constant: float) -> None:
        self._decay = float(np.exp(-1 / max(time_constant, 1e-6)))
        self._sum = np.zeros(N_LABELS)

    def rest(self, n_frames: int) -> None:
        """Let time pass without scores: what was said before a pause weighs less after it."""
        self._sum *= self._decay**n_frames

    def update(self, probs: Floats, weights: Floats) -> Floats:
        """Take in frames (n, N_LABELS) and weights (n,); the state (N_LABELS,) after the last of them."""
        n = len(probs)
        share = _shares(self._decay, n) * weights
        kept = self._decay**n
        self._sum = kept * self._sum + share @ probs
        state: Floats = (self._sum / self._sum.sum()).astype(np.float32)
        return state
