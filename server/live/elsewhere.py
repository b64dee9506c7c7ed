"""Sessions that were another worker's or server's: finding them by their token, and going on with them here."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server.errors import ClientError
from server.live.trail import Entry, Keeper, Past, Trail
from stream.types import JsonDict

log = logging.getLogger("sessions")

Ask = Callable[[str, JsonDict], dict[int, JsonDict] | None]


@dataclass(frozen=True, eq=False)
class Moved:
    """A session that goes on here, and what its client is to be told first."""

    past: Past
    trail: Trail
    events: list[Entry]


class SessionRegister(Protocol):
    """Whose sessions are, among several servers. `name`: a hash, of a token or of an id."""

    @property
    def mirror(self) -> Keeper: ...
    def reserve(self, name: str) -> bool: ...
    def free(self, name: str) -> None: ...
    def left(self, name: str) -> None: ...
    def moved(self, name: str) -> None: ...
    def owner(self, name: str) -> str | None: ...
    def claim(
        self, name: str, owner: str, token: str, received: int | None
    ) -> tuple[bytes, JsonDict | None] | None: ...


class Elsewhere:
    """The trails of all workers. A name is made of hashes: nothing of a client's becomes a path."""

    def __init__(self, folder: Path, me: str, ask: Ask, register: SessionRegister | None = None) -> None:
        """`me`: this life of this worker; `ask`: all others, None when not all have answered; `register`: of the
        service, where there are several servers."""
        self._folder, self._me, self._ask, self._register = folder, me, ask, register
        self._keeper = register.mirror if register else None

    def trail(self, token: str, opening: JsonDict) -> Trail:
        """For a session that begins here."""
        return Trail(self._folder / f"{hashed(token)}.{self._me}", opening, self._keeper)

    def settle(self) -> None:
        """Wait until what was written of sessions is where other servers can read it."""
        if self._keeper is not None:
            self._keeper.settle()

    def reserve(self, session_id: str) -> bool:
        """Whether the id is free everywhere; it is this worker's then, until `free`."""
        name = hashed(session_id)
        with suppress(FileExistsError):
            fd = os.open(self._folder / f"{name}.id", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, self._me.encode())
            os.close(fd)
            if self._register is None or self._register.reserve(name):
                return True
            (self._folder / f"{name}.id").unlink(missing_ok=True)
        return False

    def free(self, session_id: str) -> None:
        name = hashed(session_id)
        (self._folder / f"{name}.id").unlink(missing_ok=True)
        if self._register is not None:
            self._register.free(name)

    def left(self, token: str, session_id: str) -> None:
        """Another server goes on with the session."""
        for name in (f"{hashed(token)}.{self._me}", f"{hashed(session_id)}.id"):
            (self._folder / name).unlink(missing_ok=True)
        if self._register is not None:
            self._register.left(hashed(session_id))

    def fetch(self, token: str, received: int | None) -> Moved | None:
        """The session that the token is for, from whoever had it; None where there is none.

        Raises ClientError NOT_READY while that cannot be known.
        """
        name = hashed(token)
        path = self._folder / f"{name}.{self._me}"
        owner = self._register.owner(name) if self._register else None
        if self._register and owner:
            claimed = self._register.claim(name, owner, token, received)
            if claimed is None:
                return None
            data, had = claimed
            path.write_bytes(data)
        else:
            found = self._find(name)
            if found is None:
                return None
            answers = self._ask("release", {"token": token, "received": received})
            if answers is None:
                raise ClientError("NOT_READY", "the worker that has this session does not answer; try again")
            had = next((each for each in answers.values() if "events" in each), None)
            if had is not None and had["events"] is None:
                return None  # it could not move
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
        trail = Trail.of(past, path, self._keeper)
        if had is not None:
            lacking = [(event, channel, payload) for event, channel, payload in had["events"]]
        events = past.settle(lacking)
        id_name = hashed(past.opening["session_id"])
        with suppress(OSError):
            (self._folder / f"{id_name}.id").write_bytes(self._me.encode())
        if self._register is not None:
            self._register.moved(id_name)
        return Moved(past, trail, events)

    def _find(self, name: str) -> Path | None:
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


def hashed(of: str) -> str:
    """The name of a token, or of an id."""
    return hashlib.sha256(of.encode()).hexdigest()[:40]
