"""`connect` of the whole folder: clients that come through the plain door. Tests of Socket.IO run here, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Server
from tests.server.doors.plain import PlainClient


@pytest.fixture
def connect() -> Iterator[Callable[..., PlainClient]]:
    clients: list[PlainClient] = []

    def one(server: Server, **options: Any) -> PlainClient:
        clients.append(PlainClient(server.url, **options))
        return clients[-1]

    yield one
    for client in clients:
        client.close()
