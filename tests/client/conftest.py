"""A real server for the clients of this folder, and a network in front of it that can break."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from emotion_stream_client import EmotionClient, Event

from tests.client.proxy import Proxy
from tests.conftest import Server
from tests.server.clients import Client
from tests.server.ledger import Ledger, of_client

RATE = 16_000


@pytest.fixture
def server(compact: Server) -> Server:
    return compact


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    network = Proxy(server.port)
    yield network
    network.close()


@pytest.fixture
def client(server: Server) -> Iterator[EmotionClient]:
    with EmotionClient(server.url) as client:
        yield client


@pytest.fixture(scope="session")
def speech(demo_pcm: bytes) -> np.ndarray:
    """The first seconds of the demo recording, PCM16."""
    return np.frombuffer(demo_pcm, "<i2")[: 7 * RATE]


@pytest.fixture(scope="session")
def plain(shared: Server, speech: np.ndarray) -> Ledger:
    """What a plain Socket.IO client is told of `speech`."""
    socket = Client(shared.url)
    try:
        session_id = socket.start()["session_id"]
        socket.speak(speech.tobytes())
        socket.stop()
        return of_client(socket.heard, session_id)
    finally:
        socket.close()


def ledger(events: list[Event]) -> Ledger:
    """The books of the one session that these events are of."""
    sessions = {event.session_id for event in events if event.session_id}
    assert len(sessions) == 1, sessions
    book = of_client([(event.kind, event.raw) for event in events], sessions.pop())
    book.balance()
    return book
