"""A real Redis, and servers that are one service by it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import redis

from tests.conftest import ROOMY, Server, free_port
from tests.server.clients import eventually
from tests.server.conftest import metrics, no_traceback, running

REDIS_SERVER = shutil.which("redis-server")
PASSWORD = "open-sesame-4711"


class Redis:
    """`redis-server` with a password, without files; `stop` and `start` as an operator would."""

    def __init__(self, bind: str) -> None:
        self.port, self._bind = free_port(), bind
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        assert REDIS_SERVER is not None
        options = f"--port {self.port} --bind {self._bind} --save '' --requirepass {PASSWORD}"
        self.process = subprocess.Popen(
            [REDIS_SERVER, *(word.strip("'") for word in options.split())],
            cwd=tempfile.gettempdir(),
            stdout=subprocess.DEVNULL,
        )
        eventually(self._answers, "Redis answers", 30)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It answers nobody, and its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def names(self) -> list[str]:
        """Of what is in it."""
        return sorted(key.decode() for key in self.client.scan_iter())

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


@contextlib.contextmanager
def a_redis(bind: str = "127.0.0.1") -> Iterator[Redis]:
    if REDIS_SERVER is None:
        pytest.skip("there is no redis-server (Debian: redis-server)")
    it = Redis(bind)
    try:
        yield it
    finally:
        it.stop()


@contextlib.contextmanager
def service(store: Redis, n: int = 2, **settings: Any) -> Iterator[list[Server]]:
    """Servers that know each other; none of their logs has a traceback or the password."""
    with contextlib.ExitStack() as stack:
        settings = {"model__name": "fake", "redis__url": store.url, "redis__timeout_s": 3, **settings}
        servers = [stack.enter_context(running(**settings)) for _ in range(n)]
        together(servers)
        yield servers
        for server in servers:
            no_traceback(server.log())
            assert PASSWORD not in server.log()


def lost(server: Server) -> None:
    """The machine is gone: all its processes at once."""
    parent = psutil.Process(server.process.pid)
    for process in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def together(servers: list[Server]) -> None:
    """All know of each other."""
    for server in servers:
        eventually(lambda s=server: metrics(s)["emotion_servers"] >= len(servers), "they have met", 30)  # type: ignore[misc]


@pytest.fixture
def store() -> Iterator[Redis]:
    with a_redis() as it:
        yield it


@pytest.fixture(scope="module")
def _pair() -> Iterator[list[Server]]:
    with a_redis() as it, service(it, **ROOMY) as servers:
        yield servers


@pytest.fixture
def pair(_pair: list[Server]) -> Iterator[list[Server]]:
    """Two servers whose model can be computed by hand."""
    yield _pair
    for server in _pair:
        no_traceback(server.log())
