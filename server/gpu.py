"""How busy the machine's GPUs are and how full their memory is, read from NVIDIA's own library at each scrape.

Nothing is exported where there is no GPU, no driver or no `nvidia-ml-py`. The `gpu` label is the GPU's number as
`nvidia-smi` counts; a MIG slice or another GPU that cannot say one of the figures is left out of that one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger("server")

# name: what it is, how to ask `pynvml` about a device
FIGURES: dict[str, tuple[str, Callable[[Any, Any], float]]] = {
    "emotion_gpu_utilisation_ratio": (
        "Share of the last moments in which the GPU was at work, 0 to 1",
        lambda nvml, device: nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
    ),
    "emotion_gpu_memory_bytes": (
        "Memory of the GPU in use, by everybody",
        lambda nvml, device: nvml.nvmlDeviceGetMemoryInfo(device).used,
    ),
    "emotion_gpu_memory_total_bytes": (
        "Memory of the GPU",
        lambda nvml, device: nvml.nvmlDeviceGetMemoryInfo(device).total,
    ),
}


class Gpus(Collector):
    """To be registered once with the registry that is scraped."""

    def __init__(self) -> None:
        self._devices: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as none:
            log.debug("no GPU to watch: %s", none)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, (about, ask) in FIGURES.items():
            family = GaugeMetricFamily(name, about, labels=["gpu"])
            for index, device in enumerate(self._devices):
                try:
                    family.add_metric([str(index)], ask(self._nvml, device))
                except self._nvml.NVMLError as silent:
                    log.debug("GPU %d does not say %s: %s", index, name, silent)
            if family.samples:
                yield family
