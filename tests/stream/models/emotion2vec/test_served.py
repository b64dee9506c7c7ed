"""The live path with emotion2vec at a small size: what holds for the embedded model holds for it too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, cuttings
from tests.server.conftest import ROOMY, engine_of, no_traceback, running
from tests.server.live.test_scores import from_file, streamed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Server]:
    settings: dict[str, Any] = {
        **ROOMY,
        "engine__deadline_ms": 60_000,
        "model__precision": "float32",
        "model__prior": "balanced",
    }
    with running(model__name=str(folder), model__device="cpu", **settings) as server:
        yield server
        no_traceback(server.log())


@pytest.fixture
def audio(demo_pcm: bytes) -> bytes:
    return demo_pcm[: 8 * 32_000]


def heard(server: Server, audio: bytes, cut: Any = 32_000) -> ledger.Ledger:
    client = Client(server.url)
    try:
        return streamed(client, audio, cut)
    finally:
        client.close()


def expected(audio: bytes, ours: Any) -> ledger.Ledger:
    return from_file(np.frombuffer(audio, "<i2").astype(np.float32) / 32768, ours)


def test_streaming_equals_the_file_however_it_is_cut(served: Server, audio: bytes, ours: Any) -> None:
    book = expected(audio, ours)
    for sizes in cuttings(len(audio), n=4, longest=64_000):
        ledger.same(heard(served, audio, sizes), book)


def test_who_else_is_served_changes_nothing(served: Server, demo_pcm: bytes, ours: Any) -> None:
    stretches = [demo_pcm[at : at + 5 * 32_000] for at in range(0, 15 * 32_000, 5 * 32_000)]
    with ThreadPoolExecutor(len(stretches)) as pool:
        books = list(pool.map(lambda stretch: heard(served, stretch), stretches))
    for stretch, book in zip(stretches, books, strict=True):
        ledger.same(book, expected(stretch, ours))


def test_a_killed_model_loses_nothing_and_changes_no_score(served: Server, audio: bytes, ours: Any) -> None:
    client, engine = Client(served.url), engine_of(served)
    try:
        session_id = client.start()["session_id"]
        client.speak(audio[: 3 * 32_000])
        engine.kill()
        client.speak(audio[3 * 32_000 :], cut=9_600)
        assert client.stop()["lost_ms"] == 0
        ledger.same(ledger.of_client(client.heard, session_id), expected(audio, ours))
    finally:
        client.close()
