"""When something has to give, it is named: each frame of speech is scored once or lost once, with its reason."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client
from tests.server.conftest import EVENTLET_FIRST, engine_of, held, no_traceback, running

Connect = Callable[..., Client]

SMALL = {"stream__ring_s": 2, "limits__max_ahead_s": 1, "limits__max_chunk_s": 1, "limits__resume_s": 0}


def books(client: Client, session_id: str) -> ledger.Ledger:
    book = ledger.of_client(client.heard, session_id)
    book.balance()
    return book


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def hasty(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that gives up after 0.5 s, and whose engine takes one window at a time."""
    with running(
        model__name="fake",
        server__async_mode=request.param,
        engine__deadline_ms=500,
        engine__max_queue=1,
        limits__max_chunk_s=10,
    ) as server:
        yield server
        no_traceback(server.log())


@pytest.mark.slow
def test_speech_that_the_model_does_not_answer_for_is_lost_as_a_timeout(
    hasty: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(hasty)
    session_id = client.start()["session_id"]
    with held(hasty):
        client.speak(demo_pcm[: 2 * 32_000])
        client.wait_for("lost")
    client.speak(demo_pcm[2 * 32_000 : 5 * 32_000])
    summary = client.stop()
    book = books(client, session_id)
    assert set(book.lost.values()) == {"INFERENCE_TIMEOUT"}
    assert summary["lost_ms"] == 10 * len(book.lost)
    assert summary["frames"] == len(book.scored) > 0, "after the model came back there were scores"


def test_speech_that_finds_the_engine_full_is_lost_as_overload(
    hasty: Server, connect: Connect, demo_pcm: bytes
) -> None:
    clients = [connect(hasty) for _ in range(3)]
    ids = [client.start()["session_id"] for client in clients]
    with held(hasty):
        for client in clients:
            client.speak(demo_pcm[: 2 * 32_000])
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda client: client.speak(demo_pcm[64_000 : 7 * 32_000], cut=3200), clients))
        list(pool.map(Client.stop, clients))
    codes = set()
    for client, session_id in zip(clients, ids, strict=True):
        codes |= set(books(client, session_id).lost.values())
    assert "OVERLOADED" in codes <= {"OVERLOADED", "INFERENCE_TIMEOUT"}


@pytest.mark.slow
def test_speech_older_than_the_ring_is_lost_as_overload(connect: Connect, demo_pcm: bytes) -> None:
    with running(model__name="fake", **SMALL) as server:
        client = connect(server)
        session_id = client.start()["session_id"]
        with held(server):
            client.speak(demo_pcm[: 4 * 32_000], cut=9_600, pace=1.2)
        client.speak(demo_pcm[4 * 32_000 : 5 * 32_000], cut=9_600, pace=1)
        client.stop()
        book = books(client, session_id)
        assert set(book.lost.values()) == {"OVERLOADED"}
        assert len(book.scored) > 200, "what the ring still held was scored"
        no_traceback(server.log())


@pytest.mark.slow
def test_every_frame_is_accounted_for_when_everything_goes_wrong_at_random(
    connect: Connect, demo_pcm: bytes
) -> None:
    """Model halted, resumed and killed while five people speak at different paces into tiny buffers."""
    tight = {**SMALL, "engine__max_queue": 3}
    with running(model__name="fake", engine__deadline_ms=700, **tight) as server:
        clients = [connect(server) for _ in range(5)]
        ids = [client.start()["session_id"] for client in clients]
        dice = random.Random(5)
        with ThreadPoolExecutor(5) as pool:
            speaking = [
                pool.submit(client.speak, demo_pcm[: 10 * 32_000], cut, pace=1)
                for client, cut in zip(clients, (640, 1_601, 3_200, 9_600, 16_001), strict=True)
            ]
            while not all(done.done() for done in speaking):
                engine = engine_of(server)
                with contextlib.suppress(psutil.NoSuchProcess):  # that was the last one, on its way out
                    engine.send_signal(signal.SIGSTOP)
                    time.sleep(dice.uniform(0.05, 1.2))
                    engine.send_signal(signal.SIGKILL if dice.random() < 0.3 else signal.SIGCONT)
                time.sleep(dice.uniform(0.05, 0.5))
            for done in speaking:
                done.result()
            assert not any(client.of("error") for client in clients)
        codes = set()
        for client, session_id in zip(clients, ids, strict=True):
            summary = client.stop()
            book = books(client, session_id)
            codes |= set(book.lost.values())
            assert (summary["frames"], summary["lost_ms"]) == (len(book.scored), 10 * len(book.lost))
        assert codes <= {"OVERLOADED", "INFERENCE_TIMEOUT", "INFERENCE_FAILED"}
        no_traceback(server.log())
