"""What the holders of keys have had: sessions that are open, audio of a day, recordings of an hour.

It stands in a SQLite file beside the results, so that all workers add to the same figures and a restart forgets
none. Only keys that have limits are counted: whoever has none never waits for the disk.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.access.identity import Identity
from server.config import ConfigError
from server.errors import ClientError

FILE = ".usage.sqlite3"
HOUR_S, DAY_S = 3600, 86_400
BUSY_S = 1.0  # another worker writes for microseconds
_TABLES = """
CREATE TABLE IF NOT EXISTS open (worker INTEGER, key TEXT, n INTEGER, PRIMARY KEY (worker, key));
CREATE TABLE IF NOT EXISTS spent (token TEXT PRIMARY KEY, until REAL);
CREATE TABLE IF NOT EXISTS used (key TEXT, what TEXT, period INTEGER, amount REAL, PRIMARY KEY (key, what));
"""

log = logging.getLogger("access")


class Usage:
    """May be used from any thread."""

    def __init__(self, folder: Path | None, worker: int = 0, n_workers: int = 1) -> None:
        """`folder` None: there are no keys, and nothing is counted. Raises ConfigError."""
        self._worker, self._n_workers = worker, n_workers
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                folder / FILE, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLES}")
            self._db.execute("DELETE FROM open WHERE worker = ?", (worker,))  # who was here before has ended
        except (OSError, sqlite3.Error) as broken:
            raise ConfigError(f"{folder / FILE}: cannot be written: {broken}") from None

    def open_session(self, identity: Identity, again: bool = False) -> None:
        """One more. `again`: it was open before, in another worker. Raises ClientError."""
        limits = identity.limits
        if limits.audio_minutes_per_day is not None and not again:
            self._take(identity.key, "audio_s", DAY_S, 0, 60 * limits.audio_minutes_per_day)
        if limits.sessions is None:
            return
        with self._changing() as db:
            found = "SELECT coalesce(sum(n), 0) FROM open WHERE key = ? AND worker < ?"
            (n,) = db.execute(found, (identity.key, self._n_workers)).fetchone()
            if n >= limits.sessions and not again:
                raise ClientError(
                    "TOO_MANY_SESSIONS",
                    f"this key has the {limits.sessions} sessions that it may have; stop one first",
                )
            self._count(db, identity.key, 1)

    def close_session(self, identity: Identity) -> None:
        if identity.limits.sessions is not None:
            with self._changing() as db:
                self._count(db, identity.key, -1)

    def audio(self, identity: Identity, seconds: float) -> None:
        """So much more was heard. Raises ClientError QUOTA_EXCEEDED once it is too much."""
        most = identity.limits.audio_minutes_per_day
        if most is not None:
            self._take(identity.key, "audio_s", DAY_S, seconds, 60 * most, anyway=True)

    def upload(self, identity: Identity) -> None:
        """Another recording comes. Raises ClientError QUOTA_EXCEEDED."""
        if identity.limits.uploads_per_hour is not None:
            self._take(identity.key, "uploads", HOUR_S, 1, identity.limits.uploads_per_hour)

    def upload_bytes(self, identity: Identity, n: int) -> None:
        """So much of one has come. Raises ClientError QUOTA_EXCEEDED."""
        most = identity.limits.upload_mb_per_day
        if most is not None:
            self._take(identity.key, "upload_bytes", DAY_S, n, 1e6 * most)

    def spend(self, token: str, until: float) -> bool:
        """Use a token that is good for once, and for nothing after `until`; False when it was used before."""
        with self._changing() as db:
            db.execute("DELETE FROM spent WHERE until < ?", (time.time(),))
            return db.execute("INSERT OR IGNORE INTO spent VALUES (?, ?)", (token, until)).rowcount == 1

    def _take(
        self, key: str, what: str, period_s: int, amount: float, most: float, anyway: bool = False
    ) -> None:
        """`anyway`: it has been had already, and is counted even where it is too much."""
        now = time.time()
        period = int(now // period_s)
        with self._changing() as db:
            found = "SELECT amount FROM used WHERE key = ? AND what = ? AND period = ?"
            (had,) = db.execute(found, (key, what, period)).fetchone() or (0,)
            over = had + amount > most or (had >= most and not amount)
            if anyway or not over:
                db.execute(
                    "INSERT OR REPLACE INTO used VALUES (?, ?, ?, ?)", (key, what, period, had + amount)
                )
        if over:
            raise ClientError(
                "QUOTA_EXCEEDED",
                "this key has had as much as it may have for now",
                retry_after_s=math.ceil((period + 1) * period_s - now),
            )

    def _count(self, db: sqlite3.Connection, key: str, change: int) -> None:
        db.execute(
            "INSERT INTO open VALUES (?, ?, max(0, ?)) ON CONFLICT DO UPDATE SET n = max(0, n + ?)",
            (self._worker, key, change, change),
        )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """While no other worker changes anything. Raises ClientError where the disk does not let it."""
        assert self._db is not None, "a key has limits"
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as broken:
                log.error("usage cannot be counted: %s", broken)
                raise ClientError(
                    "INTERNAL", "the server cannot count what this key uses now; tell its operator"
                ) from None
