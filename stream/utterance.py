"""Frames of one span → one verdict: the softmax of the weighted mean of the frames' logits."""

from __future__ import annotations

import numpy as np

from stream.types import N_LABELS, Floats, FrameScores, softmax


class Utterance:
    """Gathers the frames of a span, or of a whole file."""

    def __init__(self) -> None:
        self._sum = np.zeros(N_LABELS)
        self._weight = 0.0
        self.n_frames = 0

    def add(self, scores: FrameScores) -> None:
        self._sum += scores.weights.astype(np.float64) @ scores.logits
        self._weight += float(scores.weights.sum(dtype=np.float64))
        self.n_frames += len(scores.logits)

    def probs(self) -> Floats:
        """Probabilities (N_LABELS,). Raises ValueError when no frame was scored."""
        if not self.n_frames:
            raise ValueError("an utterance without scored frames has no emotion")
        return softmax((self._sum / self._weight).astype(np.float32))
