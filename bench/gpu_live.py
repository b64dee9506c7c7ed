"""What a GPU behind a server's engine sustains: emotion2vec+ large by default, random weights, its own process.

    python -m bench.gpu_live                                                        # a GPU
    python -m bench.gpu_live --size small --device cpu --max-batch 8 --seconds 2    # anywhere, and it says so

In one run, and for each precision: memory, what one window and ten cost, ten together beside one by one, and the
bare forward pass on full batches. On a GPU also what becomes of a batch for which there is no memory: it is
halved, and what does not fit alone goes to the CPU. Then, with the last of the precisions, the engine as a server
has it, with windows through its pipes: its share of the bare forward pass, and how many streams it sustains at a
p95 below --p95-ms (`bench.emotion2vec_live` has the same without the pipes).
This process stands in for those of the sockets: its own share of a core is shown, and where that is near 1 it is
this end that is too slow, and not the GPU.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from bench.emotion2vec_live import engine_rate, raw_rate, search, windows_for
from bench.emotion2vec_random import make_folder
from server.engine import EngineSettings
from server.engine.process import ProcessEngine
from stream.batching import BatchLimits
from stream.models.emotion2vec import load
from stream.models.emotion2vec.adapter import Emotion2Vec, Options
from stream.types import HOP, SAMPLE_RATE

TOGETHER = 10  # streams of which batching must make one piece of work


def timed_ms(work: Callable[[], object], rounds: int = 7) -> float:
    """The median of several."""
    work()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def memory_mb(device: str) -> float:
    """The most that was in use: of the GPU, or of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def bare(folder: Path, args: argparse.Namespace, precision: str) -> float:
    """Print what the model alone costs; windows per second of its forward pass on full batches."""
    model = load(str(folder), args.device, Options(precision=precision))  # type: ignore[arg-type]
    spec = model.spec
    windows = windows_for(spec, max(args.max_batch, TOGETHER))
    ten = windows[:TOGETHER]
    one_ms = timed_ms(lambda: model.score(windows[:1]))
    each_ms = timed_ms(lambda: [model.score([window]) for window in ten], 3)
    together_ms = timed_ms(lambda: model.score(ten))
    rate = raw_rate(model, windows[: args.max_batch], args.seconds)
    print(
        f"{spec.dtype} on {spec.device}: one window {one_ms:.1f} ms, {TOGETHER} together {together_ms:.1f} ms,"
        f" one by one {each_ms:.1f} ms: {each_ms / together_ms:.1f} times; batches of {args.max_batch}:"
        f" {rate:.1f} windows/s; at most {memory_mb(spec.device):.0f} MB",
        flush=True,
    )
    if spec.device.startswith("cuda"):
        short_of_memory(model, args.max_batch)
    return rate


def short_of_memory(model: Emotion2Vec, n: int) -> None:
    """Let this process have little more of the GPU than it holds, and score a full batch."""
    windows = windows_for(model.spec, n)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    before, alone = dict(model.fallbacks), model.score(windows[:1])
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.1 * torch.cuda.memory_reserved() / total))
    try:
        answers = model.score(windows)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    remedies = {name: count - before.get(name, 0) for name, count in model.fallbacks.items()}
    difference = abs(answers[0].logits - alone[0].logits).max()
    print(
        f"  short of memory: {len(answers)} of {n} scored, {remedies}; the first differs by {difference:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="large", help="small, base, large; random weights")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--max-batch", type=int, default=256)
    parser.add_argument("--max-wait-ms", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--p95-ms", type=float, default=300)
    parser.add_argument("--from-streams", type=int, default=1)
    parser.add_argument("--max-streams", type=int, default=4096)
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("no GPU is found here; --device cpu --size small tries the way, not the GPU")
    if args.device == "cpu":
        torch.set_num_threads(1)
        print("on a CPU: these figures say that the way works, and nothing of a GPU")
    with tempfile.TemporaryDirectory() as made:
        folder = make_folder(Path(made) / args.size, args.size)
        precisions = args.precisions.split(",")
        rates = [bare(folder, args, precision) for precision in precisions]
        settings = EngineSettings(
            model=str(folder),
            device=args.device,
            model_options={"precision": precisions[-1]},
            replicas=args.replicas,
            batching=BatchLimits(args.max_batch, args.max_wait_ms / 1000),
            max_queue=8 * args.max_batch + args.max_streams,
        )
        engine = ProcessEngine(settings, "WARNING")
        engine.start()
        while not (health := engine.health()).replicas or not all(r.up for r in health.replicas):
            if health.fatal:
                raise SystemExit(health.error)
            time.sleep(0.1)
        assert engine.spec is not None
        windows = windows_for(engine.spec, args.max_batch)
        kept, bare_rate = engine_rate(engine, windows, args.seconds), args.replicas * rates[-1]
        print(
            f"through the engine: {kept:.1f} windows/s, {100 * kept / bare_rate:.0f} % of the bare forward pass"
        )
        began, cpu = time.perf_counter(), time.process_time()
        best = search(engine, windows, args, engine.spec.hop_frames * HOP / SAMPLE_RATE)
        share = (time.process_time() - cpu) / (time.perf_counter() - began)
        engine.close()
    print(f"sustained with p95 under {args.p95_ms:g} ms: {best.line().strip() if best else 'none'}")
    print(f"this end of the pipes was busy for {100 * share:.0f} % of the time")


if __name__ == "__main__":
    main()
