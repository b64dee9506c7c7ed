"""A server whose model runs in two processes: scores as from one, and one of them dies under streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from stream.types import EmotionModel
from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import MODES, children_of, metrics, no_traceback, running
from tests.server.live.test_scores import from_file, streamed

Connect = Callable[..., Client]


def all_up(server: Server, restarts: int = 0) -> None:
    def up() -> bool:
        status = json.loads(server.get("/api/v1/status")[1])
        return status["engine_restarts"] == restarts and all(one["up"] for one in status["replicas"])

    eventually(up, "all replicas answer", 60)


@contextmanager
def nobody_notices(
    server: Server, connect: Connect, demo_pcm: bytes, streams: int, seconds: int
) -> Iterator[None]:
    """Whatever is done meanwhile, while so many speak in real time: every frame is scored, none is lost."""
    clients = [connect(server) for _ in range(streams)]
    ids = [client.start()["session_id"] for client in clients]
    with ThreadPoolExecutor(len(clients)) as pool:
        speaking = [
            pool.submit(client.speak, demo_pcm[32_000 * (i % 4) :][: seconds * 32_000], 3_200, 1)
            for i, client in enumerate(clients)
        ]
        for client in clients:
            client.wait_for("emotion_result")
        yield
        for done in speaking:
            done.result()
    for client, session_id in zip(clients, ids, strict=True):
        summary = client.stop(session_id=session_id)
        book = ledger.of_client(client.heard, session_id)
        book.balance()
        assert summary["frames"] == len(book.scored) > 500 and not book.lost
        assert client.connected and not client.of("error")


@pytest.mark.slow
def test_neither_cutting_nor_company_nor_the_replica_changes_a_score(
    connect: Connect, demo_pcm: bytes, demo_samples: np.ndarray, model: EmotionModel
) -> None:
    audio = demo_pcm[: 4 * 32_000]
    with running(engine__replicas=2, model__device="cpu") as server:
        all_up(server)
        cuts = [32_000, 3_200, 640, 7_777, 12_345, 1_001]  # bytes, on no grid
        with ThreadPoolExecutor(len(cuts)) as pool:
            books = list(pool.map(lambda cut: streamed(connect(server), audio, cut), cuts))
        found = metrics(server)
        assert all(found[f'emotion_replica_windows_total{{replica="{i}"}}'] > 0 for i in (0, 1))
    expected = from_file(demo_samples[: len(audio) // 2], model)
    for book in books:
        ledger.same(book, expected)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_kill_minus_9_of_a_replica_under_twenty_streams_costs_no_frame(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    with running(model__name="fake", server__async_mode=mode, engine__replicas=2) as server:
        all_up(server)
        with nobody_notices(server, connect, demo_pcm, streams=20, seconds=9):
            for n, victim in enumerate(children_of(server, "server.engine.worker"), 1):
                assert server.get("/readyz")[0] == 200
                victim.kill()
                assert server.get("/readyz")[0] == 200
                all_up(server, restarts=n)
        found = metrics(server)
        assert found["emotion_engine_restarts_total"] == 2
        assert [found[f'emotion_replica_restarts_total{{replica="{i}"}}'] for i in (0, 1)] == [1, 1]
        no_traceback(server.log())
