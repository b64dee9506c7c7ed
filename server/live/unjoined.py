"""Connections that have joined no namespace, and do not: no limit on clients sees them."""

from __future__ import annotations

import logging
from typing import Any

from server.live.transport import peer_of

log = logging.getLogger("sockets")

JOIN_TIMEOUT_S = 10


class UnjoinedConnections:
    """Closes those of a socketio.Server that have not joined for `timeout_s`."""

    def __init__(self, server: Any, timeout_s: float = JOIN_TIMEOUT_S) -> None:
        self._server, self._timeout_s = server, timeout_s
        self._since: dict[str, float] = {}  # Engine.IO sid → when it was first seen without a namespace

    def close(self, now: float) -> None:
        """To be called about once a second."""
        rooms = self._server.manager.rooms
        known = {sid for name in list(rooms) for sid in list(rooms[name].get(None, {}).values())}
        unjoined = {
            sid: self._since.get(sid, now) for sid in list(self._server.eio.sockets) if sid not in known
        }
        for sid, since in unjoined.items():
            transport = self._server.eio.sockets.get(sid)
            if now - since > self._timeout_s and transport is not None and not transport.closed:
                extra = {"connection": sid, "peer": peer_of(transport)}
                log.info("connection closed: it never joined a namespace", extra=extra)
                transport.close(wait=False)
        self._since = unjoined
