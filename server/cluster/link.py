"""The way to the service's Redis. While that is away nothing waits for it, and each server goes on alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from server.config import ConfigError, RedisSection

log = logging.getLogger("cluster")

T = TypeVar("T")

AWAY = "Redis does not answer"
CONNECTIONS = 16  # to Redis, of one process


class Away(Exception):
    """Redis does not answer."""


class RedisLink:
    """May be used from any thread. `on_joined` are called when Redis answers, the first time and again."""

    def __init__(self, settings: RedisSection) -> None:
        """Raises ConfigError where the client of Redis is not installed, or the URL cannot be read."""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise ConfigError(
                "redis.url needs the client of Redis, which is not installed: ./run.sh install redis, or"
                " pip install 'emotion-stream[redis]'"
            ) from None
        self._broken = (redis.RedisError, OSError)
        try:
            pool = redis.BlockingConnectionPool.from_url(
                settings.url,
                max_connections=CONNECTIONS,
                timeout=settings.timeout_s,
                socket_timeout=settings.timeout_s,
                socket_connect_timeout=settings.timeout_s,
                retry=Retry(NoBackoff(), 0),  # what has failed is put right when Redis is back, all at once
                protocol=2,
            )
        except ValueError:
            raise ConfigError(
                "redis.url cannot be read; expected redis://user:password@host:6379/0"
            ) from None
        self.client: Any = redis.Redis(connection_pool=pool)
        self.prefix = settings.prefix
        self.on_joined: list[Callable[[], None]] = []
        self.error: str | None = "Redis has not answered yet"  # why it is alone, for everybody to read
        self._joined = 0  # so often
        self._lock = threading.Lock()

    @property
    def up(self) -> bool:
        return self.error is None

    def key(self, kind: str, name: str = "") -> str:
        return f"{self.prefix}{kind}:{name}" if name else f"{self.prefix}{kind}"

    def run(self, do: Callable[[Any], T]) -> T:
        """What `do` gives, which is given the client. Raises Away."""
        joined = self._joined
        if not self.up:
            raise Away
        try:
            return do(self.client)
        except self._broken as wrong:
            if joined == self._joined:  # and not what was under way when it was lost before
                self._lose(wrong)
            raise Away from wrong

    def try_to_join(self) -> bool:
        """Whether Redis answers now, when it was away."""
        try:
            self.client.ping()
        except self._broken as wrong:
            self._lose(wrong)
            return False
        with self._lock:
            self._joined += 1
            self.error = None
        log.info("Redis answers: this server is one with the others")
        for do in self.on_joined:
            do()
        return True

    def _lose(self, wrong: Exception) -> None:
        with self._lock:
            known, self.error = self.error, AWAY
        if known != AWAY:
            log.warning("Redis does not answer (%s): this server goes on alone", wrong)
