"""The embedded model, `compact`: small, causal, runs anywhere. In here:

    graph       the `EmotionModel` in ONNX Runtime, for CPUs
    step        its graph: 100 ms of any number of sessions; whether they keep to themselves on this processor
    quantized   the weights of its int8 graph
    embeddings  what an embedding says by itself, without torch
    model       the `EmotionModel` in torch, for GPUs and as the reference
    network     samples → features → logits, with the state of a session
    encoder     its largest part: the beginning of a speech recognizer's encoder, made causal
    features    log mels and periodicity
    invariance  which way of computing products in torch keeps its promises on this processor
    sizes       sizes and constants, for both
    files       the weights' files, for both
    windows     windows to arrays, for both

Either runtime is imported by `load`, not before, and only the one that computes.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from stream.types import EmotionModel

__all__ = ["RUNTIMES", "load"]

RUNTIMES = ("auto", "onnx", "torch")
NVIDIA = Path("/dev/nvidiactl"), Path("/dev/dxg")  # a driver is loaded: on Linux, and in Windows' Linux

log = logging.getLogger("model")


def load(
    device: str = "auto", precision: str = "auto", runtime: str = "auto", threads: int | None = None
) -> EmotionModel:
    """The model with the shipped weights.

    `runtime`: `onnx` (ONNX Runtime, on a CPU), `torch`, or `auto`: onnx on a CPU where it is installed, but for
    bfloat16, which only torch computes in. `threads`: how many it computes with; None: as many as there are
    cores. Raises ValueError for a device, precision or runtime that cannot be used, FileNotFoundError without
    weights, ImportError where the runtime is not installed.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"model.runtime {runtime!r}: not one of {', '.join(RUNTIMES)}")
    if runtime == "onnx" or (runtime == "auto" and _suits_onnx(device, precision)):
        if device not in ("auto", "cpu"):
            raise ValueError(
                f"ONNX Runtime computes compact on a CPU, not on {device}; set model.runtime to auto"
            )
        if importlib.util.find_spec("onnxruntime") is None:
            raise ImportError("model.runtime is onnx, which is not installed: pip install onnxruntime")
        from stream.models.compact import graph

        return graph.load(precision=precision, threads=threads or 0)
    if importlib.util.find_spec("torch") is None:
        raise ImportError(
            "compact runs with onnxruntime or torch, and neither will do: pip install onnxruntime"
        )
    import torch

    from stream.models.compact import model

    if threads is not None:
        torch.set_num_threads(threads)
    return model.load(device, precision=precision)


def _suits_onnx(device: str, precision: str) -> bool:
    if importlib.util.find_spec("onnxruntime") is None:
        log.info("compact: onnxruntime is not installed; using torch")
        return False
    if precision == "bfloat16":
        return False
    return device == "cpu" or (device == "auto" and not _gpu_can_be_used())


def _gpu_can_be_used() -> bool:
    """torch is asked only where a driver is loaded: importing it takes seconds and 200 MB."""
    if not any(path.exists() for path in NVIDIA) or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
