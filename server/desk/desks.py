"""The desks that watch, and how they are told: one look at the board for all of them, twice a second at most.

Each changed session is encoded once, all of them travel in one message, every desk gets the same packet. A desk
that does not read is passed over: nothing is kept for it, and when it reads again it gets the present. Sessions
never wait for a desk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from engineio import packet as engineio_packet
from socketio.packet import EVENT

from server.desk.board import Board
from server.desk.others import ShownSession, WholeBoard
from server.live.connection import Connection
from stream.types import JsonDict

log = logging.getLogger("monitor")

NAMESPACE = "/monitor"
TICK_S = 0.5  # between two messages to a desk
AT_ONCE = 20  # sessions looked at before the live sessions get their turn
BEHIND = 4  # packets waiting in a desk's connection when it counts as slow
MESSAGES_PER_S = 10.0

SessionStates = Mapping[str, ShownSession]
Encoded = dict[str, orjson.Fragment]  # by session id


class Desk(Connection):
    """One supervisor's connection, and what it wants to see."""

    def __init__(self, server: Any, sid: str) -> None:
        super().__init__(server, sid, NAMESPACE, MESSAGES_PER_S)
        self.everything = False  # subscribed to all sessions
        self.chosen: set[str] = set()  # or to these
        self.open: set[str] = set()  # those that it has open in full
        self.behind = False  # it has just come, or missed something: it needs a snapshot

    @property
    def summaries(self) -> bool:
        return self.everything or bool(self.chosen)

    def has_capacity(self) -> bool:
        """Whether it may be sent something; else it has missed that. Who was slow has to have read everything."""
        if self.unsent() >= (1 if self.behind else BEHIND):
            self.behind = True
            return False
        return True

    def send_packet(self, packet: Any) -> None:
        """One that was encoded for several desks."""
        self._server.eio.send_packet(self._eio_sid, packet)


class Desks:
    """All of them, and the one thread that tells them. It runs while there are any."""

    def __init__(self, packet_class: Any, board: Board | WholeBoard) -> None:
        """`packet_class`: the socketio.Server's, which knows how to encode."""
        self._packet_class, self.board = packet_class, board
        self._desks: dict[str, Desk] = {}
        self._shown: set[str] = set()  # sessions that were on the board at the last tick
        self.lock = threading.RLock()  # held while a desk's wishes change, and while desks are told
        self._running = False

    def __len__(self) -> int:
        return len(self._desks)

    def __iter__(self) -> Iterator[Desk]:
        return iter(list(self._desks.values()))

    def get(self, sid: str) -> Desk | None:
        return self._desks.get(sid)

    def add(self, desk: Desk) -> None:
        with self.lock:
            self._desks[desk.sid] = desk
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="monitor", daemon=True).start()

    def remove(self, sid: str) -> Desk | None:
        with self.lock:
            return self._desks.pop(sid, None)

    def open(self, desk: Desk, session_id: str, state: ShownSession) -> None:
        """Show `desk` this session in full, from now on. With the lock held: no tick may come in between."""
        desk.open.add(session_id)
        desk.send_packet(self._snapshot(session_id, state))

    def tick(self) -> None:
        """Tell every desk what is new to it."""
        with self.lock:
            desks = [desk for desk in self._desks.values() if desk.summaries or desk.open]
        if not desks:
            return
        self.board.refresh({session_id for desk in desks for session_id in desk.open})
        sessions = self.board.sessions()
        changed: Encoded = {}
        for place, (session_id, state) in enumerate(sessions.items(), 1):
            if (delta := state.delta(time.monotonic())) is not None:
                changed[session_id] = orjson.Fragment(orjson.dumps(delta))
            if place % AT_ONCE == 0:
                time.sleep(0)
        removed = sorted(self._shown - set(sessions))
        self._shown = set(sessions)
        with self.lock:
            up = [(desk, desk.behind) for desk in desks if desk.has_capacity()]
            self._tell_summaries(up, sessions, changed, removed)
            self._tell_opened(up, sessions, changed)
            for desk, _ in up:
                desk.behind = False
                desk.chosen = {i for i in desk.chosen if self.board.find(i)}
                desk.open = {i for i in desk.open if self.board.find(i)}

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + TICK_S, time.monotonic() + TICK_S / 2)  # being late once does not hurry the next
            time.sleep(max(0.0, due - time.monotonic()))
            with self.lock:
                if not self._desks:
                    self._running = False
                    return
            try:
                self.tick()
            except Exception:
                log.exception("internal error while updating the desks")

    def _tell_summaries(
        self, desks: list[tuple[Desk, bool]], sessions: SessionStates, changed: Encoded, removed: list[str]
    ) -> None:
        snapshot = delta = None  # the packets that desks share
        for desk, behind in desks:
            if desk.everything and behind:
                snapshot = snapshot or self._summaries(_summaries_of(sessions), None)
                desk.send_packet(snapshot)
            elif desk.everything and (changed or removed):
                delta = delta or self._summaries(list(changed.values()), removed)
                desk.send_packet(delta)
            elif desk.chosen and not desk.everything:
                wanted = {i: sessions[i] for i in desk.chosen if i in sessions}
                mine = _summaries_of(wanted) if behind else [changed[i] for i in wanted if i in changed]
                left = [i for i in removed if i in desk.chosen]
                if mine or left:
                    desk.send_packet(self._summaries(mine, None if behind else left))

    def _tell_opened(self, desks: list[tuple[Desk, bool]], sessions: SessionStates, changed: Encoded) -> None:
        shared: dict[str, Any] = {}
        for desk, behind in desks:
            for session_id in desk.open & set(sessions):
                if behind:
                    desk.send_packet(self._snapshot(session_id, sessions[session_id]))
                    continue
                if session_id not in shared:
                    shared[session_id] = self._increment(session_id, sessions[session_id], changed)
                if shared[session_id] is not None:
                    desk.send_packet(shared[session_id])

    def _summaries(self, sessions: list[Any], removed: list[str] | None) -> Any:
        """`removed` None: these are all there are."""
        return self._packet(
            "summaries", {"whole": removed is None, "sessions": sessions, "gone": removed or []}
        )

    def _snapshot(self, session_id: str, state: ShownSession) -> Any:
        summary = state.summary(time.monotonic())
        return self._packet(
            "session",
            {"session_id": session_id, "whole": True, "summary": summary, **state.details(snapshot=True)},
        )

    def _increment(self, session_id: str, state: ShownSession, changed: Encoded) -> Any:
        """None: nothing has happened."""
        more = state.details(snapshot=False)
        if session_id in changed:
            more["summary"] = changed[session_id]
        if not any(more.values()):
            return None
        return self._packet("session", {"session_id": session_id, "whole": False, **more})

    def _packet(self, event: str, payload: JsonDict) -> Any:
        text = self._packet_class(EVENT, namespace=NAMESPACE, data=[event, payload]).encode()
        return engineio_packet.Packet(engineio_packet.MESSAGE, text)


def _summaries_of(sessions: SessionStates) -> list[JsonDict]:
    now_s = time.monotonic()
    return [state.summary(now_s) for state in sessions.values()]
