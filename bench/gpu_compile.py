"""emotion2vec on a GPU: what torch.compile and TensorRT would give beside the server's own forward pass.

    python -m bench.gpu_compile --size large --precisions float32,bfloat16,float16 --batches 1,16,64
    python -m bench.gpu_compile --size small --device cpu --precisions float32 --batches 1 --rounds 3   # anywhere

NOT yet run on a GPU. Each side answers the same: the logits of every 20 ms of windows of speech (2.7 s), samples
in and out of the device's memory included. Weights are random, which speed does not mind. torch.compile compiles
the forward pass for one shape (`reduce-overhead`: CUDA graphs); TensorRT runs the file that `export` writes,
through ONNX Runtime, where its provider is installed (`onnxruntime-gpu`, TensorRT), in float16 where the precision
asks for it. On a CPU, which shows no more than that the script works, nothing is compiled: the forward pass is
traced, and ONNX Runtime's own provider runs the file in float32. Rounds go around the sides; figures are medians
of wall time. A side that is missing, or whose answers are not near, says so.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.emotion2vec import windows_of_speech
from bench.emotion2vec_random import make_folder
from stream.models.emotion2vec import checkpoint
from stream.models.emotion2vec.dense import ComputeTarget
from stream.models.emotion2vec.encoder import Encoder
from stream.models.emotion2vec.export import export
from stream.types import Floats, softmax

Forward = Callable[[Floats], Floats]
SECONDS = 2.7
NEAR = 0.03  # of a score
TENSORRT = "TensorrtExecutionProvider"


def main() -> None:
    parser = argparse.ArgumentParser(description="What torch.compile and TensorRT would give.")
    parser.add_argument("--size", default="large", help="small, base or large")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", default="float32,bfloat16,float16")
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("precision", "batch", "side", "ms", "of ours", "scores apart")
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        folder = make_folder(Path(place), args.size)
        module, _ = checkpoint.load_module(folder, False)
        for precision in args.precisions.split(","):
            target = ComputeTarget(torch.device(args.device), getattr(torch, precision))
            sides, missing = forwards(Encoder(module, target), folder, precision)
            for batch in map(int, args.batches.split(",")):
                for row in compare(sides, windows_of_speech(batch, SECONDS), args.rounds):
                    table.add_row(precision, str(batch), *row)
            for name, why in missing.items():
                table.add_row(precision, "", name, "–", "", why)
    Console().print(table)
    print(f"torch {torch.__version__} on {args.device}")


def forwards(encoder: Encoder, folder: Path, precision: str) -> tuple[dict[str, Forward], dict[str, str]]:
    """Samples to logits, by name; and what is missing, and why."""
    device, missing = encoder.target.device, {}

    def plain(samples: torch.Tensor) -> torch.Tensor:
        return encoder.logits(encoder.features(samples, both_phases=False))

    def on_device(forward: Callable[[torch.Tensor], torch.Tensor]) -> Forward:
        return lambda samples: forward(torch.from_numpy(samples).to(device)).cpu().numpy()

    on_gpu = device.type == "cuda"
    how: dict[str, Any] = {"mode": "reduce-overhead"} if on_gpu else {"backend": "eager"}
    by_file = "TensorRT" if on_gpu else "ONNX Runtime"
    compiled = torch.compile(plain, dynamic=False, **how)
    sides = {"ours": on_device(plain), "torch.compile": on_device(compiled)}
    try:
        sides["torch.compile"](windows_of_speech(1, SECONDS))
    except Exception as broken:  # whatever a compiler says
        del sides["torch.compile"]
        missing["torch.compile"] = f"{type(broken).__name__}: {str(broken).splitlines()[0]}"
    try:
        sides[by_file] = exported(folder, on_gpu, precision)
    except (ImportError, ValueError) as broken:
        missing[by_file] = str(broken)
    return sides, missing


def exported(folder: Path, on_gpu: bool, precision: str) -> Forward:
    """The exported file, in TensorRT on a GPU. Raises ImportError where ONNX Runtime has no TensorRT."""
    import onnxruntime

    if on_gpu and TENSORRT not in onnxruntime.get_available_providers():
        raise ImportError(f"this ONNX Runtime has no {TENSORRT}")
    if precision == "bfloat16":
        raise ValueError("float32 and float16 alone")
    file = folder / "model.onnx"
    if not file.exists():
        export(str(folder), file)
    tensorrt = [(TENSORRT, {"trt_fp16_enable": precision == "float16"}), "CUDAExecutionProvider"]
    session = onnxruntime.InferenceSession(file, providers=tensorrt if on_gpu else ["CPUExecutionProvider"])
    return lambda samples: np.asarray(session.run(["frame_logits"], {"samples": samples})[0])


def compare(sides: dict[str, Forward], samples: Floats, rounds: int) -> list[tuple[str, str, str, str]]:
    """Each side's name, its time, that of ours, and how far its scores are from ours."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    said = {name: forward(samples) for name, forward in sides.items()}  # and warms up
    for _ in range(rounds):
        for name, forward in sides.items():
            began = time.perf_counter()
            forward(samples)
            took[name].append(1000 * (time.perf_counter() - began))
    ours = median(took["ours"])
    rows = []
    for name, times in took.items():
        apart = float(np.abs(softmax(said[name]) - softmax(said["ours"])).max())
        near = f"{apart:.0e}" if apart <= NEAR else f"{apart:.0e}: not the same model"
        rows.append((name, f"{median(times):.2f}", f"{median(times) / ours:.2f}", near))
    return rows


if __name__ == "__main__":
    main()
