"""Several workers and several model processes at once: one of these is killed, and the figures of all add up."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.server.clients import Client
from tests.server.conftest import children_of, metrics, no_traceback, running
from tests.server.live.test_replicas import all_up, nobody_notices


@pytest.mark.slow
def test_a_replica_dies_under_streams_of_two_workers(connect: Callable[..., Client], demo_pcm: bytes) -> None:
    with running(model__name="fake", server__workers=2, engine__replicas=2) as server:
        all_up(server)
        with nobody_notices(server, connect, demo_pcm, streams=12, seconds=9):
            children_of(server, "server.engine.worker")[0].kill()
        all_up(server, restarts=1)
        assert len(json.loads(server.get("/api/v1/status")[1])["replicas"]) == 2
        found = metrics(server)
        each = [found[f'emotion_replica_windows_total{{replica="{i}"}}'] for i in (0, 1)]
        assert sum(each) == found["emotion_batch_windows_sum"]
        assert found["emotion_engine_restarts_total"] == 1
        no_traceback(server.log())
