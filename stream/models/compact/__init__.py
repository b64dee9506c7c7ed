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
    calibration what is made of their logits: the prior, the temperatures; for both
    windows     windows to arrays, for both

Either runtime is imported by `load`, not before, and only the one that computes.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from stream.models import processor
from stream.models.compact.files import FOLDER, read_measured
from stream.models.compact.sizes import EMBEDDINGS, Embedding
from stream.prior import BALANCED, Prior
from stream.types import EmotionModel

__all__ = ["RUNTIMES", "load"]

Loaded = TypeVar("Loaded", bound=EmotionModel)
RUNTIMES = ("auto", "onnx", "torch")
GET_TORCH = './run.sh install torch, or pip install "emotion-stream[torch]"'


def load(
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    threads: int | None = None,
    prior: Prior = BALANCED,
    embedding: Embedding = "emotion",
    folder: Path = FOLDER,
) -> EmotionModel:
    """The model with the weights in `folder`: the shipped ones, or some that `./run.sh train` has made.

    `runtime`: `onnx` (ONNX Runtime, on a CPU), `torch`, or `auto`: the faster one of those that there are
    (docs/decisions/0018 has the figures). `threads`: how many it computes with; None: what the runtime
    takes by itself. `prior`: see `stream.prior`; `embedding`: `sizes.Embedding`. Raises ValueError for one of
    these that cannot be used, FileNotFoundError without weights, ImportError where the runtime is not installed.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"model.runtime {runtime!r}: not one of {', '.join(RUNTIMES)}")
    if embedding not in EMBEDDINGS:
        raise ValueError(f"model.embedding {embedding!r}: not one of {', '.join(EMBEDDINGS)}")
    if runtime == "auto":
        runtime = "torch" if _is_for_torch(device, precision) else "onnx"
    if runtime == "onnx":
        if device not in ("auto", "cpu"):
            raise ValueError(
                f"ONNX Runtime computes compact on a CPU, not on {device}; set model.runtime to auto"
            )
        if importlib.util.find_spec("onnxruntime") is None:
            raise ImportError("compact needs ONNX Runtime, or torch: pip install onnxruntime")
        from stream.models.compact import graph

        return _told(graph.load(folder, precision, threads or 0, prior, embedding), folder)
    if not _has_torch():
        wish = f"device {device}, precision {precision}, runtime {runtime}"
        raise ImportError(f"compact needs torch for {wish}, and it is not installed: {GET_TORCH}")
    import torch

    from stream.models.compact import model

    if threads is not None:
        torch.set_num_threads(threads)
    return _told(model.load(device, folder, precision, prior, embedding), folder)


def _told(model: Loaded, folder: Path) -> Loaded:
    """With what is known of these weights; figures of others would be none of theirs."""
    model.spec = replace(model.spec, measured=read_measured(folder))
    return model


def _is_for_torch(device: str, precision: str) -> bool:
    """Whether torch is what serves: a GPU, and bfloat16 where it is installed and the processor multiplies it."""
    if device not in ("auto", "cpu") or precision == "bfloat16":
        return True
    if not _has_torch() or precision == "int8":
        return False
    return (precision == "auto" and processor.multiplies_bf16()) or (device == "auto" and _has_gpu())


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _has_gpu() -> bool:
    if version("torch").endswith("+cpu"):  # without importing it
        return False
    import torch

    return torch.cuda.is_available()
