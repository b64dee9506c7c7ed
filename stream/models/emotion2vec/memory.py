"""Out of memory: half the batch, then the CPU. Announced in the log and in counters, never to a client."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from stream.types import Floats

log = logging.getLogger("model")
GROW_AFTER = 200  # batches without trouble after which a halved limit is doubled again

# A batch, and what holds for all of it → arrays with one row per row of the batch.
Run = Callable[[Floats, Any], tuple[Floats, ...]]


class OomBackoff:
    """Runs batches through `run`, in parts where memory is short; what does not fit alone goes to `fallback`.

    `counts`: `halved` and `cpu`, how often each happened.
    """

    def __init__(
        self, run: Run, fallback: Run | None = None, free: Callable[[], None] = lambda: None
    ) -> None:
        self._run, self._fallback, self._free = run, fallback, free
        self._limit: int | None = None
        self._quiet = 0
        self.counts: Counter[str] = Counter()

    def __call__(self, batch: Floats, job: Any = None) -> tuple[Floats, ...]:
        """batch (n, …) → arrays (n, …); `job` is handed on. Raises what `run` raises when even one row does not
        fit and nobody stands in."""
        done: list[tuple[Floats, ...]] = []
        at = 0
        while at < len(batch):
            size = min(self._limit or len(batch), len(batch) - at)
            part = batch[at : at + size]
            try:
                done.append(self._run(part, job))
                self._recover()
            except Exception as broken:
                if not out_of_memory(broken):
                    raise
                self._free()
                if size > 1:
                    self._limit, self._quiet = size // 2, 0
                    self.counts["halved"] += 1
                    log.warning("out of memory with %d windows: batches of %d from now on", size, self._limit)
                    continue
                if self._fallback is None:
                    raise
                self.counts["cpu"] += 1
                log.warning("out of memory with one window: it is scored on the CPU")
                done.append(self._fallback(part, job))
            at += size
        return done[0] if len(done) == 1 else tuple(map(np.concatenate, zip(*done, strict=True)))

    def _recover(self) -> None:
        if self._limit is None:
            return
        self._quiet += 1
        if self._quiet >= GROW_AFTER:
            self._limit, self._quiet = 2 * self._limit, 0


def out_of_memory(error: Exception) -> bool:
    """torch's own error on a GPU; on a CPU a RuntimeError that only its words tell apart."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
