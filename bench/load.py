"""Load: N paced clients with real speech against the server, and against a stock Flask-SocketIO echo.

    python -m bench.load --clients 60 --seconds 60 --rounds 3

Without --url the server is started here and stopped at the end. Exit code 1 when a frame of detected
speech was neither scored nor named lost, or came twice, or out of order. bench/README.md says how to read
the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import psutil
import typer

from bench import figures, osproc, report, speech
from bench.clients import Plan, drive
from bench.figures import Figures


@dataclass(frozen=True)
class Target:
    """Which server of ours to measure."""

    url: str | None
    pid: int
    config: Path
    workers: int = 1
    model: str = ""  # empty: that of `config`


def main(
    clients: Annotated[int, typer.Option(help="how many stream at once")] = 20,
    seconds: Annotated[float, typer.Option(help="how long each streams")] = 20.0,
    url: Annotated[str | None, typer.Option(help="a server that runs already; else one is started")] = None,
    pid: Annotated[int, typer.Option(help="with --url: its parent process, to measure its CPU time")] = 0,
    config: Annotated[Path, typer.Option(help="the started server's configuration")] = speech.ROOT
    / "config.yaml",
    workers: Annotated[int, typer.Option(help="socket processes of the started server")] = 1,
    model: Annotated[str, typer.Option(help="its model; default: that of --config")] = "",
    echo: Annotated[bool, typer.Option(help="measure the stock echo server too")] = True,
    rounds: Annotated[int, typer.Option(help="alternate ours and echo this often; report medians")] = 1,
    chunk_ms: Annotated[int, typer.Option(help="audio per chunk")] = 100,
    binary: Annotated[bool, typer.Option(help="send bytes instead of base64 text")] = False,
    encoding: Annotated[str, typer.Option(help=", ".join(speech.ENCODINGS))] = "pcm_s16le",
    ack: Annotated[bool, typer.Option(help="ask for an acknowledgement of each chunk")] = True,
    real_client: Annotated[
        bool, typer.Option(help="python-socketio's AsyncClient instead of the light one")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="the corpora; default: EMOTION_DATA")] = None,
    pool_seconds: Annotated[
        float, typer.Option(help="speech held in memory; clients start at places of it")
    ] = 600.0,
    json: Annotated[Path | None, typer.Option(help="write all figures here")] = None,
) -> None:
    """Measure, print, and say by the exit code whether every frame was answered."""
    if encoding not in speech.ENCODINGS:
        raise typer.BadParameter(f"--encoding {encoding}: choose one of {', '.join(speech.ENCODINGS)}")
    wanted = min(pool_seconds, clients * seconds)
    said = speech.load(
        data or speech.default_data(), seconds=wanted, chunk_ms=chunk_ms, encoding=encoding, binary=binary
    )
    plan = Plan(clients, seconds, encoding, binary, ack, real_client)
    target = Target(url, pid, config.resolve(), workers, model)
    ours: list[Figures] = []
    stock: list[Figures] = []
    for turn in range(1, rounds + 1):
        with _ours(target) as server:
            ours.append(measure(f"ours {turn}" if rounds > 1 else "ours", server, said, plan, scores=True))
        if echo:
            with _echo(ours[-1], encoding) as server:
                name = f"stock echo {turn}" if rounds > 1 else "stock echo"
                stock.append(measure(name, server, said, plan, scores=False))
    report.show([*ours, *stock], _notes(said, plan, ours, stock))
    if json is not None:
        document = {"ours": [f.to_json() for f in ours], "stock": [f.to_json() for f in stock]}
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    if any(measured.faults() for measured in ours):
        raise typer.Exit(1)


def measure(
    name: str, server: osproc.Server, said: speech.SpokenChunks, plan: Plan, *, scores: bool
) -> Figures:
    """One run of all clients against one server."""
    theirs, whole = osproc.CpuMeter(server.pid), osproc.CpuMeter(server.pid)
    mine = osproc.CpuMeter(psutil.Process().pid)
    busy = [0.0]

    def begins() -> None:
        theirs.start()
        mine.start()
        psutil.cpu_percent()

    def ends() -> None:
        busy[0] = psutil.cpu_percent() / 100
        theirs.stop()
        mine.stop()

    whole.start()
    voices, steady = asyncio.run(drive(server.url, said, plan, begins, ends))
    whole.stop()
    cost = figures.Cost(
        theirs.seconds, whole.total if whole.seconds else None, mine.seconds["parent"], busy[0]
    )
    return figures.gather(name, scores, voices, said.chunk_samples / speech.RATE, steady, cost)


@contextlib.contextmanager
def _ours(target: Target) -> Iterator[osproc.Server]:
    if target.url is not None:
        yield osproc.Server(target.url.rstrip("/"), target.pid)
        return
    port = osproc.free_port()
    words = f"-m cli serve --host 127.0.0.1 --port {port} --config".split()
    # It takes whoever comes, however late: what is measured is what that costs.
    taken = ["EMOTION_LIMITS__MAX_SESSIONS=100000", "EMOTION_LIMITS__MAX_LAG_MS=60000"]
    taken += [f"EMOTION_SERVER__WORKERS={target.workers}"]
    taken += [f"EMOTION_MODEL__NAME={target.model}"] if target.model else []
    command = ["env", *taken, sys.executable, *words, str(target.config)]
    with osproc.running(command, f"http://127.0.0.1:{port}", "/readyz", cwd=speech.ROOT) as server:
        yield server


@contextlib.contextmanager
def _echo(like: Figures, encoding: str) -> Iterator[osproc.Server]:
    """The stock server, answering as often and as much as ours did just now."""
    port = osproc.free_port()
    frames, size = max(1, round(like.frames_per_result)), round(like.result_bytes)
    shape = (
        f"-m bench.stock_echo --port {port} --frames {frames} --bytes {size} --encoding {encoding}".split()
    )
    command = [sys.executable, *shape, "--results-per-chunk", f"{like.results_per_chunk:.4f}"]
    with osproc.running(command, f"http://127.0.0.1:{port}", "/readyz", cwd=speech.ROOT) as server:
        yield server


def _notes(said: speech.SpokenChunks, plan: Plan, ours: list[Figures], stock: list[Figures]) -> list[str]:
    kind = "python-socketio AsyncClient" if plan.real_client else "light Socket.IO client"
    notes = [
        f"speech: {said.source}; {kind}, {'binary' if plan.binary else 'base64'} {plan.encoding}, "
        f"acknowledgements {'on' if plan.ack else 'off'}, no permessage-deflate"
    ]
    if stock:
        notes.append(
            f"the stock echo answered {figures.mean_of(stock, 'results_per_chunk'):.2f} of the chunks with "
            f"{figures.mean_of(stock, 'result_bytes'):.0f} bytes, as ours did "
            f"({figures.mean_of(ours, 'results_per_chunk'):.2f}, {figures.mean_of(ours, 'result_bytes'):.0f}); "
            "it decodes audio, and neither detects speech nor scores"
        )
    mine, theirs = figures.middle(ours), figures.middle(stock)
    for name, value in mine.items():
        beside = f", stock {theirs[name]:.2f}" if name in theirs else ""
        ratio = f", ours/stock {value / theirs[name]:.2f}" if beside and name.startswith("CPU") else ""
        notes.append(f"{'median ' if len(ours) > 1 else ''}{name}: ours {value:.2f}{beside}{ratio}")
    return notes


if __name__ == "__main__":
    typer.run(main)
