"""Short-lived tokens for browsers: made with a key, so that no page carries one; signed, and kept nowhere.

A token names its key, and opens no more than that does: when the key ends, so do its tokens. The secret that signs
them stands in the file of keys, which all workers and servers of a service share.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt
from pydantic import BaseModel, ConfigDict, Field

from server.access.identity import Identity, Scope
from server.access.usage import Usage
from server.errors import ClientError

AUDIENCE = "emotion-stream"
LONGEST_S = 3600


class TokenRequest(BaseModel):
    """The body of `POST /api/v1/tokens`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: tuple[Scope, ...] | None = Field(None, min_length=1)  # of the key's; null: all but admin
    ttl_s: int = Field(300, ge=1, le=LONGEST_S)
    once: bool = False  # good for one connection, or one request
    origin: str | None = Field(None, max_length=300)  # of the pages that may use it: https://example.com


@dataclass(frozen=True)
class Token:
    key: str
    scopes: frozenset[Scope]
    origin: str | None
    once: str | None  # its name, where it is good for one use
    until: float


def make(identity: Identity, wanted: TokenRequest, secret: bytes) -> tuple[str, list[Scope]]:
    """A token of the holder of a key, and what it opens. Raises ClientError FORBIDDEN."""
    scopes = identity.scopes - {"admin"} if wanted.scopes is None else frozenset(wanted.scopes)
    if lacking := sorted(scopes - identity.scopes):
        raise ClientError("FORBIDDEN", f"this key does not open that; it lacks the scope {lacking[0]}")
    now = int(time.time())
    claims: dict[str, Any] = {
        "aud": AUDIENCE,
        "sub": identity.key,
        "scope": " ".join(sorted(scopes)),
        "iat": now,
        "exp": now + wanted.ttl_s,
    }
    if wanted.once:
        claims["jti"] = secrets.token_urlsafe(16)
    if wanted.origin is not None:
        claims["origin"] = wanted.origin.rstrip("/")
    return jwt.encode(claims, secret, "HS256"), sorted(scopes)


def read(presented: str, secret: bytes) -> Token | None:
    """What a token says; None for what is none of ours, or over."""
    try:
        claims = jwt.decode(
            presented,
            secret,
            algorithms=["HS256"],
            audience=AUDIENCE,
            options={"require": ["exp", "sub", "scope"]},
        )
    except jwt.InvalidTokenError:
        return None
    scopes: frozenset[Any] = frozenset(claims["scope"].split())
    return Token(claims["sub"], scopes, claims.get("origin"), claims.get("jti"), claims["exp"])


def narrowed(identity: Identity, token: Token, environ: Mapping[str, Any], usage: Usage) -> Identity | None:
    """The holder of a key as whoever has this token of theirs; None: not from this page, or not once more."""
    if token.origin is not None and environ.get("HTTP_ORIGIN") != token.origin:
        return None
    if token.once is not None and not usage.spend(token.once, token.until):
        return None
    return replace(identity, scopes=identity.scopes & token.scopes, by_token=True)
