"""The keys as a server process asks for them: read again whenever their file changes.

What was verified once is known again by a fast digest under a key of this process: scrypt is for the first time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from server.access.key_file import Key, KeyFile, KeyFileContents, matches, now
from server.config import ConfigError

LOOK_S = 1.0  # how soon a change of the file is in effect
REMEMBERED = 4096  # keys that were verified
_KEY = re.compile(r"es_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")

log = logging.getLogger("access")

Spawn = Callable[[Callable[[], None]], None]


class Keys:
    """The keys as a server asks for them. May be used from any thread."""

    def __init__(self, path: Path, spawn: Spawn) -> None:
        """`spawn`: starts a thread of the operating system. Raises ConfigError."""
        self._file, self._spawn = KeyFile(path), spawn
        self._seen, self._looked_s = self._stamp(), time.monotonic()
        self._take(self._file.contents())
        self._digest_key = os.urandom(32)
        self._verified: OrderedDict[bytes, str] = OrderedDict()  # digest → the hash that it matched
        self._hashing = threading.Lock()  # one at a time: each takes 16 MB, and a core

    @property
    def signing(self) -> bytes:
        """The secret of tokens."""
        self._look()
        return self._signing

    def valid(self, number: str) -> Key | None:
        """The key of this id, unless it has ended."""
        self._look()
        key = self._keys.get(number)
        return key if key is not None and key.state(now()) == "valid" else None

    def known(self, presented: str) -> Key | None:
        """Whose key was presented, where it has been verified before: this costs next to nothing."""
        found = self._candidate(presented)
        if found is None:
            return None
        key, _, hashes = found
        return key if self._verified.get(self._digest(presented)) in hashes else None

    def verify(self, presented: str) -> Key | None:
        """Whose key was presented; None where it is nobody's. Takes some 50 ms, in which others go on."""
        self._look(0)  # it may be new
        found = self._candidate(presented)
        if found is None:
            return None
        key, secret, hashes = found
        matched = next((hashed for hashed in hashes if self._try(secret, hashed)), None)
        if matched is None:
            return None
        self._verified[self._digest(presented)] = matched
        while len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return key

    def _candidate(self, presented: str) -> tuple[Key, str, list[str]] | None:
        written = _KEY.fullmatch(presented)
        self._look()
        key = self._keys.get(written[1]) if written else None
        if written is None or key is None:
            return None
        return key, written[2], key.hashes(now())

    def _digest(self, presented: str) -> bytes:
        return hashlib.blake2b(presented.encode(), key=self._digest_key, digest_size=32).digest()

    def _try(self, secret: str, hashed: str) -> bool:
        """On a thread of the system, since nobody else could be served meanwhile."""
        answers: list[bool] = []

        def compare() -> None:
            try:
                answers.append(matches(secret, hashed))
            except Exception:  # no memory for it
                answers.append(False)

        with self._hashing:
            self._spawn(compare)
            while not answers:
                time.sleep(0.002)
        return answers[0]

    def _take(self, contents: KeyFileContents) -> None:
        self._keys = {key.id: key for key in contents.keys}
        self._signing = bytes.fromhex(contents.signing)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _look(self, after_s: float = LOOK_S) -> None:
        """Read the file again where it has changed; one that cannot be read changes nothing."""
        if time.monotonic() < self._looked_s + after_s:
            return
        self._looked_s = time.monotonic()
        if (stamp := self._stamp()) == self._seen:
            return
        self._seen = stamp
        try:
            self._take(self._file.contents())
            log.info("keys read again", extra={"keys": len(self._keys)})
        except ConfigError as wrong:
            log.error("the keys stay as they were: %s", wrong)
