"""A worker is killed while forty people speak: nobody else notices, and its own go on in the other one."""

from __future__ import annotations

import asyncio

import pytest
from emotion_stream_client import AsyncEmotionClient
from emotion_stream_client.events import Event, Opened

from tests.client.conftest import ledger
from tests.server.clients import eventually
from tests.server.conftest import metrics, no_traceback, running
from tests.server.workers.conftest import workers_of

N, SECONDS, KILLED_AT_S = 40, 12, 5
CHUNK = 3200  # bytes: 100 ms


@pytest.mark.slow
def test_forty_streams_lose_at_most_what_was_under_way(demo_pcm: bytes) -> None:
    """Each frame of detected speech is scored once, or named in one `lost`."""
    with running(model__name="fake", server__workers=2) as server:
        victim = workers_of(server)[0]
        told: list[list[Event]] = [[] for _ in range(N)]

        async def speak(client: AsyncEmotionClient, number: int) -> None:
            async with client.stream(max_events=100_000) as stream:
                begin = asyncio.get_running_loop().time() + number * 0.02
                for n in range(10 * SECONDS):
                    await asyncio.sleep(max(0.0, begin + n / 10 - asyncio.get_running_loop().time()))
                    at = (number * 17 + n) % (len(demo_pcm) // CHUNK) * CHUNK
                    await stream.send(demo_pcm[at : at + CHUNK])
                await stream.stop()
                told[number] += stream.poll()

        async def all_of_them() -> None:
            async with AsyncEmotionClient(server.url) as client:
                speaking = asyncio.gather(*(speak(client, number) for number in range(N)))
                await asyncio.sleep(KILLED_AT_S)
                victim.kill()
                await speaking

        asyncio.run(all_of_them())
        resumed = lost = 0
        for events in told:
            opened = [e for e in events if isinstance(e, Opened)]
            assert not any(e.replaced for e in opened), "a new session in place of the old one"
            book = ledger(events)
            book.balance()
            assert book.scored and set(book.lost.values()) <= {"NOT_READY"}
            resumed += any(e.resumed for e in opened)
            lost += len(book.lost)
            assert any(e.resumed for e in opened) or not book.lost, "of a session of the other worker"
        assert 0 < resumed < N
        assert lost < 300 * resumed
        assert eventually(lambda: len(workers_of(server)) == 2, "it is replaced")
        eventually(lambda: metrics(server)["emotion_sessions"] == 0, "they have ended")
        no_traceback(server.log())
