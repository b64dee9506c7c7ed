"""Socket.IO, namespace `/monitor`: what a supervisor's desk may ask. docs/protocol.md says it from outside.

As in `/`, a handler parses, calls, answers, and is strict about what it is sent. Nothing here reaches the
sessions: a desk reads the board, and no more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from server.access.auth import Access
from server.access.identity import Identity, Scope
from server.access.refusals import Refusals
from server.config import Config
from server.counts import SharedCounts
from server.desk.board import Board
from server.desk.desks import NAMESPACE, TICK_S, Desk, Desks
from server.desk.others import ShownSession, WholeBoard
from server.errors import ClientError
from server.live.requests import parse_session_id
from server.live.strict import Handler, StrictNamespace
from server.metrics import Metrics
from stream.types import LABELS, JsonDict

log = logging.getLogger("monitor")

MAX_CHOSEN = 200  # sessions that a desk may subscribe to one by one


class Monitor(StrictNamespace[Desk]):
    """The namespace `/monitor` of the Socket.IO server that serves `/` as well."""

    kind = "desk"
    scope: Scope = "monitor"
    max_unread = 32

    def __init__(
        self,
        server: Any,
        config: Config,
        board_of: Callable[[str], Board | WholeBoard],
        access: Access,
        metrics: Metrics,
        refusals: Refusals,
        counts: SharedCounts | None = None,
    ) -> None:
        """`board_of`: a tenant's; `counts`: of all workers."""
        super().__init__(NAMESPACE, access, metrics, refusals, config.server.language)
        self._config, self._board_of, self._counts = config, board_of, counts or SharedCounts.alone()
        self._rooms: dict[str, Desks] = {}  # by tenant: desks of one are told nothing of another
        self._admission = threading.Lock()  # counting may wait for another machine
        self._handlers = {
            "list": self.on_list,
            "subscribe": self._changing(self.on_subscribe),
            "unsubscribe": self._changing(self.on_unsubscribe),
            "open": self._changing(self.on_open),
            "close": self._changing(self.on_close),
        }
        metrics.desks.set_function(lambda: float(self._n_desks))
        server.register_namespace(self)

    @property
    def handlers(self) -> Mapping[str, Handler[Desk]]:
        return self._handlers

    def _changing(self, handler: Handler[Desk]) -> Handler[Desk]:
        """With what desks want to see held still."""

        def locked(desk: Desk, payload: object) -> JsonDict:
            with self._room(desk.identity.tenant).lock:
                return handler(desk, payload)

        return locked

    def drain(self) -> None:
        """Tell the desks how the sessions ended, and disconnect them."""
        for room in list(self._rooms.values()):
            room.tick()
            for desk in room:
                desk.drop()

    def admit(self, sid: str, identity: Identity) -> Desk:
        settings = self._config.monitor
        with self._admission:
            if not self._counts.take("desks", self._n_desks, 1, settings.max_desks):
                raise ClientError(
                    "TOO_MANY_SESSIONS",
                    f"all {settings.max_desks} desks are taken; close another, or raise monitor.max_desks",
                )
            desk = Desk(self.server, sid)
            desk.identity = identity
            self._room(identity.tenant).add(desk)
        log.info("desk opened", extra={"desk": sid})
        return desk

    def left(self, connection: Desk) -> None:
        self._room(connection.identity.tenant).remove(connection.sid)
        self._counts.publish("desks", self._n_desks)
        log.info("desk closed", extra={"desk": connection.sid})

    def on_list(self, desk: Desk, payload: object) -> JsonDict:
        if payload:
            raise ClientError("BAD_REQUEST", "list takes no fields")
        now_s = time.monotonic()
        board = self._room(desk.identity.tenant).board
        board.refresh(set())
        sessions = board.sessions().values()
        return {
            "ok": True,
            "sessions": [state.summary(now_s) for state in sessions],
            "labels": LABELS,
            "every_ms": round(1000 * TICK_S),
        }

    def on_subscribe(self, desk: Desk, payload: object) -> JsonDict:
        session_id = parse_session_id(payload)
        if session_id is None:
            desk.everything = True
        else:
            self._find(desk, session_id)
            if len(desk.chosen) >= MAX_CHOSEN:
                raise ClientError(
                    "TOO_MANY_SESSIONS", f"a desk may choose {MAX_CHOSEN} sessions; subscribe to all instead"
                )
            desk.chosen.add(session_id)
        desk.behind = True
        return {"ok": True, "labels_zh": self._config.server.names_zh}

    def on_unsubscribe(self, desk: Desk, payload: object) -> JsonDict:
        session_id = parse_session_id(payload)
        if session_id is None:
            desk.everything = False
            desk.chosen.clear()
        else:
            desk.chosen.discard(session_id)
        return {"ok": True}

    def on_open(self, desk: Desk, payload: object) -> JsonDict:
        session_id = self._named(payload)
        state = self._find(desk, session_id)
        most = self._config.monitor.max_open
        if session_id not in desk.open and len(desk.open) >= most:
            raise ClientError(
                "TOO_MANY_SESSIONS", f"a desk may have {most} sessions open; close one of them first"
            )
        self._room(desk.identity.tenant).open(desk, session_id, state)
        return {"ok": True}

    def on_close(self, desk: Desk, payload: object) -> JsonDict:
        desk.open.discard(self._named(payload))
        return {"ok": True}

    def _named(self, payload: object) -> str:
        session_id = parse_session_id(payload)
        if session_id is None:
            raise ClientError("BAD_REQUEST", "'session_id' is missing: which session?")
        return session_id

    @property
    def _n_desks(self) -> int:
        return sum(len(room) for room in list(self._rooms.values()))

    def _room(self, tenant: str) -> Desks:
        """The desks of a tenant, who look at its board."""
        if tenant not in self._rooms:
            self._rooms.setdefault(tenant, Desks(self.server.packet_class, self._board_of(tenant)))
        return self._rooms[tenant]

    def _find(self, desk: Desk, session_id: str) -> ShownSession:
        board = self._room(desk.identity.tenant).board
        board.refresh({session_id})
        state = board.find(session_id)
        if state is None:
            raise ClientError(
                "NOT_FOUND", "no session of this id is on the board; `list` names those that are"
            )
        return state
