"""Strangers beside ten who speak: what each attack does to a server, as one table.

For every attack a fresh server, ten live streams at the pace of speech, and somebody who asks /healthz four times
a second. Shown are the longest wait for /healthz, the worst latency of a live result, whether the ten sets of
books are right, the memory and the descriptors of the process. `--tree` names another checkout, such as the code
as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import requests
import typer
from rich.console import Console
from rich.table import Table

from bench import osproc, speech
from bench.attacks import ATTACKS, SIEGES
from bench.clients import Plan, Voice, drive

STREAMS = 10
LEAD_S = 3.0  # everybody speaks before the attack begins
TAIL_S = 4.0  # and after it, so that what was held up comes out
SIEGE_S = 36.0  # zombies and dribblers have to be waited for


@dataclass
class Row:
    """One attack."""

    attack: str
    healthz_s: float = 0.0  # the longest wait for an answer, or for none
    unanswered: int = 0  # of those asked
    latency_ms: float = 0.0  # the worst of a live result, by the client's clock
    books: int = 0  # streams of ten with every frame scored once, or named in one `lost`
    lost: int = 0  # frames
    rss_mb: list[int] = field(default_factory=list)  # before, at most, after
    fds: list[int] = field(default_factory=list)  # before, after
    outcome: dict[str, object] = field(default_factory=dict)  # as the attacker saw it


class Prober(threading.Thread):
    """Asks /healthz again and again; another thread looks at the process meanwhile."""

    def __init__(self, port: int, pid: int) -> None:
        super().__init__(daemon=True)
        self._port, self._process = port, psutil.Process(pid)
        self.over = threading.Event()
        self.waits: list[float] = []
        self.failed = 0
        self.most = 0  # bytes

    def _weigh(self) -> None:
        while not self.over.wait(0.1):
            self.most = max(self.most, self._process.memory_info().rss)

    def run(self) -> None:
        threading.Thread(target=self._weigh, daemon=True).start()
        while not self.over.wait(0.25):
            began = time.monotonic()
            if not asked(self._port, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
                self.failed += 1
            self.waits.append(time.monotonic() - began)


def asked(port: int, request: str, timeout_s: float = 30) -> str:
    """The status of the answer; empty when there is none in time."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as sock:
            sock.sendall(request.encode())
            head = sock.recv(100).split()
            return head[1].decode() if len(head) > 1 else ""
    except OSError:
        return ""


def uploaded(port: int, timeout_s: float = 30) -> int:
    """The status of somebody else's upload; 0 when there is none in time."""
    with (
        (speech.ROOT / "demo" / "conversation.wav").open("rb") as file,
        contextlib.suppress(requests.RequestException),
    ):
        url = f"http://127.0.0.1:{port}/api/v1/emotion/recognize"
        return requests.post(url, files={"audio_file": file}, timeout=timeout_s).status_code
    return 0


def measure(name: str, tree: Path, mode: str, seconds: float, said: speech.SpokenChunks) -> Row:
    """One attack on a server of its own."""
    row, port = Row(name), osproc.free_port()
    os.environ["EMOTION_SERVER__ASYNC_MODE"] = mode
    os.environ["EMOTION_LIMITS__MAX_CONNECTIONS"] = "100"
    lasts = SIEGE_S if name in SIEGES else seconds
    command = [sys.executable, "-m", "cli", "serve", "--port", str(port)]
    with osproc.running(command, f"http://127.0.0.1:{port}", "/readyz", cwd=tree) as server:
        process, prober = psutil.Process(server.pid), Prober(port, server.pid)
        before = (process.memory_info().rss, process.num_fds())
        prober.start()
        attacking = threading.Thread(target=_attack, args=(row, name, port, lasts), daemon=True)
        threading.Timer(LEAD_S, attacking.start).start()
        plan = Plan(clients=STREAMS, seconds=LEAD_S + lasts + TAIL_S)
        voices, _ = asyncio.run(drive(server.url, said, plan, lambda: None, lambda: None))
        attacking.join(60)
        time.sleep(3)  # closing takes two seconds where the peer does not help
        prober.over.set()
        prober.join(40)
        _books(row, voices)
        row.healthz_s, row.unanswered = round(max(prober.waits), 2), prober.failed
        rss = (before[0], prober.most, process.memory_info().rss)
        row.rss_mb, row.fds = [round(n / 1e6) for n in rss], [before[1], process.num_fds()]
    return row


def _attack(row: Row, name: str, port: int, seconds: float) -> None:
    command = [sys.executable, "-m", "bench.attacks", name, str(port), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=speech.ROOT) as attacker:
        if name == "dribbling uploads":  # somebody else's, while they last
            time.sleep(seconds - 8)
            row.outcome["another upload"] = uploaded(port)
        try:
            told = attacker.communicate(timeout=seconds + 60)[0]
            row.outcome |= json.loads(told or "{}")
        except subprocess.TimeoutExpired:
            attacker.kill()


def _books(row: Row, voices: list[Voice]) -> None:
    for voice in voices:
        counts = voice.tally.counts()
        wrong = counts.missing or counts.repeated or counts.outside or voice.failure
        row.books += not wrong
        row.lost += counts.lost
    row.latency_ms = round(max((ms for voice in voices for ms in voice.tally.client_ms), default=0.0))


def show(title: str, rows: list[Row]) -> None:
    table = Table(title=title, title_justify="left")
    head = (
        "attack",
        "/healthz s",
        "unanswered",
        "worst live ms",
        "books",
        "lost",
        "RSS MB",
        "fds",
        "attacker",
    )
    for name in head:
        table.add_column(name, justify="left" if name in ("attack", "attacker") else "right")
    for r in rows:
        rss, fds = " → ".join(map(str, r.rss_mb)), " → ".join(map(str, r.fds))
        told = ", ".join(f"{k} {v}" for k, v in r.outcome.items())
        table.add_row(
            r.attack, f"{r.healthz_s:.2f}", str(r.unanswered), f"{r.latency_ms:.0f}", f"{r.books}/{STREAMS}",
            str(r.lost), rss, fds, told,
        )  # fmt: skip
    Console(width=150).print(table)


def main(
    tree: Annotated[Path, typer.Option(help="the checkout whose server is attacked")] = speech.ROOT,
    mode: Annotated[str, typer.Option(help="eventlet or threading")] = "eventlet",
    seconds: Annotated[float, typer.Option(min=1, max=60, help="of a flood")] = 5.0,
    only: Annotated[list[str] | None, typer.Option(help=f"some of: {', '.join(ATTACKS)}")] = None,
    data: Annotated[Path | None, typer.Option(help="the corpora, as for bench.load")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures here")] = None,
) -> None:
    """Attack, measure, print. Exit code 1 when anybody's books are wrong."""
    if unknown := set(only or ()) - set(ATTACKS):
        raise typer.BadParameter(f"--only {', '.join(unknown)}: there are {', '.join(ATTACKS)}")
    said = speech.load(
        data or speech.default_data(), seconds=60, chunk_ms=100, encoding="pcm_s16le", binary=False
    )
    rows = []
    for name in only or ATTACKS:
        rows.append(measure(name, tree.resolve(), mode, seconds, said))
        print(asdict(rows[-1]), file=sys.stderr, flush=True)
    show(f"strangers beside {STREAMS} live streams ({mode}, floods of {seconds:g} s)", rows)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    if any(row.books < STREAMS for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
