"""What the way to a Ray cluster costs: replicas there beside a model process here, in turns, in one run.

    ray start --head                                   # Ray: ./run.sh install ray
    python -m bench.ray_hop --streams 10,60,200 --seconds 10 --rounds 3

Each stream submits a window of 100 ms every 100 ms, with the state that came with the answer before; one that has
no answer yet skips its turn. Latency runs from `submit` to the reply, batching included. CPU time is that of the
model process (Ray: of the replicas), of the process that speaks for them (hub), and of Ray's own (raylet,
gcs_server), which must run on this machine to be counted; this process, which stands in for the server, does the
same for both.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from statistics import median

import numpy as np
import psutil

from server.engine import EngineSettings, Timing
from server.engine.process import ProcessEngine
from stream.batching import BatchLimits
from stream.types import HOP, Answer, Floats, FrameScores, Window, samples_for

HOP_S = 0.1
N_FRAMES = 10
PARTS = ("model", "hub", "ray")
RAYS_OWN = {"raylet", "gcs_server", "log_monitor", "dashboard"}


@dataclass(frozen=True)
class HopRun:
    answered: int
    skipped: int
    p50_ms: float
    p95_ms: float
    cpu_ms: dict[str, float]  # per window, by part


class Streams:
    """Voices out of step with each other; one window of each is out at a time."""

    def __init__(self, engine: ProcessEngine, n: int) -> None:
        rng = np.random.default_rng(0)
        self._sound = rng.normal(0, 0.05, 16_000 * 30).astype(np.float32)
        self._engine, self._n = engine, n
        self._states: list[Floats | None] = [None] * n
        self._out: dict[int, float] = {}  # stream → when its window was submitted
        self._lock = threading.Lock()
        self.latencies_s: list[float] = []
        self.skipped = 0

    def run(self, seconds: float) -> None:
        began = time.perf_counter()
        for turn in range(round(seconds / HOP_S)):
            for i in range(self._n):
                due = began + (turn + i / self._n) * HOP_S
                if (pause := due - time.perf_counter()) > 0:
                    time.sleep(pause)
                with self._lock:
                    if i in self._out:
                        self.skipped += 1
                        continue
                    self._out[i] = time.perf_counter()
                at = HOP * N_FRAMES * (turn % 200)
                samples = self._sound[at : at + samples_for(N_FRAMES)]
                self._engine.submit(
                    Window(str(i), i, N_FRAMES, turn == 0, samples, self._states[i]), self._reply
                )
        while self._out:
            time.sleep(0.01)

    def _reply(self, window: Window, answer: Answer, timing: Timing) -> None:
        assert isinstance(answer, FrameScores), answer
        with self._lock:
            self._states[window.first_frame] = answer.state
            self.latencies_s.append(time.perf_counter() - self._out.pop(window.first_frame))


def cpu_s() -> Counter[str]:
    """CPU time so far, by part."""
    spent: Counter[str] = Counter()
    for process in psutil.process_iter(["ppid", "name", "cmdline", "cpu_times"]):
        about, command = process.info, " ".join(process.info["cmdline"] or [])
        if about["name"] in RAYS_OWN:
            part = "ray"
        elif "ray::ModelActor" in command:
            part = "model"
        elif about["ppid"] == os.getpid():
            part = "hub" if "ray_worker" in command else "model"
        else:
            continue
        spent[part] += about["cpu_times"].user + about["cpu_times"].system
    return spent


def measure(engine: ProcessEngine, n: int, seconds: float) -> HopRun:
    Streams(engine, n).run(1.0)  # what costs more the first time
    streams, before = Streams(engine, n), cpu_s()
    streams.run(seconds)
    spent, answered = cpu_s() - before, len(streams.latencies_s)
    p50, p95 = 1000 * np.percentile(streams.latencies_s, [50, 95])
    cpu_ms = {part: 1000 * spent[part] / answered for part in PARTS}
    return HopRun(answered, streams.skipped, float(p50), float(p95), cpu_ms)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", default="10,60,200")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--address", default="auto", help="of the Ray cluster")
    args = parser.parse_args()
    shared = EngineSettings(
        model=args.model,
        device="cpu",
        model_options={"runtime": "onnx"},
        replicas=args.replicas,
        batching=BatchLimits(32, 0.04),
        deadline_s=60,
        ray_address=args.address,
    )
    runs: dict[tuple[int, str], list[HopRun]] = {}
    for _ in range(args.rounds):
        for n in map(int, args.streams.split(",")):
            for kind in ("process", "ray"):
                engine = ProcessEngine(EngineSettings(**{**vars(shared), "kind": kind}), "WARNING")
                engine.start()
                while not (health := engine.health()).replicas or not all(r.up for r in health.replicas):
                    if health.fatal:
                        raise SystemExit(health.error)
                    time.sleep(0.05)
                runs.setdefault((n, kind), []).append(measure(engine, n, args.seconds))
                engine.close()
    print(f"{args.model}, {args.replicas} replica(s), medians of {args.rounds} rounds of {args.seconds:g} s")
    print("streams  engine   p50 ms  p95 ms  answered  skipped  CPU ms/window: model    hub    ray")
    for (n, kind), each in runs.items():
        cpu = "  ".join(f"{median(run.cpu_ms[part] for run in each):5.2f}" for part in PARTS)
        print(
            f"{n:7}  {kind:7}  {median(r.p50_ms for r in each):6.1f}  {median(r.p95_ms for r in each):6.1f}"
            f"  {median(r.answered for r in each):8g}  {median(r.skipped for r in each):7g}"
            f"                 {cpu}"
        )


if __name__ == "__main__":
    main()
