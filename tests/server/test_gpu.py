"""GPU figures: absent without one; with one, what NVIDIA's library says, through a small true stand-in for it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from server.gpu import FIGURES, Gpus


class Nvml:
    """As much of `pynvml` as is asked: devices by handle, errors of its own for what a device cannot say."""

    class NVMLError(Exception):
        pass

    def __init__(self, *devices: dict[str, int], driver: bool = True) -> None:
        self._devices, self._driver, self._begun = devices, driver, False

    def nvmlInit(self) -> None:
        if not self._driver:
            raise self.NVMLError("NVML Shared Library Not Found")
        self._begun = True

    def nvmlDeviceGetCount(self) -> int:
        assert self._begun
        return len(self._devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, int]:
        return self._devices[index]

    def nvmlDeviceGetUtilizationRates(self, device: dict[str, int]) -> SimpleNamespace:
        if "busy" not in device:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=device["busy"], memory=1)

    def nvmlDeviceGetMemoryInfo(self, device: dict[str, int]) -> SimpleNamespace:
        if "used" not in device:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(
            used=device["used"], total=device["total"], free=device["total"] - device["used"]
        )


def scraped(monkeypatch: pytest.MonkeyPatch, library: object) -> str:
    monkeypatch.setitem(sys.modules, "pynvml", library)  # None: not installed
    registry = CollectorRegistry()
    registry.register(Gpus())
    return generate_latest(registry).decode()


def test_without_a_gpu_a_driver_or_the_library_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in (None, Nvml(driver=False), Nvml()):
        assert scraped(monkeypatch, library) == ""


def test_the_library_itself_may_find_nothing() -> None:
    pytest.importorskip("pynvml")
    registry = CollectorRegistry()
    registry.register(Gpus())
    text = generate_latest(registry).decode()
    assert text == "" or all(name in text for name in ("emotion_gpu_memory_bytes", 'gpu="0"'))


def test_each_gpu_says_what_it_can_and_changes_show(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"busy": 37, "used": 3 * 2**30, "total": 141 * 2**30}
    slice_, lost = {"used": 5, "total": 10}, {"busy": 0}
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(first, slice_, lost))
    registry = CollectorRegistry()
    registry.register(Gpus())
    assert set(generate_latest(registry).decode().splitlines()) >= {
        "# TYPE emotion_gpu_utilisation_ratio gauge",
        'emotion_gpu_utilisation_ratio{gpu="0"} 0.37',
        'emotion_gpu_utilisation_ratio{gpu="2"} 0.0',
        'emotion_gpu_memory_bytes{gpu="0"} 3.221225472e+09',
        'emotion_gpu_memory_bytes{gpu="1"} 5.0',
        'emotion_gpu_memory_total_bytes{gpu="1"} 10.0',
    }
    assert 'emotion_gpu_utilisation_ratio{gpu="1"}' not in generate_latest(registry).decode()
    assert 'memory_bytes{gpu="2"}' not in generate_latest(registry).decode()
    first["busy"] = 100
    assert registry.get_sample_value("emotion_gpu_utilisation_ratio", {"gpu": "0"}) == 1
    assert len(FIGURES) == 3
