"""How near an embedding is to reference samples (`samples` reads them): cosines, as fields of a result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.types import Floats, JsonDict

MAX_S = 120  # of a recording that is a sample
DIGITS = 4


@dataclass(frozen=True, eq=False)
class Samples:
    """Embeddings by the names of their files."""

    names: tuple[str, ...]
    embeddings: Floats  # (n, size), each of length 1

    def compare(self, embedding: Floats) -> JsonDict:
        """`similarity_to_sample`: the cosine to the nearest; `similarity_to_samples`: to each by its name."""
        length = float(np.linalg.norm(embedding))
        cosines = self.embeddings @ (embedding / length) if length else np.zeros(len(self.names))
        each = [round(float(cosine), DIGITS) for cosine in np.clip(cosines, -1, 1)]
        return {
            "similarity_to_sample": max(each),
            "similarity_to_samples": dict(zip(self.names, each, strict=True)),
        }
