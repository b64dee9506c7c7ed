"""What desks cost: the live latency of N paced sessions with desks watching them, and with none, in turns.

    python -m bench.desk --clients 100 --desks 5 --rounds 3

Each round starts a server, lets the sessions speak, and takes the latency that the server tells with each result.
The desks subscribe to all sessions and open one each, and read everything, as the page does. The medians of the
rounds are compared: p95 with desks may be a tenth above p95 without.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from typing import Annotated

import aiohttp
import numpy as np
import orjson
import typer

from bench import osproc, speech
from bench.clients import Plan, drive


class DeskReader:
    """One desk: subscribed to everything, one session open; counts what it is told."""

    def __init__(self) -> None:
        self.messages = self.bytes = 0

    async def watch(self, url: str, place: int) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket", compress=0, max_msg_size=0) as ws,
        ):
            await ws.receive_str()
            await ws.send_str("40/monitor,")
            await ws.receive_str()
            await ws.send_str('42/monitor,["subscribe"]')
            opened = False
            async for message in ws:
                text: str = message.data
                if text == "2":
                    await ws.send_str("3")
                    continue
                self.messages += 1
                self.bytes += len(text)
                if not opened and text.startswith('42/monitor,["summaries"'):
                    sessions = orjson.loads(text.partition(",")[2])[1]["sessions"]
                    if len(sessions) > place:
                        chosen = orjson.dumps({"session_id": sessions[place]["session_id"]}).decode()
                        await ws.send_str(f'42/monitor,["open",{chosen}]')
                        opened = True


async def one_round(
    url: str, said: speech.SpokenChunks, plan: Plan, n_desks: int
) -> tuple[list[float], list[DeskReader], int]:
    """The latencies of all results in ms, the desks, and how many clients broke."""
    desks = [DeskReader() for _ in range(n_desks)]
    watching = [asyncio.create_task(desk.watch(url, place)) for place, desk in enumerate(desks)]
    voices, _ = await drive(url, said, plan, lambda: None, lambda: None)
    for task in watching:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    latencies = [ms for voice in voices for ms in voice.tally.server_ms]
    return latencies, desks, sum(bool(voice.failure) for voice in voices)


def main(
    clients: Annotated[int, typer.Option(help="sessions that speak")] = 100,
    desks: Annotated[int, typer.Option(help="desks that watch")] = 5,
    seconds: Annotated[float, typer.Option(help="how long each session speaks")] = 20.0,
    rounds: Annotated[int, typer.Option(help="with desks and without, so often in turns")] = 3,
    chunk_ms: Annotated[int, typer.Option(help="audio per chunk")] = 100,
) -> None:
    """Measure, and print a line for each round and the ratio of the medians."""
    said = speech.load(
        speech.default_data(), seconds=600, chunk_ms=chunk_ms, encoding="pcm_s16le", binary=False
    )
    plan = Plan(clients, seconds)
    print(f"{clients} sessions, {seconds:g} s each; speech: {said.source}")
    p95: dict[int, list[float]] = {0: [], desks: []}
    for turn in range(1, rounds + 1):
        # Who goes first changes: a machine that warms up, or that others use, should favor neither.
        for watched in (0, desks) if turn % 2 else (desks, 0):
            port = osproc.free_port()
            words = f"-m cli serve --host 127.0.0.1 --port {port}".split()
            url = f"http://127.0.0.1:{port}"
            with osproc.running([sys.executable, *words], url, "/readyz", cwd=speech.ROOT):
                latencies, seen, broken = asyncio.run(one_round(url, said, plan, watched))
            p50, at95, p99 = np.percentile(latencies, [50, 95, 99])
            p95[watched].append(float(at95))
            told = f"; each desk {seen[0].messages} messages, {seen[0].bytes / 1e6:.2f} MB" if seen else ""
            print(
                f"round {turn}, {watched} desks: latency_ms p50 {p50:.0f} p95 {at95:.0f} p99 {p99:.0f}"
                f" of {len(latencies)} results, {broken} clients broke{told}",
                flush=True,
            )
    without, with_desks = statistics.median(p95[0]), statistics.median(p95[desks])
    print(
        f"median p95: {without:.1f} ms without, {with_desks:.1f} ms with {desks} desks: {with_desks / without:.2f}"
    )


if __name__ == "__main__":
    typer.run(main)
