"""What each of the engine's replicas does, read from its health at each scrape. Over `replica` they add up: to the
restarts, and to the count and the sums of the histograms of batches, of the engine as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from server.engine import Health, ReplicaHealth

Family = CounterMetricFamily | GaugeMetricFamily
# name, without the _total of counters: its kind, what it is, where it comes from
FIGURES: dict[str, tuple[type[Family], str, Callable[[ReplicaHealth], float]]] = {
    "emotion_replica_up": (
        GaugeMetricFamily,
        "1 while this replica of the model answers",
        lambda replica: replica.up,
    ),
    "emotion_replica_outstanding_windows": (
        GaugeMetricFamily,
        "Windows that it was given and has not answered",
        lambda replica: replica.outstanding,
    ),
    "emotion_replica_restarts": (CounterMetricFamily, "Its restarts", lambda replica: replica.restarts),
    "emotion_replica_windows": (
        CounterMetricFamily,
        "Windows that it has scored",
        lambda replica: replica.windows,
    ),
    "emotion_replica_batches": (CounterMetricFamily, "Its batches", lambda replica: replica.batches),
    "emotion_replica_busy_seconds": (
        CounterMetricFamily,
        "Time it has spent on scoring",
        lambda replica: replica.busy_s,
    ),
}


class ReplicaFigures(Collector):
    """To be registered once with the registry that is scraped."""

    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health

    def collect(self) -> Iterator[Family]:
        replicas = self._health().replicas
        for name, (kind, about, figure) in FIGURES.items():
            family = kind(name, about, labels=["replica"])
            for replica in replicas:
                family.add_metric([str(replica.number)], float(figure(replica)))
            yield family
