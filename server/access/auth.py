"""The one place where every entrance asks: who is this, of which tenant, and may they do this?

An entrance asks before anything else looks at what was sent, and goes on with the Identity that it gets. Beside
keys (`access.keys_file`) there are the operator's tokens: `server.token` opens what clients do, `monitor.token`
what supervisors see, both in the default tenant; where nothing is set, everybody is let in.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from server.access import tokens
from server.access.audit import AuditLog
from server.access.guesses import Guesses
from server.access.identity import EVERYBODY, Identity, Scope
from server.access.key_file import Key
from server.access.keys import Keys, Spawn
from server.access.tokens import TokenRequest
from server.access.usage import Usage
from server.config import Config
from server.errors import ClientError
from server.peer import peer

CLIENTS: frozenset[Scope] = frozenset({"stream", "files"})  # what server.token opens
SUPERVISORS: frozenset[Scope] = frozenset({"monitor", "records"})  # what monitor.token opens


class Access:
    """May be used from any thread."""

    def __init__(self, config: Config, spawn: Spawn, usage: Usage) -> None:
        """`spawn`: starts a thread of the operating system. Raises ConfigError."""
        self._usage = usage
        self.audit = AuditLog(config.access.audit_path)
        self._token, self._monitor_token = config.server.token, config.monitor.token
        self._keys = Keys(path, spawn) if (path := config.access.keys_path) else None
        self._guesses = Guesses()

    def identify(
        self, environ: Mapping[str, Any], scope: Scope | None, presented: str | None = None
    ) -> Identity:
        """Whoever asks for `scope` (None: whatever they have) and presents a key, else that of their request.

        Raises ClientError UNAUTHORIZED, FORBIDDEN, CLOSED or RATE_LIMITED.
        """
        try:
            identity = self._identify(environ, scope, presented)
        except ClientError as no:
            self.audit.tell(environ, scope, None, no.code)
            raise
        self.audit.tell(environ, scope, identity, "ok")
        return identity

    def _identify(self, environ: Mapping[str, Any], scope: Scope | None, presented: str | None) -> Identity:
        given = presented or bearer(environ.get("HTTP_AUTHORIZATION")) or ""
        if self._keys is not None and given and (key := self._keys.known(given)):
            return _allowed(_of(key), scope)
        expected = self._monitor_token if scope in SUPERVISORS else self._token if scope != "admin" else ""
        if not expected and self._keys is None:
            return self._unasked(scope)
        opened = SUPERVISORS if scope in SUPERVISORS else CLIENTS
        identity = self._by_token(given, expected, opened, environ) if given else None
        if identity is None:
            raise _unauthorized(scope)
        return _allowed(identity, scope)

    def still(self, identity: Identity) -> bool:
        """Whether somebody who was let in would be let in again."""
        return not identity.key or (self._keys is not None and self._keys.valid(identity.key) is not None)

    def _unasked(self, scope: Scope | None) -> Identity:
        """Where nothing is set that opens `scope`."""
        if scope in SUPERVISORS and self._token:  # the token that clients hold is not enough for that
            raise ClientError(
                "CLOSED",
                "the desk is closed: server.token is set and monitor.token is not; set monitor.token to open it",
            )
        return _allowed(EVERYBODY, scope)

    def _by_token(
        self, given: str, expected: str, opened: frozenset[Scope], environ: Mapping[str, Any]
    ) -> Identity | None:
        """Whose key it is, or the token that opens these; None: nobody's. Raises ClientError RATE_LIMITED."""
        address = peer(environ)
        self._guesses.take(address)
        if expected and hmac.compare_digest(given.encode(), expected.encode()):
            name = "monitor.token" if opened is SUPERVISORS else "server.token"
            identity: Identity | None = Identity(opened, name=name)
        else:
            identity = self._by_key(given, environ)
        if identity is not None:
            self._guesses.right(address)
        return identity

    def _by_key(self, given: str, environ: Mapping[str, Any]) -> Identity | None:
        """The holder of this key, or of a key's token."""
        if self._keys is None:
            return None
        if given.count(".") != 2:  # as in every signed token, and in no key
            key = self._keys.verify(given)
            return None if key is None else _of(key)
        token = tokens.read(given, self._keys.signing)
        key = None if token is None else self._keys.valid(token.key)
        return (
            None if token is None or key is None else tokens.narrowed(_of(key), token, environ, self._usage)
        )

    def new_token(self, identity: Identity, wanted: TokenRequest) -> tuple[str, list[Scope]]:
        """For whoever has a key, and what it opens. Raises ClientError FORBIDDEN."""
        if self._keys is None or not identity.key or identity.by_token:
            raise ClientError("FORBIDDEN", "tokens are made with a key (access.keys_file)")
        return tokens.make(identity, wanted, self._keys.signing)


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _of(key: Key) -> Identity:
    return Identity(frozenset(key.scopes), key.tenant, key.id, key.name, key.limits)


def _allowed(identity: Identity, scope: Scope | None) -> Identity:
    """Raises ClientError FORBIDDEN."""
    if scope is not None and scope not in identity.scopes:
        raise ClientError("FORBIDDEN", f"this key does not open that; it lacks the scope {scope}")
    return identity


def _unauthorized(scope: Scope | None) -> ClientError:
    desk = scope in SUPERVISORS
    return ClientError(
        "UNAUTHORIZED",
        "the desk needs an access token of its own; ask its operator for it"
        if desk
        else "this server needs an access token; ask its operator for it",
    )
