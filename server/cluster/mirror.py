"""Trails of sessions, kept in Redis as well: the bytes of each file as a string, written by all sessions together.

A client is told nothing before Redis has what another server would need to know of it: what is to be told waits
in `then`, for the few milliseconds that a round of writing takes. While Redis is away nothing waits for it; when
it is back, all trails are written anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from server.cluster.link import Away, RedisLink

log = logging.getLogger("cluster")

GATHER_S = 0.008  # for which the first who writes waits for others: a round costs more than what is in it

# Forget a session's trail, and whose the session is, if it is this process's still. KEYS: at, trail; ARGV: me.
LET_GO = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end redis.call('DEL', KEYS[2])"
)


@dataclass
class _Writing:
    """What is to be written of one trail."""

    whole: bytes | None = None
    head: bytes | None = None
    parts: list[tuple[int, bytes]] = field(default_factory=list)  # one follows the other
    removed: bool = False


class Mirror:
    """May be used from any thread, and only `settle` waits. A trail is called by the hash of its token."""

    def __init__(self, link: RedisLink, me: str, ttl_s: float) -> None:
        """`me`: this process among all; after `ttl_s` what a dead one has left is gone."""
        self._link, self._me, self._ttl_ms = link, me, round(1000 * ttl_s)
        self._lock = threading.Lock()
        self._writing: dict[str, _Writing] = {}
        self._after: list[Callable[[], None]] = []
        self._files: dict[str, Path] = {}
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        link.on_joined.append(self._write_all_anew)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join()

    @property
    def names(self) -> list[str]:
        """Of the trails that are written here."""
        with self._lock:
            return list(self._files)

    def replaced(self, file: Path, data: bytes) -> None:
        """A trail begins, or is written anew."""
        with self._lock:
            self._files[file.stem] = file
            self._writing[file.stem] = _Writing(whole=data)
        self._wake.set()

    def wrote(self, file: Path, at: int, data: bytes) -> None:
        with self._lock:
            if file.stem not in self._files:
                return
            writing = self._writing.setdefault(file.stem, _Writing())
            if at:
                writing.parts.append((at, data))
            else:
                writing.head = data
        self._wake.set()

    def removed(self, file: Path) -> None:
        """The session is over."""
        with self._lock:
            if self._files.pop(file.stem, None) is not None:
                self._writing[file.stem] = _Writing(removed=True)
        self._wake.set()

    def left(self, file: Path) -> None:
        """Another process goes on with it: nothing more of it is written here."""
        with self._lock:
            self._files.pop(file.stem, None)

    def then(self, do: Callable[[], None]) -> None:
        """When all that was written before is in Redis, or Redis is away. In order."""
        with self._lock:
            if not self._closing:
                self._after.append(do)
                self._wake.set()
                return
        do()

    def settle(self) -> None:
        """Wait for that."""
        done = threading.Event()
        self.then(done.set)
        done.wait()

    def key(self, name: str, owner: str) -> str:
        return self._link.key("trail", f"{name}:{owner}")

    def _write_all_anew(self) -> None:
        with self._lock:
            files = list(self._files.items())
            for name, file in files:
                try:  # what is written to the file from now on is written once more, at the same place
                    self._writing[name] = _Writing(whole=file.read_bytes())
                except OSError:
                    self._files.pop(name)
        self._wake.set()

    def _run(self) -> None:
        while not self._closing or self._writing or self._after:
            self._wake.wait()
            self._wake.clear()
            if self._link.up and not self._closing:
                time.sleep(GATHER_S)
            with self._lock:
                writing, self._writing = self._writing, {}
                after, self._after = self._after, []
            if writing:
                with suppress(Away):  # then it will all be written anew
                    self._link.run(partial(self._send, writing))
            for do in after:
                try:
                    do()
                except Exception:  # one session's fault must not keep the others waiting
                    log.exception("a session could not be told that its trail is kept")

    def _send(self, writing: dict[str, _Writing], redis: Any) -> None:
        with redis.pipeline(transaction=True) as pipe:
            for name, what in writing.items():
                at, trail = self._link.key("at", name), self.key(name, self._me)
                if what.removed:
                    pipe.eval(LET_GO, 2, at, trail, self._me)
                    continue
                if what.whole is not None:
                    pipe.set(trail, what.whole, px=self._ttl_ms)
                    pipe.set(at, self._me, px=self._ttl_ms)
                if what.head is not None:
                    pipe.setrange(trail, 0, what.head)
                if what.parts:
                    pipe.setrange(trail, what.parts[0][0], b"".join(data for _, data in what.parts))
            pipe.execute()
