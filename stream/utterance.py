"""Frames of one span → one verdict: the softmax of the weighted mean of their logits, times the model's gain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.types import N_LABELS, Floats, FrameScores, softmax


class Utterance:
    """Gathers the frames of a span, or of a whole file."""

    def __init__(self) -> None:
        self._sum = np.zeros(N_LABELS)
        self._weight = 0.0
        self._embedding_sum: npt.NDArray[np.float64] | None = None
        self._embedding_weight = 0.0
        self.n_frames = 0

    def add(self, scores: FrameScores) -> None:
        """Count in the scores of further frames."""
        self._sum += scores.gain * (scores.weights.astype(np.float64) @ scores.logits)
        weight = float(scores.weights.sum(dtype=np.float64))
        self._weight += weight
        if scores.embedding is not None:
            part = weight * scores.embedding.astype(np.float64)
            self._embedding_sum = part if self._embedding_sum is None else self._embedding_sum + part
            self._embedding_weight += weight
        self.n_frames += len(scores.logits)

    def probs(self) -> Floats:
        """Probabilities (N_LABELS,). Raises ValueError when no frame was scored."""
        if not self.n_frames:
            raise ValueError("an utterance without scored frames has no emotion")
        return softmax((self._sum / self._weight).astype(np.float32))

    @property
    def embedding(self) -> Floats | None:
        """The weighted mean of the frames' features, float32 (embedding_size,); None where none were asked for."""
        if self._embedding_sum is None:
            return None
        return (self._embedding_sum / self._embedding_weight).astype(np.float32)
