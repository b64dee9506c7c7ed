"""The desks that watch, and how they are told: one look at the board for all of them, twice a second at most.

Each changed card is encoded once, all of them travel in one message, and every desk gets the same packet. A desk
that does not read is passed over: nothing is kept for it, and when it reads again it gets the present. Sessions
never wait for a desk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
from engineio import packet as engineio_packet
from socketio.packet import EVENT

from server.desk.board import Board, Card
from server.rate_limit import TokenBucket
from stream.types import JsonDict

log = logging.getLogger("monitor")

NAMESPACE = "/monitor"
TICK_S = 0.5  # between two messages to a desk
AT_ONCE = 20  # cards looked at before the live sessions get their turn
BEHIND = 4  # packets waiting in a desk's connection when it counts as slow
MESSAGES_PER_S = 10.0

Cards = dict[str, Card]
Encoded = dict[str, orjson.Fragment]  # by session id


class Desk:
    """One supervisor's connection, and what it wants to see."""

    def __init__(self, server: Any, sid: str) -> None:
        self._server, self.sid = server, sid
        self._eio_sid = server.manager.eio_sid_from_sid(sid, NAMESPACE)
        self.bucket = TokenBucket(MESSAGES_PER_S, 2 * MESSAGES_PER_S, time.monotonic())
        self.everything = False  # subscribed to all sessions
        self.chosen: set[str] = set()  # or to these
        self.open: set[str] = set()  # those that it has open in full
        self.behind = False  # it has just come, or missed something: it needs the whole

    @property
    def summaries(self) -> bool:
        return self.everything or bool(self.chosen)

    def unsent(self) -> int:
        """Packets that wait to be written to it."""
        transport = self._server.eio.sockets.get(self._eio_sid)
        return transport.queue.qsize() if transport is not None else 0

    def keeps_up(self) -> bool:
        """Whether it may be sent something; else it has missed that. Who was slow has to have read everything."""
        if self.unsent() >= (1 if self.behind else BEHIND):
            self.behind = True
            return False
        return True

    def send(self, packet: Any) -> None:
        self._server.eio.send_packet(self._eio_sid, packet)

    def drop(self) -> None:
        """Disconnect it, in the background: the caller may hold locks that a disconnect needs too."""
        self._server.start_background_task(self._disconnect)

    def _disconnect(self) -> None:
        transport = self._server.eio.sockets.get(self._eio_sid)
        self._server.disconnect(self.sid, NAMESPACE)
        if transport is not None:
            transport.close(wait=False)


class Desks:
    """All of them, and the one thread that tells them. It runs while there are any."""

    def __init__(self, packet_class: Any, board: Board) -> None:
        """`packet_class`: the socketio.Server's, which knows how to encode."""
        self._packet_class, self._board = packet_class, board
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

    def open(self, desk: Desk, session_id: str, card: Card) -> None:
        """Show `desk` this session in full, from now on. With the lock held: no tick may come in between."""
        desk.open.add(session_id)
        desk.send(self._whole(session_id, card))

    def tick(self) -> None:
        """Tell every desk what is new to it."""
        with self.lock:
            desks = [desk for desk in self._desks.values() if desk.summaries or desk.open]
        if not desks:
            return
        cards = self._board.cards()
        changed: Encoded = {}
        for place, (session_id, card) in enumerate(cards.items(), 1):
            if (news := card.news(time.monotonic())) is not None:
                changed[session_id] = orjson.Fragment(orjson.dumps(news))
            if place % AT_ONCE == 0:
                time.sleep(0)
        gone = sorted(self._shown - set(cards))
        self._shown = set(cards)
        with self.lock:
            up = [(desk, desk.behind) for desk in desks if desk.keeps_up()]
            self._tell_summaries(up, cards, changed, gone)
            self._tell_opened(up, cards, changed)
            for desk, _ in up:
                desk.behind = False
                desk.chosen = {i for i in desk.chosen if self._board.find(i)}
                desk.open = {i for i in desk.open if self._board.find(i)}

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
                log.exception("a fault of the server while telling the desks")

    def _tell_summaries(
        self, desks: list[tuple[Desk, bool]], cards: Cards, changed: Encoded, gone: list[str]
    ) -> None:
        whole = news = None  # the packets that desks share
        for desk, behind in desks:
            if desk.everything and behind:
                whole = whole or self._summaries(_summaries_of(cards), None)
                desk.send(whole)
            elif desk.everything and (changed or gone):
                news = news or self._summaries(list(changed.values()), gone)
                desk.send(news)
            elif desk.chosen and not desk.everything:
                wanted = {i: cards[i] for i in desk.chosen if i in cards}
                mine = _summaries_of(wanted) if behind else [changed[i] for i in wanted if i in changed]
                left = [i for i in gone if i in desk.chosen]
                if mine or left:
                    desk.send(self._summaries(mine, None if behind else left))

    def _tell_opened(self, desks: list[tuple[Desk, bool]], cards: Cards, changed: Encoded) -> None:
        shared: dict[str, Any] = {}
        for desk, behind in desks:
            for session_id in desk.open & set(cards):
                if behind:
                    desk.send(self._whole(session_id, cards[session_id]))
                    continue
                if session_id not in shared:
                    shared[session_id] = self._increment(session_id, cards[session_id], changed)
                if shared[session_id] is not None:
                    desk.send(shared[session_id])

    def _summaries(self, sessions: list[Any], gone: list[str] | None) -> Any:
        """`gone` None: these are all there are."""
        return self._packet("summaries", {"whole": gone is None, "sessions": sessions, "gone": gone or []})

    def _whole(self, session_id: str, card: Card) -> Any:
        summary = card.summary(time.monotonic())
        return self._packet(
            "session",
            {"session_id": session_id, "whole": True, "summary": summary, **card.particulars(whole=True)},
        )

    def _increment(self, session_id: str, card: Card, changed: Encoded) -> Any:
        """None: nothing has happened."""
        more = card.particulars(whole=False)
        if session_id in changed:
            more["summary"] = changed[session_id]
        if not any(more.values()):
            return None
        return self._packet("session", {"session_id": session_id, "whole": False, **more})

    def _packet(self, event: str, payload: JsonDict) -> Any:
        text = self._packet_class(EVENT, namespace=NAMESPACE, data=[event, payload]).encode()
        return engineio_packet.Packet(engineio_packet.MESSAGE, text)


def _summaries_of(cards: Cards) -> list[JsonDict]:
    now_s = time.monotonic()
    return [card.summary(now_s) for card in cards.values()]
