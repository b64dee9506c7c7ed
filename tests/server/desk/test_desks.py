"""Desks that are slow: passed over, and then given the present. With connections that are read only on demand."""

from __future__ import annotations

from queue import Queue
from types import SimpleNamespace
from typing import Any

import orjson

from server.desk.board import Board
from server.desk.desks import BEHIND, Desk, Desks
from server.live.packets import TextPacket
from server.observers import SessionInfo
from server.wire import Json
from stream.types import Lost


class Packet(TextPacket):
    json = Json


class Connections:
    """As much of a Socket.IO server as a desk touches: a queue of packets for each connection."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue[Any]] = {}
        self.manager = SimpleNamespace(eio_sid_from_sid=lambda sid, namespace: sid)
        self.eio = SimpleNamespace(sockets={}, send_packet=lambda sid, packet: self.queues[sid].put(packet))

    def desk(self, sid: str) -> Desk:
        self.queues[sid] = Queue()
        self.eio.sockets[sid] = SimpleNamespace(queue=self.queues[sid])
        return Desk(self, sid)

    def read(self, sid: str) -> list[Any]:
        packets = [self.queues[sid].get() for _ in range(self.queues[sid].qsize())]
        return [orjson.loads(packet.data.partition(",")[2]) for packet in packets]


def test_who_does_not_read_is_passed_over_and_then_gets_the_present() -> None:
    board, connections = Board(30), Connections()
    desks = Desks(Packet, board)
    quick, slow = connections.desk("quick"), connections.desk("slow")
    for desk in (quick, slow):
        desk.everything = desk.behind = True
        desks._desks[desk.sid] = desk  # without the thread that ticks
    board.on_open(SessionInfo("one", "", 0.0))
    heard: list[Any] = []
    for second in range(30):
        board.on_event("one", None, Lost(0, 1, "OVERLOADED"))
        desks.tick()
        heard += connections.read("quick")
        assert connections.queues["slow"].qsize() <= BEHIND, second
    assert len(heard) == 30 and sum(message[1]["whole"] for message in heard) == 1
    assert slow.behind
    old = connections.read("slow")
    assert len(old) == BEHIND
    desks.open(slow, "one", board.sessions()["one"])
    board.on_open(SessionInfo("two", "", 0.0))
    connections.read("slow")
    desks.tick()
    summaries, opened = connections.read("slow")
    assert summaries[1]["whole"] and {s["session_id"] for s in summaries[1]["sessions"]} == {"one", "two"}
    assert next(s for s in summaries[1]["sessions"] if s["session_id"] == "one")["lost_ms"] == 300
    assert opened[0] == "session" and opened[1]["whole"] and len(opened[1]["lost"]) == 30
    assert connections.read("quick")[0][1]["whole"] is False


def test_desks_that_want_the_same_get_the_very_same_packet() -> None:
    board, connections = Board(30), Connections()
    desks = Desks(Packet, board)
    for sid in ("a", "b", "c"):
        desk = connections.desk(sid)
        desk.everything = True
        desks._desks[sid] = desk
    for number in range(3):
        board.on_open(SessionInfo(str(number), "", 0.0))
    desks.tick()
    packets = [connections.queues[sid].get_nowait() for sid in ("a", "b", "c")]
    assert packets[0] is packets[1] is packets[2]
