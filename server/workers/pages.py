"""One page of metrics for all workers: each series with the worker that it is of; their sums are the server's.

What only the parent knows (the engine, the limits) comes from the parent, once and without that label.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from server.metrics import Metrics
from server.workers.link import WorkerLink
from stream.types import JsonDict

# Families of the parent, by their beginnings and ends; all others are those of workers.
PARENTS = (
    "emotion_engine_up",
    "emotion_engine_restarts",
    "emotion_engine_fallbacks",
    "emotion_queue_windows",
    "emotion_inference_seconds",
    "emotion_batch_windows",
    "emotion_model_info",
    "emotion_replica",
    "emotion_gpu",
)
LIMIT = "_limit"

Families = list[JsonDict]


def families(metrics: Metrics) -> Families:
    """What a process has to tell, to be sent to whoever makes the page."""
    metrics.refresh()
    return [
        {
            "name": family.name,
            "doc": family.documentation,
            "type": family.type,
            "samples": [[s.name, s.labels, s.value] for s in family.samples],
        }
        for family in metrics.registry.collect()
    ]


def of_all(link: WorkerLink, metrics: Metrics) -> bytes:
    """The page, as any worker gives it. One that does not answer in time is missing on it."""
    told = {worker: fields["families"] for worker, fields in link.ask("metrics").items() if fields}
    return page({**told, link.place.worker: families(metrics)})


def page(by_worker: dict[int, Families]) -> bytes:
    """Prometheus' text; the parent's number is below 0."""
    merged: dict[str, Metric] = {}
    for worker, told in sorted(by_worker.items()):
        for family in told:
            if _is_parents(family["name"]) != (worker < 0):
                continue
            metric = merged.setdefault(family["name"], Metric(family["name"], family["doc"], family["type"]))
            own = {} if worker < 0 else {"worker": str(worker)}
            for name, labels, value in family["samples"]:
                metric.add_sample(name, {**labels, **own}, value)
    registry = CollectorRegistry()
    registry.register(_Told(merged.values()))
    return generate_latest(registry)


def _is_parents(family: str) -> bool:
    return family.startswith(PARENTS) or family.endswith(LIMIT)


class _Told:
    """A collector of what was told."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> list[Any]:
        return self._metrics
