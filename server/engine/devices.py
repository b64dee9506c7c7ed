"""What each of several model processes on a machine computes with: a share of the threads, a GPU of its own."""

from __future__ import annotations

import os
from dataclasses import replace

from server.engine import EngineSettings


def of_replica(settings: EngineSettings, number: int, gpus: tuple[str, ...]) -> EngineSettings:
    """The settings of model process `number`. `gpus`: as CUDA names them; they are given out in turn.

    `cuda:N` is that GPU for all of them, and so is whatever a single process finds by itself.
    """
    n = settings.replicas
    if n == 1 or settings.kind == "ray":
        return settings
    own = gpus[number % len(gpus)] if gpus and settings.device in ("auto", "cuda") else None
    share, rest = divmod(settings.threads, n)
    return replace(settings, threads=max(1, share + (number < rest)), gpu=own)


def gpus() -> tuple[str, ...]:
    """The GPUs of this machine that may be used, without importing torch: those that CUDA_VISIBLE_DEVICES names,
    else all that NVIDIA's own library counts."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip() not in ("", "-1"))
    try:
        import pynvml

        pynvml.nvmlInit()
        return tuple(map(str, range(pynvml.nvmlDeviceGetCount())))
    except Exception:  # not installed, no driver, no GPU: each says so in another way
        return ()
