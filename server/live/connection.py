"""One client's connection, as the code behind it sees it: whichever way it came, and that of Socket.IO."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

from socketio.packet import EVENT

from server.access.identity import EVERYBODY, Identity
from server.language import Language, in_language
from server.live.transport import limits_of
from server.rate_limit import TokenBucket
from stream.types import JsonDict

BACKLOG = 64  # packets waiting in a connection before its client counts as slow


class Owner(ABC):
    """A client, whose sessions are found by its `sid` and whose results it is sent: an `outbox.Client`."""

    opens_unasked = True  # whether audio without a `start` opens a session
    identity: Identity = EVERYBODY  # whose it is, once it has been let in

    def __init__(self, sid: str, messages_per_s: float) -> None:
        self.sid = sid
        self.messages_per_s = messages_per_s
        self.language: Language = "en"  # of what its reader is told
        self.sent_start = False  # what never sends one was not written to docs/protocol.md
        self.bucket = TokenBucket(messages_per_s, 2 * messages_per_s, time.monotonic())

    def send(self, event: str, payload: JsonDict) -> None:
        """Tell it, without waiting for that."""
        if event == "error":  # here, not where it is made: that may be before its reader comes back
            payload = {**payload, "message": in_language(payload["message"], self.language)}
        self._send(event, payload)

    @abstractmethod
    def _send(self, event: str, payload: JsonDict) -> None: ...

    @abstractmethod
    def unsent(self) -> int:
        """Messages that wait to be written to it."""

    def has_capacity(self) -> bool:
        return self.unsent() < BACKLOG

    @abstractmethod
    def too_many_mistakes(self) -> bool:
        """Count one; True when they are so many that the connection is closed."""

    @abstractmethod
    def drop(self) -> None:
        """Disconnect it, in the background: the caller may hold locks that a disconnect needs too."""


class Connection(Owner):
    """Of a socketio.Server, by the `sid` that it has in `namespace`."""

    def __init__(self, server: Any, sid: str, namespace: str, messages_per_s: float) -> None:
        super().__init__(sid, messages_per_s)
        self._server, self._namespace = server, namespace
        self._eio_sid = server.manager.eio_sid_from_sid(sid, namespace)

    def _send(self, event: str, payload: JsonDict) -> None:
        # As `emit` would, which first looks for who is in a room: here there is one, by its name.
        packet = self._server.packet_class(EVENT, [event, payload], self._namespace)
        self._server.eio.send(self._eio_sid, packet.encode())

    @property
    def transport(self) -> Any:
        """The Engine.IO socket underneath; None once it is gone."""
        return self._server.eio.sockets.get(self._eio_sid)

    def unsent(self) -> int:
        transport = self.transport
        return transport.queue.qsize() if transport is not None else 0

    def too_many_mistakes(self) -> bool:
        found = limits_of(self._server, self._eio_sid)
        return found is not None and found[1].over(found[0])

    def drop(self) -> None:
        self._server.start_background_task(self._disconnect)

    def _disconnect(self) -> None:
        transport = self.transport
        self._server.disconnect(self.sid, self._namespace)
        if transport is not None:
            # Not waiting for what it has not read: a client that is stuck never will.
            transport.close(wait=False)
