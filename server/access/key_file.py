"""The file of keys: what `emotion-stream keys` makes and changes, and servers read.

It holds no key, only what each hashes to. A key is `es_ID_SECRET`: the id finds it, and the secret, 256 random
bits, is tried against one scrypt hash alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server import system
from server.access.identity import NO_LIMITS, KeyLimits, Scope
from server.config import ConfigError
from server.tenants import DEFAULT, NAME

MOST_KEYS = 10_000
_COST = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}  # 16 MB, some 50 ms; the secret is random, and long


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FormerHash(_Stored):
    """Of a key that was rotated: still good for a while."""

    hash: str
    until: datetime


class Key(_Stored):
    """What is known of a key."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=80)
    tenant: str = Field(DEFAULT, pattern=NAME)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    limits: KeyLimits = NO_LIMITS
    hash: str = Field(pattern=r"^scrypt:[0-9a-f]{32}:[0-9a-f]{64}$")
    former: FormerHash | None = None
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def state(self, at: datetime) -> str:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= at else "valid"

    def hashes(self, at: datetime) -> list[str]:
        """Those that a secret may have at this time."""
        former = [self.former.hash] if self.former is not None and self.former.until > at else []
        return [self.hash, *former] if self.state(at) == "valid" else []


class KeyFileContents(_Stored):
    signing: str = Field(pattern=r"^[0-9a-f]{64}$")  # the secret of tokens (server.access.tokens)
    keys: tuple[Key, ...] = Field((), max_length=MOST_KEYS)


def scrypt(secret: str, salt: bytes) -> str:
    return f"scrypt:{salt.hex()}:{hashlib.scrypt(secret.encode(), salt=salt, **_COST).hex()}"


def matches(secret: str, hashed: str) -> bool:
    salt = bytes.fromhex(hashed.split(":")[1])
    return hmac.compare_digest(scrypt(secret, salt), hashed)


class KeyFile:
    """Reading and writing it. Raises ConfigError where it cannot be read, or not be trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Key]:
        """By id."""
        return {key.id: key for key in self.contents().keys}

    def contents(self) -> KeyFileContents:
        """All of it. A file that is not there holds no keys."""
        try:
            with self.path.open("rb") as file:
                if os.name == "posix" and os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IRWXO):
                    raise ConfigError(
                        f"{self.path}: others can read or change the keys; chmod 600 (or 640) {self.path}"
                    )
                return KeyFileContents.model_validate_json(file.read())
        except FileNotFoundError:
            return KeyFileContents(signing=secrets.token_hex(32))
        except OSError as broken:
            raise ConfigError(f"{self.path}: cannot be read: {broken.strerror}") from None
        except ValidationError as wrong:
            where = ".".join(map(str, wrong.errors()[0]["loc"])) or "JSON"
            raise ConfigError(f"{self.path}: no file of keys: {where}: {wrong.errors()[0]['msg']}") from None

    def add(
        self,
        name: str,
        scopes: tuple[Scope, ...],
        tenant: str = DEFAULT,
        limits: KeyLimits = NO_LIMITS,
        expires: datetime | None = None,
    ) -> tuple[Key, str]:
        """A new key, and what is to be presented: nobody will know that again. Raises ValidationError too."""
        with self._changing() as keys:
            if len(keys) >= MOST_KEYS:
                raise ConfigError(f"{self.path}: it holds {MOST_KEYS} keys, and may hold no more")
            secret, number = secrets.token_urlsafe(32), secrets.token_hex(6)
            key = Key(
                id=number,
                name=name,
                tenant=tenant,
                scopes=scopes,
                limits=limits,
                hash=scrypt(secret, os.urandom(16)),
                created=now(),
                expires=expires,
            )
            keys[number] = key
        return key, f"es_{number}_{secret}"

    def rotate(self, number: str, overlap: timedelta) -> tuple[Key, str]:
        """A new secret for a key; the old one is good for as long as `overlap`."""
        with self._changing() as keys:
            key = self._known(keys, number)
            if key.state(now()) != "valid":
                raise ConfigError(f"the key {number} is no longer valid: add another one")
            secret = secrets.token_urlsafe(32)
            former = FormerHash(hash=key.hash, until=now() + overlap) if overlap else None
            key = key.model_copy(update={"hash": scrypt(secret, os.urandom(16)), "former": former})
            keys[number] = key
        return key, f"es_{number}_{secret}"

    def revoke(self, number: str) -> Key:
        """It opens nothing from now on."""
        with self._changing() as keys:
            key = self._known(keys, number)
            keys[number] = key = key.model_copy(update={"revoked": key.revoked or now(), "former": None})
        return key

    def _known(self, keys: dict[str, Key], number: str) -> Key:
        if number not in keys:
            raise ConfigError(f"there is no key {number}; `keys list` names them")
        return keys[number]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """What the file holds, to be changed: written whole or not at all, one program after the other."""
        try:
            with self.path.with_name(f"{self.path.name}.lock").open("ab") as held:
                system.lock(held, wait=True)
                before = self.contents()
                keys = {key.id: key for key in before.keys}
                yield keys
                after = before.model_copy(update={"keys": tuple(keys.values())})
                self._write(after.model_dump_json(indent=1).encode())
        except OSError as broken:
            raise ConfigError(f"{self.path}: cannot be written: {broken.strerror}") from None

    def _write(self, contents: bytes) -> None:
        fd, draft = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # nobody else's
        try:
            with os.fdopen(fd, "wb") as file:
                if (
                    os.name == "posix" and self.path.exists()
                ):  # a mode and a group that the operator chose stay
                    before = self.path.stat()
                    os.fchown(fd, -1, before.st_gid)
                    os.fchmod(fd, stat.S_IMODE(before.st_mode))
                file.write(contents + b"\n")
                file.flush()
                os.fsync(fd)
            Path(draft).replace(self.path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
