"""One process's part in a service of several servers: what `server.app` starts, asks and ends."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from server.cluster.link import RedisLink
from server.cluster.member import Member
from server.cluster.mirror import Mirror
from server.cluster.register import REMAINS_S, Register
from server.config import Config
from server.counts import SharedCounts
from server.engine.child import private_folder
from server.live.elsewhere import Elsewhere
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict


class Service:
    """`member` asks the others, `register` knows whose sessions are."""

    def __init__(self, config: Config, counts: SharedCounts, server: str, process: str) -> None:
        """`server`, `process`: as of Member. Raises ConfigError."""
        ttl_s = config.limits.resume_s + REMAINS_S
        self._link = RedisLink(config.redis)
        self._folder: str | None = None
        self.member = Member(self._link, server, process, counts)
        self.mirror = Mirror(self._link, self.member.me, ttl_s)
        self.register = Register(self._link, self.member, self.mirror, ttl_s)
        self.member.on_beat = self.register.refresh

    @staticmethod
    def new_name() -> str:
        """Of a server."""
        return secrets.token_hex(8)

    def of_one_process(self) -> Elsewhere:
        """For a server without workers: the files of its trails are in a folder of its own."""
        self._folder = private_folder()
        return Elsewhere(Path(self._folder), "only", lambda question, fields: {}, self.register)

    def serve(self, sessions: Sessions, metrics: Metrics) -> None:
        """What others may ask for, and what is told of it."""

        def release(asked: JsonDict) -> JsonDict:
            try:
                return {"events": sessions.release(asked["token"], asked["received"], far=True)}
            except KeyError:
                return {}

        self.member.questions.answering["release"] = release
        self.register.on_taken = sessions.taken_over
        metrics.watch_redis(lambda: self._link.up, lambda: self.member.servers)

    def start(self) -> None:
        self.mirror.start()
        self.member.start()

    def close(self) -> None:
        """After the sessions have ended."""
        self.mirror.close()
        self.member.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def degraded(self) -> str | None:
        """Why this server is alone; None when it is one with the others."""
        return self._link.error

    def status(self, sessions: int) -> JsonDict:
        """For /api/v1/status; `sessions`: of this server."""
        return {
            "redis": self._link.up,
            "servers": self.member.servers,
            "sessions": sessions + self.member.others("sessions"),
        }
