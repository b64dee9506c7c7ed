"""Servers shared by the tests of this folder, in both modes, and clients that are closed afterwards.

A test that uses `server` or `compact` also proves that the server's log shows no traceback.
"""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from server.config import Config
from stream.models.registry import load_model
from stream.types import EmotionModel
from tests.conftest import ROOMY as ROOMY
from tests.conftest import Server
from tests.conftest import no_traceback as no_traceback
from tests.server.clients import Client, Raw, eventually

MODES = ("eventlet", "threading")
EVENTLET_FIRST = ("eventlet", pytest.param("threading", marks=pytest.mark.slow))


def metrics(server: Server) -> dict[str, float]:
    """What a scrape gives: `name{labels}` → value; of several workers, their sum."""
    told: dict[str, float] = {}
    for line in server.get("/metrics")[1].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = re.sub(r',?worker="\d+"', "", name).replace("{}", "").replace("{,", "{")
            told[name] = told.get(name, 0.0) + float(value)
    return told


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


@pytest.fixture
def server(_fake: Server) -> Iterator[Server]:
    """A server whose model can be computed by hand, in each of the modes."""
    before = len(_fake.log())
    yield _fake
    no_traceback(_fake.log()[before:])


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
    """The embedded model, here in the test's own process, as the server loads it."""
    import torch

    torch.set_num_threads(1)
    return load_model("compact", "cpu", Config().model.options)


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
