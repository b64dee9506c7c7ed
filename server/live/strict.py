"""A strict service: known events of one argument each, from clients that read; errors with codes.

A subclass parses, calls and answers; it does not see strangers, floods or faults. Those who come by Socket.IO
reach it as a namespace, others through a door (`server.doors`): `enter`, `handle`, `leave`. The namespace is
registered with python-socketio's server underneath Flask-SocketIO: the wrapper builds a Flask request context for
every event, which costs more than the event itself (bench/README.md), and no event needs one.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from socketio import Namespace
from socketio.exceptions import ConnectionRefusedError

from server.access.auth import Access
from server.access.identity import Identity, Scope
from server.access.refusals import Refusals
from server.errors import ClientError, internal_error
from server.language import Language, of_request
from server.live.connection import Owner
from server.metrics import Metrics
from server.peer import peer
from stream.types import JsonDict

C = TypeVar("C", bound=Owner)
Handler = Callable[[C, object], JsonDict]


class StrictService(Generic[C]):
    """Who is speaking is known by the connection, never by a claim."""

    kind = "connection"  # what log lines call one
    scope: Scope = "stream"  # what lets somebody in
    advice = ""  # for who sends too many messages
    max_unread = (
        256  # packets waiting in a connection, answers to its own messages included, before it is closed
    )

    def __init__(
        self, name: str, access: Access, metrics: Metrics, refusals: Refusals, language: Language
    ) -> None:
        """`language`: of clients that ask for none."""
        self._access, self._metrics, self._refusals, self._language = access, metrics, refusals, language
        self._log = logging.getLogger("sockets" if name == "/" else name[1:])
        self.connections: dict[str, C] = {}

    # -- what a subclass says ------------------------------------------------------------------------

    @property
    @abstractmethod
    def handlers(self) -> Mapping[str, Handler[C]]:
        """By event: given the connection and the payload, the answer. They may raise ClientError."""

    def left(self, connection: C) -> None:
        """It is gone."""

    def refuse(self, connection: C, wrong: ClientError) -> JsonDict:
        """The answer to an event that went wrong."""
        return {"ok": False, "error": wrong.to_wire(connection.language)}

    # -- what the way in calls -----------------------------------------------------------------------

    def enter(
        self,
        environ: dict[str, Any],
        token: object,
        admit: Callable[[Identity], C],
        known: Identity | None = None,
    ) -> C:
        """The connection that `admit` makes for who presents `token`. Raises ClientError as it does.

        `known`: whom a door knows by its own means.
        """
        try:
            given = token if isinstance(token, str) else None
            identity = known or self._access.identify(environ, self.scope, given)
            admitted = admit(identity)
        except ClientError as no:
            if known is not None:
                self._access.audit.tell(environ, self.scope, None, no.code)
            self._metrics.error(no.code)
            self._refusals.tell(self._log, f"{self.kind} refused", peer(environ), code=no.code)
            raise
        admitted.identity, admitted.language = identity, of_request(environ, self._language)
        self.connections[admitted.sid] = admitted
        if known is not None:
            self._access.audit.tell(environ, self.scope, known, "ok")
        return admitted

    def drop_revoked(self) -> None:
        """Close the connections of those whose keys have ended. To be called about once a second."""
        for connection in list(self.connections.values()):
            if not self._access.still(connection.identity):
                self._log.info(f"{self.kind} closed: its key has ended", extra={self.kind: connection.sid})
                connection.drop()

    def leave(self, sid: str) -> None:
        if (gone := self.connections.pop(sid, None)) is not None:
            self.left(gone)

    def handle(self, event: str, connection: C, args: tuple[object, ...]) -> JsonDict | None:
        """The answer; what goes wrong in the contract's codes."""
        if connection.unsent() > self.max_unread:
            closed = f"{self.kind} does not read its answers; closed"
            self._log.warning(closed, extra={self.kind: connection.sid})
            connection.drop()
            return None
        try:
            if not connection.bucket.take(1, time.monotonic()):
                per_s = f"more than {connection.messages_per_s:g} messages a second{self.advice}"
                raise ClientError("RATE_LIMITED", per_s)
            handler = self.handlers.get(event)
            if handler is None:
                known = ", ".join(self.handlers)
                raise ClientError("BAD_REQUEST", f"there is no event {event[:40]!r} here; known: {known}")
            if len(args) > 1:
                raise ClientError("BAD_REQUEST", f"expected one argument, got {len(args)}")
            return handler(connection, args[0] if args else None)
        except ClientError as wrong:
            answer = wrong
        except Exception:
            self._log.exception("internal error while handling %s", event, extra={self.kind: connection.sid})
            answer = internal_error()
        self._metrics.error(answer.code)
        return self.refuse(connection, answer)


class StrictNamespace(StrictService[C], Namespace):  # type: ignore[misc]
    """Of Socket.IO."""

    def __init__(
        self, name: str, access: Access, metrics: Metrics, refusals: Refusals, language: Language
    ) -> None:
        """As of StrictService."""
        StrictService.__init__(self, name, access, metrics, refusals, language)
        Namespace.__init__(self, name)

    @abstractmethod
    def admit(self, sid: str, identity: Identity) -> C:
        """A new connection of whoever has been let in. Raises ClientError."""

    def trigger_event(self, event: str, *args: Any) -> JsonDict | None:
        if event == "connect":
            self._connect(*args)
            return None
        if event == "disconnect":
            self.leave(args[0])
            return None
        connection = self.connections.get(args[0])
        if connection is None:
            return None  # its disconnect came first
        return self.handle(event, connection, args[1:])

    def _connect(self, sid: str, environ: dict[str, Any], auth_data: object = None) -> None:
        try:
            token = auth_data.get("token") if isinstance(auth_data, dict) else None
            self.enter(environ, token, partial(self.admit, sid))
        except ClientError as no:
            told = no.to_wire(of_request(environ, self._language))
            raise ConnectionRefusedError(told["message"], told) from None
