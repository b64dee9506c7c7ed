"""Servers shared by the tests of this folder, in both modes, and clients that are closed afterwards.

A test that uses `server` or `compact` also proves that the server's log shows no traceback.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from stream.models.registry import load_model
from stream.types import EmotionModel
from tests.conftest import Server
from tests.server.clients import Client, Raw, eventually

MODES = ("eventlet", "threading")
EVENTLET_FIRST = ("eventlet", pytest.param("threading", marks=pytest.mark.slow))

# Room for whole recordings sent at once; what is refused for its pace is tested with other servers.
ROOMY: dict[str, Any] = {
    "limits__max_ahead_s": 150,
    "stream__ring_s": 160,
    "limits__messages_per_s": 100_000,
    "limits__max_sessions_per_connection": 20,
}


def metrics(server: Server) -> dict[str, float]:
    """What a scrape gives: `name{labels}` → value."""
    lines = [x for x in server.get("/metrics")[1].splitlines() if x and not x.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def no_traceback(log: str) -> None:
    assert "Traceback" not in log and "INTERNAL" not in log, log[-4000:]


def children_of(server: Server, module: str) -> list[psutil.Process]:
    """The server's child processes that run `module`."""
    found = []
    for child in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if module in child.cmdline():
                found.append(child)
    return found


def ended(process: psutil.Process) -> bool:
    """Whether it is no more, or only waits to be collected."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def engine_of(server: Server) -> psutil.Process:
    """The process that holds the model."""
    child: psutil.Process = eventually(
        lambda: next(iter(children_of(server, "server.engine.worker")), None), "there is an engine"
    )
    return child


class held:
    """`with held(server):` the model answers nothing."""

    def __init__(self, server: Server) -> None:
        self._engine = engine_of(server)

    def __enter__(self) -> None:
        self._engine.send_signal(signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        self._engine.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session", params=EVENTLET_FIRST)
def _fake(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(model__name="fake", server__async_mode=request.param, **ROOMY) as server:
        yield server


@pytest.fixture(scope="session")
def _compact() -> Iterator[Server]:
    with running(**ROOMY) as server:
        yield server


@pytest.fixture
def server(_fake: Server) -> Iterator[Server]:
    """A server whose model can be computed by hand, in each of the modes."""
    yield from _watched(_fake)


@pytest.fixture
def compact(_compact: Server) -> Iterator[Server]:
    """A server with the embedded model."""
    yield from _watched(_compact)


def _watched(server: Server) -> Iterator[Server]:
    before = len(server.log())
    yield server
    no_traceback(server.log()[before:])


class running:
    """`with running(limits__max_sessions=1) as server:` stops it afterwards, whatever happened."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def __enter__(self) -> Server:
        self._server = Server(**self._settings)
        return self._server

    def __exit__(self, *_: object) -> None:
        self._server.stop()


@pytest.fixture(scope="session")
def model() -> EmotionModel:
    """The embedded model, here in the test's own process."""
    import torch

    torch.set_num_threads(1)
    return load_model("compact", "cpu")


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Clients of a server: `connect(server)`."""
    clients: list[Client] = []

    def one(server: Server, **options: Any) -> Client:
        clients.append(Client(server.url, **options))
        return clients[-1]

    yield one
    for client in clients:
        client.close()


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    """WebSockets to a server: `raw(server)`."""
    sockets: list[Raw] = []

    def one(server: Server, **options: Any) -> Raw:
        sockets.append(Raw(server.port, **options))
        return sockets[-1]

    yield one
    for socket in sockets:
        socket.close()
