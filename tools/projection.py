"""Embeddings → the few directions in which they differ most, in one pass after the other over blocks of them.

Each is taken as a direction, without the mean of all: the same likeness as `similar --center`. Then principal
components, from their covariance: a matrix of any length takes the memory of a block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.types import Floats
from tools.vectors import blocks

Numbers = npt.NDArray[np.float64]


def principal(rows: Floats, size: int) -> Floats:
    """Rows (n, numbers) → float32 (n, `size`), the widest first; the same rows always give the same."""
    mean = np.zeros(rows.shape[1])
    for _, block in blocks(rows):
        mean += block.sum(axis=0, dtype=np.float64)
    mean /= len(rows)
    total, products = np.zeros(len(mean)), np.zeros((len(mean), len(mean)))
    for _, block in blocks(rows):
        spread = _directions(block, mean)
        total += spread.sum(axis=0)
        products += spread.T @ spread
    middle = total / len(rows)
    _, axes = np.linalg.eigh(products / len(rows) - np.outer(middle, middle))
    axes = axes[:, ::-1][:, :size]
    axes *= np.where(
        axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1
    )  # either would do
    found = np.empty((len(rows), axes.shape[1]), np.float32)
    for start, block in blocks(rows):
        found[start : start + len(block)] = (_directions(block, mean) - middle) @ axes
    return found


def _directions(block: Floats, mean: Numbers) -> Numbers:
    spread = block - mean
    lengths = np.linalg.norm(spread, axis=1, keepdims=True)
    return np.asarray(np.divide(spread, lengths, out=np.zeros_like(spread), where=lengths > 0))
