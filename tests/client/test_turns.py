"""How turns sounded, as agents ask: through a real server, by a model in this process, and while there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from emotion_stream_client import AsyncEmotionClient, EmotionClient, SpanResult
from emotion_stream_client.turns import KEPT_MS, TurnListener, in_process, likely, rcs, through_server

from emotion_stream import EmotionModel
from tests.client.conftest import RATE
from tests.conftest import Server, free_port
from tests.server.conftest import held, running

CHUNK = RATE // 50 * 2  # bytes, 20 ms
LONG_S = 60.0  # where waiting is not what is tested


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 100))


@pytest.fixture(scope="session")
def turn(speech: np.ndarray) -> bytes:
    """Speech and a silence after it; short enough to be kept in full until there is a session."""
    return speech[RATE // 2 : RATE // 2 + int(1.3 * RATE)].tobytes() + bytes(RATE)


def say(listener: TurnListener, pcm: bytes) -> tuple[float, float]:
    """All at once; gives the turn."""
    for at in range(0, len(pcm), CHUNK):
        listener.hear(pcm[at : at + CHUNK], RATE)
    return listener.end_turn()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[TurnListener]:
    async with AsyncEmotionClient(url) as client:
        listener = TurnListener(through_server(client, name="an agent's user"))
        try:
            yield listener
        finally:
            await listener.close()


async def known(listener: TurnListener, pcm: bytes) -> SpanResult:
    """What was made of a turn, once there is a session that makes something of turns."""
    while True:
        begin_ms, end_ms = say(listener, pcm)
        while listener.heard_ms < end_ms + KEPT_MS / 2:  # a conversation goes on
            listener.hear(bytes(CHUNK), RATE)
            await asyncio.sleep(0.01)
        found = await listener.emotion(begin_ms, end_ms, LONG_S)
        if found is not None and found.complete:
            return found


def test_a_turn_through_the_server_sounds_as_in_process(server: Server, turn: bytes) -> None:
    async def scenario() -> None:
        with EmotionModel(device="cpu") as model:
            own = TurnListener(in_process(model))
            here = await known(own, turn)
            await own.close()
        async with listening(server.url) as listener:
            there = await known(listener, turn)
        assert here.frames == there.frames > 50
        assert there.scores == pytest.approx(here.scores, abs=1e-4)
        assert (there.begin_ms, there.end_ms) == (0, 1800)

    run(scenario())


def test_many_turns_are_each_their_own(server: Server, turn: bytes) -> None:
    async def scenario() -> None:
        async with listening(server.url) as listener:
            first = await known(listener, turn)
            for _ in range(5):
                begin_ms = listener.heard_ms
                found = await known(listener, turn)
                assert (
                    found.begin_ms
                    <= begin_ms
                    < found.end_ms
                    == found.begin_ms + (round(listener.heard_ms - KEPT_MS / 2) - found.begin_ms)
                )
                assert abs(found.frames - first.frames) <= 30  # the gate has heard what came before
            assert (await listener.emotion(0, 1800, LONG_S)).scores == first.scores  # type: ignore[union-attr]

    run(scenario())


def test_where_there_is_no_server_nobody_waits_and_little_is_kept(turn: bytes) -> None:
    async def scenario() -> None:
        async with listening(f"http://127.0.0.1:{free_port()}") as listener:
            for _ in range(20):
                begin_ms, end_ms = say(listener, turn)
                assert await listener.emotion(begin_ms, end_ms, 1000) is None
            assert listener.heard_ms == 20 * 1800
            assert sum(chunk.end_ms - chunk.begin_ms for chunk in listener._waiting) <= KEPT_MS

    run(scenario())


def test_a_server_that_comes_late_or_comes_back_is_heard_again(turn: bytes) -> None:
    async def scenario() -> None:
        with running() as server:
            async with listening(server.url) as listener:
                before = await known(listener, turn)
                await asyncio.to_thread(server.restart)
                after = await known(listener, turn)
                # In its new session the turn begins somewhere else; that is nobody's business.
                assert after.frames and after.emotion and before.emotion

    run(scenario())


def test_a_server_that_is_too_slow_costs_the_time_that_was_given(turn: bytes) -> None:
    async def scenario() -> None:
        with running() as server:
            async with listening(server.url) as listener:
                await known(listener, turn)
                with held(server):
                    assert await listener.emotion(*say(listener, turn), 0.3) is None
                assert (await known(listener, turn)).complete

    run(scenario())


def test_the_session_ends_with_the_listener_and_is_called_by_its_name(server: Server, turn: bytes) -> None:
    def sessions() -> int:
        with EmotionClient(server.url) as client:
            return int(client.status()["sessions"])

    async def scenario() -> None:
        before = sessions()
        async with listening(server.url) as listener:
            await known(listener, turn)
            assert sessions() == before + 1
        while sessions() != before:
            await asyncio.sleep(0.05)

    run(scenario())


def test_of_several_channels_the_first_is_heard(turn: bytes) -> None:
    async def scenario() -> None:
        got: list[bytes] = []

        class Kept:
            async def send(self, audio: bytes) -> None:
                got.append(audio)

            async def span(self, begin_ms: int, end_ms: int) -> SpanResult:
                raise AssertionError

        @asynccontextmanager
        async def opens(sample_rate: int) -> AsyncIterator[Kept]:
            assert sample_rate == 48_000
            yield Kept()

        listener = TurnListener(opens)
        left = np.arange(960, dtype="<i2")
        listener.hear(np.stack([left, -left], axis=1).tobytes(), 48_000, 2)
        while not got:
            await asyncio.sleep(0.01)
        await listener.close()
        assert got == [left.tobytes()] and listener.heard_ms == 20

    run(scenario())


def test_a_turn_begins_with_its_first_speech_and_never_before_the_turn_before_it() -> None:
    async def scenario() -> None:
        async with listening(f"http://127.0.0.1:{free_port()}") as listener:
            silence, rate = bytes(32_000), RATE  # a second

            def hear(seconds: int) -> None:
                for _ in range(seconds):
                    listener.hear(silence, rate)

            hear(5)
            listener.speech_began(ago_ms=300)
            hear(2)
            listener.speech_began()  # after a pause; it is the same turn
            hear(1)
            assert listener.end_turn() == (4500, 8000)
            listener.speech_began(ago_ms=300)
            hear(1)
            assert listener.end_turn() == (8000, 9000)
            hear(2)
            assert listener.end_turn() == (9000, 11_000), "nobody has told of speech"
            listener.speech_began()
            hear(70)
            assert listener.end_turn() == (21_000, 81_000), "a minute at most"

    run(scenario())


def test_what_is_told_are_the_labels_that_matter() -> None:
    scores = {"angry": 0.31, "happy": 0.2, "neutral": 0.49, "sad": 0.0}
    found = SpanResult(kind="span", raw={}, begin_ms=0, end_ms=10, complete=True, frames=1, scores=scores)
    assert rcs(found) == "([emotion neutral=0.49, angry=0.31, happy=0.20])"
    assert rcs(found, at_least=0.3) == "([emotion neutral=0.49, angry=0.31])"
    assert likely(found, at_least=0.9) == {"neutral": 0.49}
