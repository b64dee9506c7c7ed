"""compact: milliseconds of one core per second of streamed audio, in each runtime, beside a plain PyTorch forward.

    python -m bench.compact                        # 100 streams, ten rounds of a second of audio each
    python -m bench.compact --streams 1,12,100 --rounds 20
    python -m bench.compact --models torch:float32,onnx:float32,onnx:int8
    python -m bench.compact --frames 200 --streams 1   # a recording, in the windows of two seconds that files have

A model is a runtime and a precision, as in the settings. `score` is measured of all of them in turn.

`score` is what the engine calls: windows of 100 ms (or of `--frames`) as sessions cut them, each with the state
its session keeps; samples in and scores, weights and new states out, features included. `plain forward` is the
network as a program without sessions would run it: `CompactNet` in float32, eagerly, on samples and states that
already lie together in one tensor. Both hear the same audio, round by round in turn; figures are medians of the
process's own CPU time on one thread, which other programs on the machine disturb least. Exits with 1 where the
cheapest model costs more
than `--most` in the largest batch.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from stream.models.compact import load
from stream.models.compact.model import read_weights
from stream.models.compact.network import CompactNet
from stream.models.compact.windows import HOP_FRAMES
from stream.types import (
    HOP,
    LABELS,
    SAMPLE_RATE,
    EmotionModel,
    Floats,
    FrameScores,
    Window,
    samples_for,
    softmax,
)

Result = TypeVar("Result")
DEMO = Path(__file__).parents[1] / "demo"
SECOND = SAMPLE_RATE // HOP  # frames


def main() -> int:
    parser = argparse.ArgumentParser(description="What the compact model costs.")
    parser.add_argument("--streams", default="1,12,100", help="how many are scored together: 1,12,100")
    parser.add_argument(
        "--rounds", type=int, default=10, help="seconds of audio per stream and side, or windows"
    )
    parser.add_argument(
        "--frames", type=int, default=HOP_FRAMES, help="of a window, if a second or more: 200"
    )
    parser.add_argument("--most", type=float, default=3.0, help="ms per second allowed in the largest batch")
    parser.add_argument(
        "--models", default="torch:auto,onnx:float32,onnx:int8", help="runtime:precision of each"
    )
    args = parser.parse_args()
    chosen = [text.split(":") for text in args.models.split(",")]
    began = time.perf_counter()
    models = [load("cpu", precision, runtime, threads=1) for runtime, precision in chosen]
    loading = time.perf_counter() - began
    net, card = read_weights()
    names = [f"{model.spec.runtime} {model.spec.dtype}" for model in models]
    table = Table("streams", "model", "score\nms/s of audio", "score / plain", "apart at most")
    costs: list[float] = []
    for n in (int(text) for text in args.streams.split(",")):
        ours, plain, apart = compare(models, net.eval(), card["temperature"], n, args.rounds, args.frames)
        costs = [median(of_model) for of_model in ours]
        forward = median(plain)
        table.add_row(str(n), "plain forward", f"{forward:.2f}")
        for name, cost, far in zip(names, costs, apart, strict=True):
            table.add_row(str(n), name, f"{cost:.2f}", f"{cost / forward:.2f}", f"{far:.0e}")
    Console().print(table)
    print(f"one thread, torch {torch.__version__}; loading took {loading:.2f} s; allowed: {args.most:g} ms/s")
    return 1 if min(costs) > args.most else 0


def compare(
    models: list[EmotionModel], net: CompactNet, temperature: float, streams: int, rounds: int, n_frames: int
) -> tuple[list[list[float]], list[float], list[float]]:
    """ms per second of audio of each model's `score` and of the plain forward, each round; how far the scores of
    each were from the plain ones."""
    possible = [LABELS.index(label) for label in models[0].spec.supported_labels]
    per_round = max(1, SECOND // n_frames)
    seconds = per_round * n_frames / SECOND
    audio = voices(streams, math.ceil((rounds + 1) * seconds))
    sessions: list[list[Floats | None]] = [[None] * streams for _ in models]
    kept = net.initial_state(streams)
    plain: list[float] = []
    ours: list[list[float]] = [[] for _ in models]
    apart = [0.0] * len(models)
    for one in track(range(rounds + 1), description=f"{streams} streams", transient=True):
        windows = [cut(audio, one * per_round + i, n_frames) for i in range(per_round)]
        took_plain, (logits, kept) = timed(
            lambda w=windows, k=kept: by_forward(net, w, k)  # type: ignore[misc]
        )
        theirs = (torch.cat(logits, 1) / temperature).numpy()
        if one:  # the first warms up
            plain.append(1000 * took_plain / streams / seconds)
        for k, model in enumerate(models):
            took, said = timed(
                lambda m=model, w=windows, s=sessions[k]: by_score(m, w, s, n_frames)  # type: ignore[misc]
            )
            mine = np.stack([np.concatenate([hop[i].logits for hop in said]) for i in range(streams)])
            difference = softmax(mine[..., possible]) - softmax(theirs[..., possible])
            apart[k] = max(apart[k], float(np.abs(difference).max()))
            if one:
                ours[k].append(1000 * took / streams / seconds)
    return ours, plain, apart


def by_score(
    model: EmotionModel, hops: list[Floats], sessions: list[Floats | None], n_frames: int
) -> list[list[FrameScores]]:
    """A round of every stream through `score`; `sessions` are the states, renewed."""
    said = []
    for samples in hops:
        windows = [
            Window("bench", 0, n_frames, state is None, row, state)
            for row, state in zip(samples, sessions, strict=True)
        ]
        said.append(model.score(windows))
        sessions[:] = [scores.state for scores in said[-1]]
    return said


def by_forward(
    net: CompactNet, hops: list[Floats], state: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The same round through the network alone."""
    logits = []
    with torch.inference_mode():
        for samples in hops:
            scores, _, state = net(net.features(torch.from_numpy(samples)), state)
            logits.append(scores)
    return logits, state


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def voices(streams: int, seconds: int) -> Floats:
    """Speech of `demo/`, begun somewhere else for every stream: (streams, samples)."""
    rng = np.random.default_rng(0)
    speech = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in sorted(DEMO.glob("*.wav"))])
    n = seconds * SAMPLE_RATE + samples_for(HOP_FRAMES)
    return np.stack([np.resize(np.roll(speech, -int(rng.integers(len(speech)))), n) for _ in range(streams)])


def cut(audio: Floats, k: int, n_frames: int) -> Floats:
    start = k * n_frames * HOP
    return np.ascontiguousarray(audio[:, start : start + samples_for(n_frames)])


if __name__ == "__main__":
    sys.exit(main())
