"""Which recordings sound alike: the cosine of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream.types import Floats
from tools.folder import Record, Vectors
from tools.output import table


@dataclass(frozen=True, eq=False)
class Match:
    record: Record
    cosine: float


def nearest(query: Floats, among: Vectors, n: int, centre: bool = False) -> list[Match]:
    """The `n` records whose embeddings point most nearly where `query` (size,) does.

    All embeddings of a model share a large part, so that anything is 0.9 like anything. `centre` takes away the
    mean of `among` first, and compares what differs. Raises ValueError for embeddings that cannot be compared.
    """
    if query.shape != among.rows.shape[1:]:
        raise ValueError(
            f"The query has {len(query)} numbers, the embeddings of {among.model} {among.rows.shape[1]}:"
            " they come from different models"
        )
    rows, wanted = among.rows.astype(np.float64), query.astype(np.float64)
    if centre:
        if len(rows) < 3:
            raise ValueError("--centre needs three recordings or more: their mean is what is taken away")
        mean = rows.mean(axis=0)
        rows, wanted = rows - mean, wanted - mean
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    cosines = np.divide(rows @ wanted, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    order = np.lexsort((np.arange(len(rows)), -np.round(cosines, 9)))
    return [Match(among.records[i], float(cosines[i])) for i in order[:n]]


def csv(matches: Sequence[Match]) -> str:
    rows = [
        [
            rank,
            m.record.name,
            f"{m.cosine:.6f}",
            m.record.emotion,
            f"{m.record.confidence:.6f}",
            m.record.duration_s,
        ]
        for rank, m in enumerate(matches, 1)
    ]
    return table(["rank", "name", "cosine", "emotion", "confidence", "duration_s"], rows)
