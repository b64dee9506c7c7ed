"""The table that people read: one column per measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from bench.figures import Figures, Percentiles

Cell = Callable[[Figures], str]


def show(columns: Sequence[Figures], notes: Sequence[str]) -> None:
    """Print one column per measurement."""
    table = Table(title="emotion-stream under load", title_justify="left")
    table.add_column("")
    for figures in columns:
        table.add_column(figures.name, justify="right")
    for label, cells in _rows(columns):
        table.add_row(label, *cells)
    console = Console(width=max(100, 44 + 22 * len(columns)))
    console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False)
    for figures in columns:
        if figures.overloaded:
            share = f"{figures.kept_up:.0%} of the audio that was sent meanwhile"
            console.print(f"! {figures.name}: overloaded, it acknowledged {share}", highlight=False)
        for line in [*figures.faults(), *figures.failures[:5]]:
            console.print(f"! {figures.name}: {line}", highlight=False)


def _rows(columns: Sequence[Figures]) -> list[tuple[str, list[str]]]:
    def row(label: str, cell: Cell) -> tuple[str, list[str]]:
        return label, [cell(figures) for figures in columns]

    def promise(label: str, cell: Cell) -> tuple[str, list[str]]:
        return label, [cell(figures) if figures.scores else "–" for figures in columns]

    processes = sorted({process for f in columns for process in f.cpu_ms}, key=lambda p: (p != "parent", p))
    return [
        row("clients × seconds each", lambda f: f"{f.clients} × {f.seconds:.0f}"),
        row("audio sent, s", lambda f: f"{f.audio_s:.0f}"),
        row("chunks sent / acknowledged", lambda f: f"{f.chunks} / {f.acked}"),
        row("audio handled in time", lambda f: "unknown" if f.kept_up is None else f"{f.kept_up:.0%}"),
        row("results (per chunk)", lambda f: f"{f.results} ({f.results_per_chunk:.2f})"),
        row("a result: frames, bytes", lambda f: f"{f.frames_per_result:.1f}, {f.result_bytes:.0f}"),
        promise("frames in detected speech", lambda f: f"{f.frames.expected}"),
        promise("frames scored", lambda f: f"{f.frames.received}"),
        promise("frames named lost", lambda f: f"{f.frames.lost}" + _by(f.lost_codes)),
        promise("frames missing", lambda f: f"{f.frames.missing}"),
        promise("frames repeated / outside speech", lambda f: f"{f.frames.repeated} / {f.frames.outside}"),
        promise("results out of order", lambda f: f"{f.out_of_order}"),
        promise("utterances", lambda f: f"{f.utterances}"),
        row("errors", lambda f: f"{sum(f.errors.values())}" + _by(f.errors)),
        promise("server's latency_ms, p50 p95 p99", lambda f: _three(f.server_ms)),
        row("client's latency, ms, p50 p95 p99", lambda f: _three(f.client_ms)),
        row("sent late by, ms, p50 p95 p99", lambda f: _three(f.late_ms)),
        row("CPU ms per s of audio", lambda f: "overloaded" if f.overloaded else _number(f.steady_ms)),
        *(row(f"  {process}", _cpu_of(process)) for process in processes),
        row("CPU ms per s of audio, whole run", lambda f: _number(f.whole_ms)),
        row("cores: server", lambda f: f"{f.server_share:.2f}"),
        row("cores: load generator", lambda f: f"{f.generator_share:.2f}"),
        row("machine busy, all cores", lambda f: f"{f.machine_share:.0%}"),
    ]


def _three(values: Percentiles) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def _by(codes: dict[str, int]) -> str:
    return f" ({', '.join(f'{code} {n}' for code, n in sorted(codes.items()))})" if codes else ""


def _cpu_of(process: str) -> Cell:
    return lambda f: f"{f.cpu_ms[process]:.2f}" if process in f.cpu_ms and not f.overloaded else ""


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
