"""Who may connect: whoever presents the operator's token, or everybody when none is set."""

from __future__ import annotations

import hmac

from server.errors import ClientError


def check(expected: str, presented: object) -> None:
    """Raise ClientError UNAUTHORIZED unless `presented` is the token. An empty `expected` lets everybody in."""
    if not expected:
        return
    if not isinstance(presented, str) or not hmac.compare_digest(presented.encode(), expected.encode()):
        raise ClientError("UNAUTHORIZED", "this server needs an access token; ask its operator for it")


def check_monitor(server_token: str, monitor_token: str, presented: object) -> None:
    """Raise ClientError CLOSED or UNAUTHORIZED unless `presented` opens what supervisors see: every session.

    The token that clients hold is not enough for that; with that one alone set, it stays closed.
    """
    if server_token and not monitor_token:
        raise ClientError(
            "CLOSED",
            "the desk is closed: server.token is set and monitor.token is not; set monitor.token to open it",
        )
    if not monitor_token:
        return
    if not isinstance(presented, str) or not hmac.compare_digest(presented.encode(), monitor_token.encode()):
        raise ClientError(
            "UNAUTHORIZED", "the desk needs an access token of its own; ask its operator for it"
        )


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
