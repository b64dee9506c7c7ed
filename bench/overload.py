"""Live, or refused: more clients than fit, for a minute, on a server with the limits that it ships with.

    python -m bench.overload --clients 300 --seconds 60
    python -m bench.overload --clients 300 --slowed 2     # the model process gets half of its time in the middle

Everybody asks for a session at once, and again after `retry_after_s` when refused, as the clients of this project
do; whoever is let in speaks at the pace of speech until the end. Shown are how many spoke at once, how late their
results were and what they lost after their first five seconds, how long a refusal took, memory, and how long the
server took until it was as before. Exit code 1 when a frame was neither scored nor named lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import psutil
import requests
import typer
from rich.console import Console
from rich.table import Table

from bench import osproc, speech
from bench.links import LightLink
from bench.tally import STEP_MS, Counts, Tally, last_sample

GRACE_S = 5.0  # of a session: the server may still be finding out what it can do
SLICE_S = 0.1  # of a slowed model process


@dataclass
class Caller:
    """One client: when it was let in, and what it was told."""

    tally: Tally = field(default_factory=Tally)
    refused_s: list[float] = field(default_factory=list)  # how long each refusal took
    admitted_at: float | None = None  # monotonic seconds
    sent_at: list[float] = field(default_factory=list)  # by chunk
    latency: list[tuple[float, float]] = field(default_factory=list)  # (since admission, seconds)
    lost: list[tuple[float, int]] = field(default_factory=list)  # (since admission, frames)
    failure: str = ""

    def heard(self, chunk_samples: int, name: str, payload: dict[str, Any], size: int) -> None:
        now = time.monotonic()
        since = now - (self.admitted_at or now)
        if name != "emotion_result":
            self.tally.other(name, payload)
            if name == "lost":
                self.lost.append((since, round((payload["end_ms"] - payload["start_ms"]) / STEP_MS)))
            return
        _, end = self.tally.result(payload, size)
        chunk = min(last_sample(end) // chunk_samples, len(self.sent_at) - 1)
        self.latency.append((since, now - self.sent_at[chunk]))


class Watch(threading.Thread):
    """Twice a second: sessions, level and memory."""

    def __init__(self, server: osproc.Server) -> None:
        super().__init__(daemon=True)
        self._server, self._processes = server, psutil.Process(server.pid)
        self.over = threading.Event()
        self.sessions: list[int] = []
        self.levels: list[str] = []
        self.rss: list[int] = []

    def run(self) -> None:
        while not self.over.wait(0.5):
            with contextlib.suppress(requests.RequestException, psutil.NoSuchProcess):
                told = status(self._server)
                self.sessions.append(told["sessions"])
                self.levels.append(told["load"]["level"])
                family = [self._processes, *self._processes.children(recursive=True)]
                self.rss.append(sum(process.memory_info().rss for process in family))


def status(server: osproc.Server) -> dict[str, Any]:
    told: dict[str, Any] = requests.get(f"{server.url}/api/v1/status", timeout=30).json()
    return told


async def call(
    http: aiohttp.ClientSession, url: str, caller: Caller, said: speech.SpokenChunks, index: int, end: float
) -> None:
    """Ask until it is let in, then speak until `end`."""
    link = await LightLink.open(
        http, url, lambda *event: caller.heard(said.chunk_samples, *event), binary=False
    )
    try:
        while True:
            asked = time.monotonic()
            answer = await link.call("start", {"sample_rate": speech.RATE})
            if answer["ok"]:
                break
            caller.refused_s.append(time.monotonic() - asked)
            error = answer["error"]
            if error["code"] != "OVERLOADED":
                raise ConnectionError(f"refused: {error}")
            if time.monotonic() + error["retry_after_s"] > end - 2 * GRACE_S:
                return  # too late to learn anything
            await asyncio.sleep(error["retry_after_s"] * (1 + index * 0.6180339887 % 0.5))
        caller.admitted_at = begin = time.monotonic()
        every, n = said.chunk_samples / speech.RATE, 0
        while (due := begin + (n + 1) * every) < end:
            await asyncio.sleep(due - time.monotonic())
            caller.sent_at.append(time.monotonic())
            await link.send_chunk(said.chunks[(37 * index + n) % len(said.chunks)], None)
            n += 1
        await link.call("flush", {}, 60)
        caller.tally.summary = caller.tally.summary or await link.call("stop", {}, 60)
    finally:
        await link.close()


async def crowd(url: str, callers: list[Caller], said: speech.SpokenChunks, seconds: float) -> None:
    end = time.monotonic() + seconds

    async def guarded(index: int, caller: Caller) -> None:
        try:
            await call(http, url, caller, said, index, end)
        except Exception as broken:
            caller.failure = f"{type(broken).__name__}: {broken}"

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(guarded(i, caller) for i, caller in enumerate(callers)))


def slow(server: osproc.Server, share: float, after_s: float, seconds: float) -> None:
    """The model process gets 1/`share` of its time for a while."""
    time.sleep(after_s)
    children = psutil.Process(server.pid).children()
    pid = next(c.pid for c in children if "server.engine.worker" in c.cmdline())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(SLICE_S * (1 - 1 / share))
        os.kill(pid, signal.SIGCONT)
        time.sleep(SLICE_S / share)


@contextlib.contextmanager
def served(model: str, tree: Path) -> Iterator[osproc.Server]:
    port = osproc.free_port()
    command = [sys.executable, "-m", "cli", "serve", "--port", str(port), "--model", model]
    with osproc.running(command, f"http://127.0.0.1:{port}", "/readyz", cwd=tree) as server:
        yield server


def main(
    clients: Annotated[int, typer.Option(help="how many want a session")] = 300,
    seconds: Annotated[float, typer.Option(help="how long they go on")] = 60.0,
    slowed: Annotated[float, typer.Option(help="by how much the model is slowed in the middle third")] = 1.0,
    model: Annotated[str, typer.Option(help="compact or fake")] = "compact",
    tree: Annotated[Path, typer.Option(help="the checkout whose server it is")] = speech.ROOT,
) -> None:
    said = speech.load(speech.default_data(), seconds=600, chunk_ms=100, encoding="pcm_s16le", binary=False)
    callers = [Caller() for _ in range(clients)]
    with served(model, tree) as server:
        watch = Watch(server)
        watch.start()
        if slowed > 1:
            middle = (server, slowed, seconds / 3, seconds / 3)
            threading.Thread(target=slow, args=middle, daemon=True).start()
        asyncio.run(crowd(server.url, callers, said, seconds))
        ended = time.monotonic()
        while (calm_s := time.monotonic() - ended) < 60:
            told = status(server)
            if told["load"]["level"] == "normal" and not told["sessions"]:
                break
            time.sleep(0.1)
        watch.over.set()
        watch.join()
    sound = show(callers, watch, calm_s)
    raise typer.Exit(0 if sound else 1)


def show(callers: list[Caller], watch: Watch, calm_s: float) -> bool:
    """Print it all; whether the books are right."""
    admitted = [c for c in callers if c.admitted_at is not None]
    counts = sum((c.tally.counts() for c in admitted), Counts())
    late = [s for c in admitted for since, s in c.latency if since > GRACE_S]
    refused = [s for c in callers for s in c.refused_s]
    lost_after = sum(n for c in admitted for since, n in c.lost if since > GRACE_S)
    levels = {level: watch.levels.count(level) / 2 for level in dict.fromkeys(watch.levels)}
    third = max(1, len(watch.rss) // 3)
    wrong = {
        "missing": counts.missing,
        "repeated": counts.repeated,
        "outside": counts.outside,
        "summaries that count otherwise": sum(c.tally.disputed() for c in admitted),
        "clients that broke": sum(bool(c.failure) for c in callers),
    }
    table = Table("", "", title=f"{len(callers)} want a session", title_justify="left")
    for name, value in {
        "were let in / spoke at once, at most": f"{len(admitted)} / {max(watch.sessions, default=0)}",
        "results of those, s late: p50, p95, most (after 5 s)": percentiles(late),
        "frames of speech / scored": f"{counts.expected} / {counts.received}",
        "frames lost in the first 5 s / after": f"{counts.lost - lost_after} / {lost_after}",
        "refusals": f"{len(refused)}",
        "s until a refusal was told: p50, p95, most": percentiles(refused),
        "s at each level": ", ".join(f"{level} {s:g}" for level, s in levels.items()),
        "memory, MB: most in the first third / last third": " / ".join(
            f"{max(part, default=0) / 1e6:.0f}" for part in (watch.rss[:third], watch.rss[-third:])
        ),
        "s from the end until all is as before": f"{calm_s:.1f}",
        "wrong": ", ".join(f"{n} {what}" for what, n in wrong.items() if n) or "nothing",
    }.items():
        table.add_row(name, value)
    Console(width=120).print(table)
    for caller in callers:
        if caller.failure:
            print(f"! {caller.failure}")
            break
    return not any(wrong.values())


def percentiles(values: list[float]) -> str:
    if not values:
        return "–"
    return ", ".join(f"{v:.2f}" for v in (*np.percentile(values, (50, 95)), max(values)))


if __name__ == "__main__":
    typer.run(main)
