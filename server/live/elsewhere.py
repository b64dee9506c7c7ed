"""Sessions that were another worker's: finding them by their token, and going on with them here."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.errors import ClientError
from server.live.trail import Entry, Past, Trail
from stream.types import JsonDict

log = logging.getLogger("sessions")

Ask = Callable[[str, JsonDict], dict[int, JsonDict] | None]


@dataclass(frozen=True, eq=False)
class Moved:
    """A session that goes on here, and what its client is to be told first."""

    past: Past
    trail: Trail
    events: list[Entry]


class Elsewhere:
    """The trails of all workers. A name is made of hashes: nothing of a client's becomes a path."""

    def __init__(self, folder: Path, me: str, ask: Ask) -> None:
        """`me`: this life of this worker; `ask`: all others, None when not all have answered."""
        self._folder, self._me, self._ask = folder, me, ask

    def trail(self, token: str, opening: JsonDict) -> Trail:
        """For a session that begins here."""
        return Trail(self._folder / f"{_hash(token)}.{self._me}", opening)

    def reserve(self, session_id: str) -> bool:
        """Whether the id is free in all workers; it is this worker's then, until `free`."""
        with suppress(FileExistsError):
            fd = os.open(
                self._folder / f"{_hash(session_id)}.id", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
            )
            os.write(fd, self._me.encode())
            os.close(fd)
            return True
        return False

    def free(self, session_id: str) -> None:
        (self._folder / f"{_hash(session_id)}.id").unlink(missing_ok=True)

    def fetch(self, token: str, received: int | None) -> Moved | None:
        """The session that the token is for, from whoever had it; None where there is none.

        Raises ClientError NOT_READY while that cannot be known.
        """
        found = self._find(token)
        if found is None:
            return None
        answers = self._ask("release", {"token": token, "received": received})
        if answers is None:
            raise ClientError("NOT_READY", "the worker that has this session does not answer; try again")
        had = next((each for each in answers.values() if "events" in each), None)
        if had is not None and had["events"] is None:
            return None  # it could not move
        path = self._folder / f"{_hash(token)}.{self._me}"
        try:
            found.rename(path)
        except FileNotFoundError:
            return None  # somebody else was faster
        past = Past.read(path)
        if past is None or not past.can_go_on:
            path.unlink(missing_ok=True)
            if past is not None:
                self.free(past.opening["session_id"])
            return None
        lacking = [] if received is None else past.rewind(received)
        trail = Trail.of(past, path)
        if had is not None:
            lacking = [(event, channel, payload) for event, channel, payload in had["events"]]
        events = past.settle(lacking)
        id_file = self._folder / f"{_hash(past.opening['session_id'])}.id"
        with suppress(OSError):
            id_file.write_bytes(self._me.encode())
        return Moved(past, trail, events)

    def _find(self, token: str) -> Path | None:
        name = _hash(token)
        for each in os.scandir(self._folder):
            if each.name.startswith(name) and not each.name.endswith((".draft", self._me)):
                return Path(each.path)
        return None


def sweep(folder: Path, living: set[str], older_than_s: float) -> None:
    """Remove what dead workers have left and nobody came for; `older_than_s`: time.time()."""
    for each in os.scandir(folder):
        with suppress(OSError):
            owner = Path(each.path).read_text() if each.name.endswith(".id") else each.name.partition(".")[2]
            if owner not in living and each.stat().st_mtime < older_than_s:
                Path(each.path).unlink()


def _hash(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:40]
