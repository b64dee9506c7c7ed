"""emotion2vec: windows per second beside `funasr.AutoModel.generate`; what 10 ms steps cost, bf16 and int8 change.

    python -m bench.emotion2vec                                   # base and large at full size, random weights
    python -m bench.emotion2vec --sizes base --batches 1,4 --rounds 3
    python -m bench.emotion2vec --folder DIR --device cuda --batches 1,4,16,64,256

Without --folder the weights are random (`emotion2vec_random`): speed does not depend on them, and the scores mean
nothing. `ours` gives what generate gives: features of the whole window every 20 ms, and its scores. A live
window is the one the server scores: context, 50 frames and context, every 10 ms, from the first frame to score on;
beside it the 20 ms features of the whole of it. Rounds alternate between the two sides, and small batches get
more of them; figures are medians, those of the 10 ms grid medians of the ratios within a round, since a core's
speed drifts between rounds.
With one thread on a CPU the clock is the process's own CPU time, which other programs on the machine disturb
least; else it is the wall clock.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from bench.emotion2vec_random import make_folder
from stream.full_recording import score_recording
from stream.models.emotion2vec import load
from stream.models.emotion2vec.adapter import Emotion2Vec, Options, Precision
from stream.types import SAMPLE_RATE, Floats, samples_for, softmax

Work = Callable[[], Any]
COLUMNS = (
    "waiting",
    "precision",
    "generate\nwindows/s",
    "ours\nwindows/s",
    "times",
    "10 ms grid\nof 20 ms",
    "live windows/s",
    "live 10 ms\nof 20 ms",
)
DEMO = Path(__file__).parents[1] / "demo"


@dataclass(frozen=True)
class Clock:
    """Seconds of one call, in the way that fits the device."""

    device: str
    threads: int

    @property
    def name(self) -> str:
        return "CPU time" if self._cpu else "wall time"

    @property
    def _cpu(self) -> bool:
        return self.device == "cpu" and self.threads == 1

    def __call__(self, work: Callable[[], Any]) -> float:
        now = time.process_time if self._cpu else time.perf_counter
        begin = now()
        work()
        if self.device != "cpu":
            torch.cuda.synchronize()
        return now() - begin


def windows_of_speech(n: int, seconds: float) -> Floats:
    """(n, samples): pieces of the demo recordings, each from another place."""
    x = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in sorted(DEMO.glob("*.wav"))])
    size = round(seconds * SAMPLE_RATE)
    starts = np.linspace(0, len(x) - size, n).astype(int)
    return np.stack([x[at : at + size] for at in starts])


def generator(folder: Path, device: str, threads: int) -> Any:
    """funasr as its documentation says to use it."""
    from funasr import AutoModel

    model = AutoModel(
        model=str(folder),
        device=device,
        ncpu=threads,
        disable_update=True,
        disable_pbar=True,
        log_level="ERROR",
    )
    logging.getLogger().setLevel(logging.WARNING)
    torch.set_num_threads(threads)
    return model


def measure(theirs: Any, ours: dict[str, Emotion2Vec], args: argparse.Namespace, name: str) -> None:
    """Print the table of one size."""
    clock = Clock(args.device, args.threads)
    table = Table(title=f"{name}: windows of {args.seconds:g} s, {args.threads} thread(s), {clock.name}")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for batch in args.batches:
        x = windows_of_speech(batch, args.seconds)
        works: dict[str, Work] = {"generate": partial(_generate, theirs, x[:4])}
        for precision, model in ours.items():
            spec = model.spec
            frames = spec.left_frames + spec.hop_frames + spec.right_frames
            samples = torch.from_numpy(x).to(args.device)
            live = torch.from_numpy(windows_of_speech(batch, samples_for(frames) / SAMPLE_RATE)).to(
                args.device
            )
            works[f"{precision} 20"] = partial(_forward, model, samples, False)
            works[f"{precision} 10"] = partial(_forward, model, samples, True)
            works[f"{precision} live 20"] = partial(_forward, model, live, False)
            works[f"{precision} live 10"] = partial(_forward, model, live, True, spec.left_frames)
        times: dict[str, list[float]] = {key: [] for key in works}
        for work in works.values():
            work()
        for _ in range(args.rounds * max(1, 4 // batch)):
            for key, work in works.items():
                times[key].append(clock(work))
        took = {key: median(values) for key, values in times.items()}
        # One window at a time is what generate does: beyond four its rate is that of four.
        rate = min(batch, 4) / took["generate"]
        for precision in ours:
            mine = batch / took[f"{precision} 20"]
            cells = [
                f"{mine:.2f}",
                f"{mine / rate:.2f}",
                f"{_ratio(times[f'{precision} 10'], times[f'{precision} 20']):.2f}",
                f"{batch / took[f'{precision} live 10']:.2f}",
                f"{_ratio(times[f'{precision} live 10'], times[f'{precision} live 20']):.2f}",
            ]
            table.add_row(str(batch), precision, f"{rate:.2f}", *cells)
    Console(width=120).print(table)


def _ratio(dear: list[float], cheap: list[float]) -> float:
    return median(a / b for a, b in zip(dear, cheap, strict=True))


def _generate(theirs: Any, windows: Floats) -> None:
    for row in windows:
        theirs.generate(row, granularity="utterance")


def _forward(model: Emotion2Vec, samples: torch.Tensor, grid: bool, since: int = 0) -> Any:
    with torch.inference_mode():
        return model._encoder.logits(model._encoder.features(samples, grid, since)).cpu()


def differences(exact: Emotion2Vec, reduced: Emotion2Vec, theirs: Any, seconds: float) -> list[str]:
    """How far reduced precision moves scores, and float32 from funasr's."""
    utterances, frames, agree, from_funasr = [], [], [], []
    for x in windows_of_speech(8, seconds):
        a, b = (score_recording([x], model).probs() for model in (exact, reduced))
        utterances.append(np.abs(a - b))
        tensor = torch.from_numpy(x)[None]
        pa, pb = (softmax(_forward(m, tensor.to(m.spec.device), True)[0].numpy()) for m in (exact, reduced))
        frames.append(np.abs(pa - pb))
        agree.append(pa.argmax(-1) == pb.argmax(-1))
        from_funasr.append(np.abs(np.array(theirs.generate(x, granularity="utterance")[0]["scores"]) - a))
    u, f = np.concatenate(utterances), np.concatenate(frames)
    name = reduced.spec.dtype
    return [
        f"float32 beside generate: an utterance's scores differ by {np.max(from_funasr):.1e} at most",
        f"{name} beside float32, utterances: {u.max():.1e} at most, {u.mean():.1e} on average",
        f"{name} beside float32, frames: {f.max():.1e} at most, {f.mean():.1e} on average; "
        f"the likeliest label is the same in {100 * np.concatenate(agree).mean():.1f} %",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="base,large", help="small, base, large; random weights")
    parser.add_argument("--folder", type=Path, help="a folder with weights instead")
    parser.add_argument("--batches", default="1,4,16", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--precisions", default="float32,bfloat16", help="and int8")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as made:
        for size in [str(args.folder)] if args.folder else args.sizes.split(","):
            folder = args.folder or make_folder(Path(made) / size, size)
            theirs = generator(folder, args.device, args.threads)
            ours = {p: _load(folder, args.device, p) for p in args.precisions.split(",")}
            measure(theirs, ours, args, f"{folder.name}{'' if args.folder else ' (random weights)'}")
            if "float32" in ours:
                exact = ours.pop("float32")
                lines = [differences(exact, reduced, theirs, args.seconds) for reduced in ours.values()]
                print(*dict.fromkeys(f"- {line}" for each in lines for line in each), sep="\n")


def _load(folder: Path, device: str, precision: Precision) -> Emotion2Vec:
    return load(str(folder), device, Options(precision=precision))


if __name__ == "__main__":
    main()
