"""Socket.IO, namespace `/monitor`: what a supervisor's desk may ask. docs/protocol.md says it from outside.

As in `/`, a handler parses, calls, answers, and is strict about what it is sent. Nothing here reaches the
sessions: a desk reads the board, and no more.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from server import wire
from server.access import auth
from server.access.refusals import Refusals
from server.config import Config
from server.desk.board import Board, Card
from server.desk.desks import MESSAGES_PER_S, NAMESPACE, TICK_S, Desk, Desks
from server.errors import ClientError
from server.metrics import Metrics
from server.peer import peer
from stream.types import LABELS, JsonDict

log = logging.getLogger("monitor")

UNREAD = 32  # packets waiting in a desk's connection when it asks once more: it is disconnected
MAX_CHOSEN = 200  # sessions that a desk may subscribe to one by one

Handler = Callable[[Desk, object], JsonDict]


class Monitor:
    """The namespace `/monitor` of the Socket.IO server that serves `/` as well."""

    def __init__(
        self, server: Any, config: Config, board: Board, metrics: Metrics, refusals: Refusals
    ) -> None:
        self._server, self._config, self._board, self._metrics = server, config, board, metrics
        self._refusals = refusals
        self._desks = Desks(server.packet_class, board)
        metrics.desks.set_function(lambda: float(len(self._desks)))
        handlers: dict[str, Handler] = {
            "list": self.on_list,
            "subscribe": self.on_subscribe,
            "unsubscribe": self.on_unsubscribe,
            "open": self.on_open,
            "close": self.on_close,
        }
        for event, handler in handlers.items():
            server.on(event, self._guarded(handler), namespace=NAMESPACE)
        self._known = ", ".join(handlers)
        server.on("connect", self.on_connect, namespace=NAMESPACE)
        server.on("disconnect", self.on_disconnect, namespace=NAMESPACE)
        server.on("*", self._on_unknown, namespace=NAMESPACE)

    def say_goodbye(self) -> None:
        """Tell the desks how the sessions ended, and disconnect them."""
        self._desks.tick()
        for desk in self._desks:
            desk.drop()

    def on_connect(self, sid: str, environ: dict[str, Any], auth_data: object = None) -> None:
        settings = self._config.monitor
        try:
            given = auth_data.get("token") if isinstance(auth_data, dict) else None
            given = given or auth.bearer(environ.get("HTTP_AUTHORIZATION"))
            auth.check_monitor(self._config.server.token, settings.token, given)
            if len(self._desks) >= settings.max_desks:
                raise ClientError(
                    "TOO_MANY_SESSIONS",
                    f"all {settings.max_desks} desks are taken; close another, or raise monitor.max_desks",
                )
        except ClientError as no:
            self._metrics.error(no.code)
            self._refusals.tell(log, "desk refused", peer(environ), code=no.code)
            raise Refused(no.message, no.to_wire()) from None
        self._desks.add(Desk(self._server, sid))
        log.info("desk opened", extra={"desk": sid})

    def on_disconnect(self, sid: str, reason: object = None) -> None:
        if self._desks.remove(sid):
            log.info("desk closed", extra={"desk": sid})

    def on_list(self, desk: Desk, payload: object) -> JsonDict:
        if payload:
            raise ClientError("BAD_REQUEST", "list takes no fields")
        now_s = time.monotonic()
        cards = self._board.cards().values()
        return {
            "ok": True,
            "sessions": [card.summary(now_s) for card in cards],
            "labels": LABELS,
            "every_ms": round(1000 * TICK_S),
        }

    def on_subscribe(self, desk: Desk, payload: object) -> JsonDict:
        session_id = wire.parse_session_id(payload)
        if session_id is None:
            desk.everything = True
        else:
            self._find(session_id)
            if len(desk.chosen) >= MAX_CHOSEN:
                raise ClientError(
                    "TOO_MANY_SESSIONS", f"a desk may choose {MAX_CHOSEN} sessions; subscribe to all instead"
                )
            desk.chosen.add(session_id)
        desk.behind = True
        return {"ok": True}

    def on_unsubscribe(self, desk: Desk, payload: object) -> JsonDict:
        session_id = wire.parse_session_id(payload)
        if session_id is None:
            desk.everything = False
            desk.chosen.clear()
        else:
            desk.chosen.discard(session_id)
        return {"ok": True}

    def on_open(self, desk: Desk, payload: object) -> JsonDict:
        session_id = self._named(payload)
        card = self._find(session_id)
        most = self._config.monitor.max_open
        if session_id not in desk.open and len(desk.open) >= most:
            raise ClientError(
                "TOO_MANY_SESSIONS", f"a desk may have {most} sessions open; close one of them first"
            )
        self._desks.open(desk, session_id, card)
        return {"ok": True}

    def on_close(self, desk: Desk, payload: object) -> JsonDict:
        desk.open.discard(self._named(payload))
        return {"ok": True}

    def _named(self, payload: object) -> str:
        session_id = wire.parse_session_id(payload)
        if session_id is None:
            raise ClientError("BAD_REQUEST", "'session_id' is missing: which session?")
        return session_id

    def _find(self, session_id: str) -> Card:
        card = self._board.find(session_id)
        if card is None:
            raise ClientError(
                "NOT_FOUND", "no session of this id is on the board; `list` names those that are"
            )
        return card

    def _guarded(self, handler: Handler) -> Callable[..., JsonDict | None]:
        """Turn what goes wrong into the contract's codes."""

        @functools.wraps(handler)
        def guarded(sid: str, *args: object) -> JsonDict | None:
            desk = self._desks.get(sid)
            if desk is None:
                return None  # its disconnect came first
            if desk.unsent() > UNREAD:
                log.warning("desk asks and does not read its answers; it is closed", extra={"desk": sid})
                desk.drop()
                return None
            try:
                if not desk.bucket.take(1, time.monotonic()):
                    raise ClientError("RATE_LIMITED", f"more than {MESSAGES_PER_S:g} messages a second")
                if len(args) > 1:
                    raise ClientError("BAD_REQUEST", f"expected one argument, got {len(args)}")
                with self._desks.lock:
                    return handler(desk, args[0] if args else None)
            except ClientError as wrong:
                return self._refuse(desk, wrong)
            except Exception:
                log.exception("a fault of the server while handling %s", handler.__name__)
                return self._refuse(desk, ClientError("INTERNAL", "a fault of the server; its log says more"))

        return guarded

    def _on_unknown(self, event: str, sid: str, *_: object) -> JsonDict | None:
        def refuse(desk: Desk, payload: object) -> JsonDict:
            raise ClientError("BAD_REQUEST", f"there is no event {event[:40]!r} here; known: {self._known}")

        result: JsonDict | None = self._guarded(refuse)(sid)
        return result

    def _refuse(self, desk: Desk, wrong: ClientError) -> JsonDict:
        self._metrics.error(wrong.code)
        return {"ok": False, "error": wrong.to_wire()}
