"""Several workers and several model processes at once: one of these is killed, and the figures of all add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server import ledger
from tests.server.clients import Client
from tests.server.conftest import children_of, metrics, no_traceback, running
from tests.server.live.test_replicas import all_up


@pytest.mark.slow
def test_a_replica_dies_under_streams_of_two_workers(connect: Callable[..., Client], demo_pcm: bytes) -> None:
    with running(model__name="fake", server__workers=2, engine__replicas=2) as server:
        all_up(server)
        clients = [connect(server) for _ in range(12)]
        ids = [client.start()["session_id"] for client in clients]
        with ThreadPoolExecutor(len(clients)) as pool:
            speaking = [pool.submit(c.speak, demo_pcm[: 9 * 32_000], 3_200, 1) for c in clients]
            for client in clients:
                client.wait_for("emotion_result")
            children_of(server, "server.engine.worker")[0].kill()
            for done in speaking:
                done.result()
        for client, session_id in zip(clients, ids, strict=True):
            summary = client.stop(session_id=session_id)
            book = ledger.of_client(client.heard, session_id)
            book.balance()
            assert summary["frames"] == len(book.scored) > 500 and not book.lost
        all_up(server, restarts=1)
        assert len(json.loads(server.get("/api/v1/status")[1])["replicas"]) == 2
        found = metrics(server)
        each = [found[f'emotion_replica_windows_total{{replica="{i}"}}'] for i in (0, 1)]
        assert sum(each) == found["emotion_batch_windows_sum"]
        assert found["emotion_engine_restarts_total"] == 1
        no_traceback(server.log())
