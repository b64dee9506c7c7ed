"""CUDA graphs: one launch for a whole forward pass, for shapes that come again and again.

Off unless `Options.cuda_graphs` asks for it: written for GPUs, and NOT yet run on one (see docs/emotion2vec.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CAPTURE_AFTER = 3  # a shape is captured when it comes for this many times
MAX_GRAPHS = 8  # graphs hold memory of their own


class Graphs:
    """Wraps `forward`: samples (batch, n) on a GPU, and the first frame → logits. Captured shapes are
    replayed, others run as they are."""

    def __init__(self, forward: Callable[[Tensor, int], Tensor]) -> None:
        self._forward = forward
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._graphs: dict[tuple[int, ...], tuple[Any, Tensor, Tensor]] = {}

    def __call__(self, samples: Tensor, since: int) -> Tensor:
        shape = (*samples.shape, since)
        if shape not in self._graphs:
            self._seen[shape] += 1
            if self._seen[shape] < CAPTURE_AFTER or len(self._graphs) >= MAX_GRAPHS:
                return self._forward(samples, since)
            fixed = samples.clone()
            torch.cuda.synchronize(samples.device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = self._forward(fixed, since)
            self._graphs[shape] = (graph, fixed, out)
        graph, fixed, out = self._graphs[shape]
        fixed.copy_(samples)
        graph.replay()
        return out.clone()
