"""The figures of one measurement, and how those of several rounds become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import numpy as np

from bench.clients import Steady, Voice
from bench.tally import Counts

Percentiles = tuple[float, float, float]  # p50, p95, p99


@dataclass(frozen=True)
class Figures:
    """What one server did under one load."""

    name: str
    scores: bool  # False: an echo, which promises nothing about frames
    clients: int
    seconds: float  # of streaming, per client
    audio_s: float  # sent, all clients, whole run
    chunks: int
    acked: int
    results: int
    result_bytes: float  # mean size of a result
    frames_per_result: float
    frames: Counts
    lost_codes: dict[str, int]
    out_of_order: int
    disputed: int  # sessions whose summary counts other frames than the client did
    unheard: int  # sessions without any detected speech
    utterances: int
    errors: dict[str, int]
    failures: list[str]
    server_ms: Percentiles
    client_ms: Percentiles
    late_ms: Percentiles  # the generator behind its own schedule
    steady: Steady
    cpu_ms: dict[str, float]  # per second of audio, by process, in the steady window
    whole_ms: float | None  # per second of audio, all processes, from the first connection to the last
    generator_share: float  # of one core
    machine_share: float  # of all cores: everything that ran

    @property
    def steady_ms(self) -> float | None:
        """CPU milliseconds of all processes per second of streamed audio; None where it could not be read."""
        return sum(self.cpu_ms.values()) if self.cpu_ms else None

    @property
    def server_share(self) -> float:
        """Cores that all processes of the server kept busy."""
        return sum(self.cpu_ms.values()) * self.steady.sent_s / self.steady.seconds / 1000

    @property
    def kept_up(self) -> float | None:
        """Part of the audio sent in the steady window that was handled in it; None without acknowledgements."""
        return self.steady.acked_s / self.steady.sent_s if self.acked else None

    @property
    def overloaded(self) -> bool:
        """Then the steady window does not tell the cost: what it sent was handled later."""
        return self.kept_up is not None and self.kept_up < 0.95

    @property
    def results_per_chunk(self) -> float:
        return self.results / self.chunks if self.chunks else 0.0

    def faults(self) -> list[str]:
        """What a sound run has none of."""
        frames = self.frames
        found = {"clients that broke": len(self.failures)}
        if self.scores:
            found |= {
                "frames of speech neither scored nor lost": frames.missing,
                "frames told more than once": frames.repeated,
                "frames outside detected speech": frames.outside,
                "stretches of speech without an end": frames.unclosed,
                "results out of order": self.out_of_order,
                "summaries that count otherwise": self.disputed,
                "clients in whose speech no speech was detected": self.unheard,
            }
        return [f"{count} {what}" for what, count in found.items() if count]

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "steady_ms": self.steady_ms,
            "server_share": self.server_share,
            "kept_up": self.kept_up,
            "faults": self.faults(),
        }


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one measurement."""

    server_s: dict[str, float]  # by process, in the steady window
    whole_s: float | None  # all processes, the whole run
    generator_s: float  # in the steady window
    machine_share: float  # of all cores, in the steady window


def gather(
    name: str, scores: bool, voices: Sequence[Voice], chunk_s: float, steady: Steady, cost: Cost
) -> Figures:
    """One measurement's figures."""
    tallies = [voice.tally for voice in voices]
    results = sum(len(t.scored) for t in tallies)
    chunks = sum(len(v.sent_at) for v in voices)
    return Figures(
        name=name,
        scores=scores,
        clients=len(voices),
        seconds=chunks * chunk_s / max(1, len(voices)),
        audio_s=chunks * chunk_s,
        chunks=chunks,
        acked=sum(v.acked for v in voices),
        results=results,
        result_bytes=sum(t.result_bytes for t in tallies) / max(1, results),
        frames_per_result=sum(end - start for t in tallies for start, end in t.scored) / max(1, results),
        frames=sum((t.counts() for t in tallies), Counts()),
        lost_codes=_total(t.lost_codes for t in tallies),
        out_of_order=sum(t.out_of_order for t in tallies),
        disputed=sum(t.disputed() for t in tallies),
        unheard=sum(not t.scored and not t.lost for t in tallies),
        utterances=sum(t.utterances for t in tallies),
        errors=_total(t.errors for t in tallies),
        failures=[f"client {v.index}: {v.failure}" for v in voices if v.failure],
        server_ms=_percentiles([ms for t in tallies for ms in t.server_ms]),
        client_ms=_percentiles([ms for t in tallies for ms in t.client_ms]),
        late_ms=_percentiles([ms for v in voices for ms in v.late_ms]),
        steady=steady,
        cpu_ms={process: 1000 * spent / steady.sent_s for process, spent in cost.server_s.items()},
        whole_ms=None if cost.whole_s is None else 1000 * cost.whole_s / (chunks * chunk_s),
        generator_share=cost.generator_s / steady.seconds,
        machine_share=cost.machine_share,
    )


def middle(rounds: Sequence[Figures]) -> dict[str, float]:
    """Medians over rounds of the figures that decide."""
    picks = {
        "CPU ms per s of audio": [
            f.steady_ms for f in rounds if f.steady_ms is not None and not f.overloaded
        ],
        "CPU ms per s of audio, whole run": [f.whole_ms for f in rounds if f.whole_ms is not None],
        "server's p95 latency, ms": [f.server_ms[1] for f in rounds if f.scores],
        "client's p50 latency, ms": [f.client_ms[0] for f in rounds],
        "client's p95 latency, ms": [f.client_ms[1] for f in rounds],
        "client's p99 latency, ms": [f.client_ms[2] for f in rounds],
    }
    return {name: median(values) for name, values in picks.items() if values}


def mean_of(rounds: Sequence[Figures], pick: str) -> float:
    """Mean over rounds of one figure."""
    return mean(float(getattr(f, pick)) for f in rounds)


def _percentiles(values: list[float]) -> Percentiles:
    if not values:
        return (float("nan"),) * 3
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)


def _total(counters: Iterable[Counter[str]]) -> dict[str, int]:
    return dict(sum(counters, Counter()))
