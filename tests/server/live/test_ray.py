"""A server whose model runs on a Ray cluster: scores as from here, and a replica dies under streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stream.types import EmotionModel
from tests.conftest import Server
from tests.ray_cluster import RayCluster, ray_cluster
from tests.server import ledger
from tests.server.clients import Client
from tests.server.conftest import metrics, no_traceback, running
from tests.server.live.test_replicas import all_up, nobody_notices
from tests.server.live.test_scores import from_file, streamed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as started:
        yield started


class on(running):
    """`with on(cluster, model__name="fake") as server:` has two replicas there."""

    def __init__(self, cluster: RayCluster, **settings: object) -> None:
        super().__init__(
            engine__kind="ray", engine__ray_address=cluster.address, engine__replicas=2, **settings
        )

    def __enter__(self) -> Server:
        server = super().__enter__()
        all_up(server)
        return server


def test_neither_cutting_nor_company_nor_the_cluster_changes_a_score(
    cluster: RayCluster, connect: Connect, demo_pcm: bytes, demo_samples: np.ndarray, model: EmotionModel
) -> None:
    audio = demo_pcm[: 4 * 32_000]
    with on(cluster, model__device="cpu", model__runtime="torch") as server:
        cuts = [32_000, 3_200, 640, 7_777, 12_345, 1_001]  # bytes, on no grid
        with ThreadPoolExecutor(len(cuts)) as pool:
            books = list(pool.map(lambda cut: streamed(connect(server), audio, cut), cuts))
        found = metrics(server)
        assert all(found[f'emotion_replica_windows_total{{replica="{i}"}}'] > 0 for i in (0, 1))
    expected = from_file(demo_samples[: len(audio) // 2], model)
    for book in books:
        ledger.same(book, expected)


def test_kill_minus_9_of_a_worker_under_twenty_streams_costs_no_frame(
    cluster: RayCluster, connect: Connect, demo_pcm: bytes
) -> None:
    with on(cluster, model__name="fake") as server:
        with nobody_notices(server, connect, demo_pcm, streams=20, seconds=12):
            for n, victim in enumerate(cluster.actors(), 1):
                victim.kill()
                assert server.get("/readyz")[0] == 200
                all_up(server, restarts=n)
        found = metrics(server)
        assert found["emotion_engine_restarts_total"] == 2
        no_traceback(server.log())
