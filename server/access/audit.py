"""The audit log: who asked for what, from where, and whether they were let in. No audio, no scores, no keys.

A line of JSON for each, only ever appended to `access.audit_file`, by a thread of its own: nobody waits for the
disk. The file is opened anew for each batch, so that it may be moved away at any time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from server.access.identity import Identity, Scope
from server.peer import peer
from server.rate_limit import TokenBucket
from stream.types import JsonDict

WAITING = 10_000  # lines; what comes on top is counted
WRITE_S = 1.0
REFUSED_PER_S, REFUSED_BURST = 2.0, 100  # lines of strangers: they do not fill the disk
LONGEST = 200  # of an address that was asked for

log = logging.getLogger("access")


class AuditLog:
    """May be used from any thread."""

    def __init__(self, path: Path | None) -> None:
        """`path` None: nothing is written."""
        self._path = path
        self._lines: deque[JsonDict] = deque()
        self._left_out = 0
        self._refused = TokenBucket(REFUSED_PER_S, REFUSED_BURST, time.monotonic())
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._complained = False

    def start(self) -> None:
        if self._path is not None:
            self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write down what there is."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def tell(
        self, environ: Mapping[str, Any], scope: Scope | None, who: Identity | None, result: str
    ) -> None:
        """Somebody asked for `scope`, as `who`, and was let in (`ok`) or refused by a code."""
        if self._path is None:
            return
        with self._lock:
            room = len(self._lines) < WAITING
            if not room or (who is None and not self._refused.take(1, time.monotonic())):
                self._left_out += 1
                return
            asked = (environ.get(name, "") for name in ("REQUEST_METHOD", "PATH_INFO"))  # a call has neither
            what = " ".join(asked).strip()[:LONGEST]
            about = {} if who is None else _of(who)
            self._lines.append(entry(what, peer(environ), scope=scope, **about, result=result))

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._stop.wait(WRITE_S)
            self._write()

    def _write(self) -> None:
        assert self._path is not None
        with self._lock:
            lines, self._lines = self._lines, deque()
            left_out, self._left_out = self._left_out, 0
        if left_out:
            lines.append(entry("", "", left_out=left_out))
        if not lines:
            return
        try:
            append(self._path, lines)
            self._complained = False
        except OSError as broken:
            if not self._complained:
                log.error("the audit log cannot be written: %s", broken.strerror)
            self._complained = True
            with self._lock:
                self._left_out += len(lines)


def entry(what: str, origin: str, **more: Any) -> JsonDict:
    """A line of now."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"at": at, "from": origin, "what": what, **more}


def append(path: Path, lines: deque[JsonDict] | list[JsonDict]) -> None:
    """In one write, so that lines of several processes do not mix. Raises OSError."""
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _of(who: Identity) -> JsonDict:
    told: JsonDict = {"tenant": who.tenant, "key": who.key, "name": who.name}
    return {**told, "by_token": True} if who.by_token else told
