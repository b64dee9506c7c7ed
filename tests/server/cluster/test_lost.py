"""A server of two is lost while twenty people speak: its own go on in the other one, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest
from emotion_stream_client import AsyncEmotionClient
from emotion_stream_client.events import Event, Opened

from tests.client.conftest import ledger
from tests.server.clients import eventually
from tests.server.cluster.conftest import Redis, lost, service
from tests.server.cluster.proxy import Doors
from tests.server.conftest import metrics

N, SECONDS, LOST_AT_S = 20, 12, 5
CHUNK = 3200  # bytes: 100 ms


async def speak(client: AsyncEmotionClient, pcm: bytes, number: int, told: list[Event]) -> None:
    async with client.stream(max_events=100_000) as stream:
        begin = asyncio.get_running_loop().time() + number * 0.02
        for n in range(10 * SECONDS):
            await asyncio.sleep(max(0.0, begin + n / 10 - asyncio.get_running_loop().time()))
            at = (number * 17 + n) % (len(pcm) // CHUNK) * CHUNK
            await stream.send(pcm[at : at + CHUNK])
        await stream.stop()
        told += stream.poll()


def balanced(told: list[list[Event]], only: set[str]) -> tuple[int, int]:
    """Each frame of detected speech is scored once, or named in one `lost`: who moved, and frames lost."""
    moved = missed = 0
    for events in told:
        opened = [e for e in events if isinstance(e, Opened)]
        assert not any(e.replaced for e in opened), "a new session in place of the old one"
        book = ledger(events)
        book.balance()
        assert book.scored and set(book.lost.values()) <= only
        moved += any(e.resumed for e in opened)
        missed += len(book.lost)
        assert any(e.resumed for e in opened) or not book.lost, "of a session that stayed"
    return moved, missed


@pytest.mark.slow
def test_twenty_streams_lose_at_most_what_was_under_way(store: Redis, demo_pcm: bytes) -> None:
    with service(store) as servers, Doors([server.port for server in servers]) as doors:
        told: list[list[Event]] = [[] for _ in range(N)]

        async def all_of_them() -> None:
            async with AsyncEmotionClient(doors.url) as client:
                speaking = asyncio.gather(*(speak(client, demo_pcm, n, told[n]) for n in range(N)))
                await asyncio.sleep(LOST_AT_S)
                await asyncio.to_thread(lost, servers[0])
                await speaking

        asyncio.run(all_of_them())
        moved, missed = balanced(told, {"NOT_READY"})
        assert 0 < moved < N
        assert missed < 300 * moved
        eventually(lambda: metrics(servers[1])["emotion_sessions"] == 0, "they have ended")


@pytest.mark.slow
def test_twenty_streams_lose_nothing_when_redis_restarts(store: Redis, demo_pcm: bytes) -> None:
    with service(store) as servers, Doors([server.port for server in servers]) as doors:
        told: list[list[Event]] = [[] for _ in range(N)]

        def restart() -> None:
            store.stop()
            eventually(lambda: metrics(servers[0])["emotion_redis_up"] == 0, "it is missed")
            store.start()

        async def all_of_them() -> None:
            async with AsyncEmotionClient(doors.url) as client:
                speaking = asyncio.gather(*(speak(client, demo_pcm, n, told[n]) for n in range(N)))
                await asyncio.sleep(LOST_AT_S)
                await asyncio.to_thread(restart)
                await speaking

        asyncio.run(all_of_them())
        moved, missed = balanced(told, set())
        assert moved == missed == 0
