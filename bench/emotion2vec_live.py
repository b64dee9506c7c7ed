"""emotion2vec behind the engine: how many live streams one device sustains, and what the engine itself costs.

    python -m bench.emotion2vec_live --size large --device cuda --precision bfloat16 --max-batch 256
    python -m bench.emotion2vec_live --size small --device cpu --max-batch 4 --seconds 3      # anywhere

Arrivals are simulated: each of N streams submits a whole window (context and all) every hop, out of step with the
others. Latency runs from `submit` to the reply. N is sustained when the 95th percentile stays under --p95-ms and
nothing is refused or fails; it is doubled until it is not, then halved in between. Weights are random unless
--folder names some. No sockets, no speech gate: what this leaves out is measured by `bench.load`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.emotion2vec import windows_of_speech
from bench.emotion2vec_random import make_folder
from server.engine import Busy, EngineSettings, Timing
from server.engine.inprocess import InProcessEngine
from server.engine.process import ProcessEngine
from stream.batching import BatchLimits
from stream.models.emotion2vec import load
from stream.models.emotion2vec.adapter import Emotion2Vec, Options
from stream.types import FRAME, HOP, SAMPLE_RATE, Answer, Failed, ModelSpec, Window

GOLDEN = 0.618034


@dataclass(frozen=True)
class LiveRun:
    streams: int
    p50_ms: float
    p95_ms: float
    lost: int  # refused, failed or never answered
    mean_batch: float

    def line(self) -> str:
        return (
            f"{self.streams:6} streams: p50 {self.p50_ms:7.1f} ms, p95 {self.p95_ms:7.1f} ms, "
            f"lost {self.lost}, {self.mean_batch:.1f} windows per batch"
        )


def windows_for(spec: ModelSpec, n: int) -> list[Window]:
    """Whole windows of speech, as a stream that has gone on for a while sends them."""
    frames = spec.left_frames + spec.hop_frames + spec.right_frames
    rows = windows_of_speech(n, ((frames - 1) * HOP + FRAME) / SAMPLE_RATE)
    whole = (spec.hop_frames, False)
    return [
        Window(f"s{i}", spec.left_frames, *whole, row, None, spec.left_frames, spec.right_frames)
        for i, row in enumerate(rows)
    ]


class Ledger:
    """Takes answers from the engine's thread."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.failed = 0
        self.batches = 0
        self.changed = threading.Condition()

    def reply(self, since: float, window: Window, answer: Answer, timing: Timing) -> None:
        with self.changed:
            self.failed += isinstance(answer, Failed)
            self.latencies_s.append(time.perf_counter() - since)
            self.changed.notify_all()

    def batch(self, n_windows: int, infer_s: float, background: bool) -> None:
        self.batches += 1


def live(
    engine: InProcessEngine | ProcessEngine, windows: list[Window], streams: int, seconds: float, hop_s: float
) -> LiveRun:
    """`streams` streams for `seconds`; the first fifth is not counted."""
    ledger, refused, sent = Ledger(), 0, 0
    engine.on_batch = ledger.batch
    offsets = np.sort(np.arange(streams) * GOLDEN % 1) * hop_s
    begin = time.perf_counter()
    for round_ in range(max(1, round(seconds / hop_s))):
        for i, offset in enumerate(offsets):
            due = begin + round_ * hop_s + offset
            if (pause := due - time.perf_counter()) > 0:
                time.sleep(pause)
            try:
                engine.submit(windows[i % len(windows)], partial(ledger.reply, due))
                sent += 1
            except Busy:
                refused += 1
    with ledger.changed:
        ledger.changed.wait_for(lambda: len(ledger.latencies_s) >= sent, 5 + seconds)
        times = 1000 * np.array(ledger.latencies_s[len(ledger.latencies_s) // 5 :])
        lost = refused + ledger.failed + sent - len(ledger.latencies_s)
        p50, p95 = np.percentile(times, [50, 95]) if len(times) else (np.inf, np.inf)
        return LiveRun(streams, float(p50), float(p95), lost, sent / max(1, ledger.batches))


def raw_rate(model: Emotion2Vec, windows: list[Window], seconds: float) -> float:
    """Windows per second of the bare forward pass on a full batch that lies on the device."""
    batch = torch.from_numpy(np.stack([w.samples for w in windows])).to(model.spec.device)
    done, begin = 0, 0.0
    with torch.inference_mode():
        for warm in (True, False):
            done, begin = 0, time.perf_counter()
            while done == 0 or (not warm and time.perf_counter() - begin < seconds):
                model._forward(batch, model.spec.left_frames).cpu()
                done += len(windows)
    return done / (time.perf_counter() - begin)


def engine_rate(engine: InProcessEngine | ProcessEngine, windows: list[Window], seconds: float) -> float:
    """Windows per second through the engine when three batches always wait."""
    ledger, sent, begin = Ledger(), 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        while sent - len(ledger.latencies_s) < 3 * len(windows):
            engine.submit(windows[sent % len(windows)], partial(ledger.reply, begin))
            sent += 1
        with ledger.changed:
            ledger.changed.wait(0.05)
    with ledger.changed:
        ledger.changed.wait_for(lambda: len(ledger.latencies_s) >= sent, 60 + seconds)
    return sent / (time.perf_counter() - begin)


def search(
    engine: InProcessEngine | ProcessEngine, windows: list[Window], args: argparse.Namespace, hop_s: float
) -> LiveRun | None:
    """The most streams that are sustained; None: not even one."""
    best: LiveRun | None = None
    low, high, n = 0, args.max_streams + 1, args.from_streams
    while low < n < high:
        result = live(engine, windows, n, args.seconds, hop_s)
        print(result.line(), flush=True)
        if result.p95_ms < args.p95_ms and result.lost == 0:
            low, best = n, result
        else:
            high = n
        n = min(2 * low, high - 1) if high > args.max_streams else (low + high) // 2
        if high - low <= max(1, low // 16):
            break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="large", help="small, base, large; random weights")
    parser.add_argument("--folder", type=Path, help="a folder with weights instead")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["float32", "bfloat16", "int8", "auto"])
    parser.add_argument("--cuda-graphs", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-batch", type=int, default=256)
    parser.add_argument("--max-wait-ms", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--p95-ms", type=float, default=300)
    parser.add_argument("--from-streams", type=int, default=1)
    parser.add_argument("--max-streams", type=int, default=4096)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or make_folder(Path(made) / args.size, args.size)
        model = load(
            str(folder), args.device, Options(precision=args.precision, cuda_graphs=args.cuda_graphs)
        )
    spec = model.spec
    print(
        f"{spec.name} on {spec.device} in {spec.dtype}, {'given' if args.folder else 'random'} weights; ",
        end="",
    )
    print(f"a window of {spec.left_frames}+{spec.hop_frames}+{spec.right_frames} frames per stream and hop")
    windows = windows_for(spec, args.max_batch)
    limits = BatchLimits(args.max_batch, args.max_wait_ms / 1000)
    settings = EngineSettings(batching=limits, max_queue=8 * args.max_batch + args.max_streams)
    engine = InProcessEngine(model, settings)
    raw, kept = raw_rate(model, windows, args.seconds), engine_rate(engine, windows, args.seconds)
    print(
        f"bare forward: {raw:.1f} windows/s; through the engine: {kept:.1f}, {100 * kept / raw:.0f} % of it"
    )
    best = search(engine, windows, args, spec.hop_frames * HOP / SAMPLE_RATE)
    engine.close()
    print(f"sustained with p95 under {args.p95_ms:g} ms: {best.line().strip() if best else 'none'}")


if __name__ == "__main__":
    main()
