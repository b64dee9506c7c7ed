"""A strict Socket.IO namespace: known events of one argument each, from clients that read; errors with codes.

A subclass parses, calls and answers; it does not see strangers, floods or faults. It is registered with
python-socketio's server underneath Flask-SocketIO: the wrapper builds a Flask request context for every event,
which costs more than the event itself (bench/README.md), and no event needs one.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from socketio import Namespace
from socketio.exceptions import ConnectionRefusedError

from server.access import auth
from server.access.refusals import Refusals
from server.errors import ClientError, internal_error
from server.language import Language, of_request
from server.live.connection import Connection
from server.metrics import Metrics
from server.peer import peer
from stream.types import JsonDict

C = TypeVar("C", bound=Connection)
Handler = Callable[[C, object], JsonDict]


class StrictNamespace(Namespace, Generic[C]):  # type: ignore[misc]
    """Who is speaking is known by the connection, never by a claim."""

    kind = "connection"  # what log lines call one
    advice = ""  # for who sends too many messages
    max_unread = (
        256  # packets waiting in a connection, answers to its own messages included, before it is closed
    )

    def __init__(self, name: str, metrics: Metrics, refusals: Refusals, language: Language) -> None:
        """`language`: of clients that ask for none."""
        super().__init__(name)
        self._metrics, self._refusals, self._language = metrics, refusals, language
        self._log = logging.getLogger("sockets" if name == "/" else name[1:])
        self.connections: dict[str, C] = {}

    # -- what a subclass says ------------------------------------------------------------------------

    @property
    @abstractmethod
    def handlers(self) -> Mapping[str, Handler[C]]:
        """By event: given the connection and the payload, the answer. They may raise ClientError."""

    @abstractmethod
    def admit(self, sid: str, token: str | None) -> C:
        """A new connection that presents `token`. Raises ClientError."""

    def left(self, connection: C) -> None:
        """It is gone."""

    def refuse(self, connection: C, wrong: ClientError) -> JsonDict:
        """The answer to an event that went wrong."""
        return {"ok": False, "error": wrong.to_wire(connection.language)}

    # -- what python-socketio calls ------------------------------------------------------------------

    def trigger_event(self, event: str, *args: Any) -> JsonDict | None:
        if event == "connect":
            self._connect(*args)
            return None
        if event == "disconnect":
            if (gone := self.connections.pop(args[0], None)) is not None:
                self.left(gone)
            return None
        connection = self.connections.get(args[0])
        if connection is None:
            return None  # its disconnect came first
        return self._handle(event, connection, args[1:])

    def _connect(self, sid: str, environ: dict[str, Any], auth_data: object = None) -> None:
        language = of_request(environ, self._language)
        try:
            given = auth_data.get("token") if isinstance(auth_data, dict) else None
            admitted = self.admit(sid, given or auth.bearer(environ.get("HTTP_AUTHORIZATION")))
            admitted.language = language
            self.connections[sid] = admitted
        except ClientError as no:
            self._metrics.error(no.code)
            self._refusals.tell(self._log, f"{self.kind} refused", peer(environ), code=no.code)
            told = no.to_wire(language)
            raise ConnectionRefusedError(told["message"], told) from None

    def _handle(self, event: str, connection: C, args: tuple[object, ...]) -> JsonDict | None:
        """Turn what goes wrong into the contract's codes."""
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
