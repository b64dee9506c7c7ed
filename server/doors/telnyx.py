"""`/v1/telnyx`: Telnyx media streaming, one way. docs/doors/telnyx.md says it from outside.

Near to Twilio's. What differs: the names; the order of packets is not guaranteed, and is made by their numbers; it
is not told which tracks there are; and what the operator has to say comes in `client_state`.
"""

from __future__ import annotations

import binascii
import heapq
from collections.abc import Iterable, Iterator

import orjson
from flask import Flask, Response

from server import hub
from server.config import Config
from server.doors.fork import INBOUND, OUTBOUND, ForkDoor, ForkedCall, Opening, Packet, number, payload
from server.doors.tracks import PER_MS
from server.doors.websocket import Upgrade
from server.errors import ClientError
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict

PATH = "/v1/telnyx"
CODINGS = ("PCMU", "audio/x-mulaw")
DEPTH = 10  # packets that wait for one that is missing: 200 ms


def add_telnyx_door(
    app: Flask, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics
) -> None:
    door = TelnyxDoor(config, live, sessions, metrics)

    @app.get(PATH, websocket=True)
    def telnyx() -> Response:
        return Upgrade(door.converse)


class InOrder:
    """Packets of one track by their numbers; at most DEPTH wait, and what comes after its turn is dropped."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._waiting: list[Packet] = []

    def put(self, packet: Packet) -> Iterator[Packet]:
        if self._next is None:
            self._next = packet.number
        if packet.number >= self._next and packet not in self._waiting:
            heapq.heappush(self._waiting, packet)
        while self._waiting and (self._waiting[0].number == self._next or len(self._waiting) > DEPTH):
            yield self._taken()

    def rest(self) -> Iterator[Packet]:
        while self._waiting:
            yield self._taken()

    def _taken(self) -> Packet:
        packet = heapq.heappop(self._waiting)
        self._next = packet.number + 1
        return packet


class TelnyxDoor(ForkDoor):
    door = "telnyx"
    peer = "Telnyx'"
    ordered = True

    def opening(self, ws: hub.WebSocket, start: JsonDict) -> Opening:
        spelled, told = start["media_format"], _state(start.get("client_state") or "")
        if spelled["encoding"] not in CODINGS or spelled["sample_rate"] != 1000 * PER_MS:
            raise ClientError("UNSUPPORTED_ENCODING", "a call has to come as PCMU of 8000 Hz")
        tracks = (INBOUND, OUTBOUND) if told.get("tracks", "both") == "both" else (str(told["tracks"]),)
        tags = {"call_session_id": start.get("call_session_id") or start["call_control_id"]}
        return Opening(told.get("token"), tracks, told.get("name", ""), tags)

    def packet(self, media: JsonDict) -> Packet:
        at_ms = number(media["timestamp"])
        return Packet(number(media["chunk"]), at_ms, media["track"], payload(media["payload"]))

    def in_order(self, me: ForkedCall, packet: Packet) -> Iterable[Packet]:
        if me.waiting is None:
            me.waiting = {track: InOrder() for track in me.order}
        in_order: InOrder = me.waiting[packet.track]
        return in_order.put(packet)

    def held_back(self, me: ForkedCall) -> Iterable[Packet]:
        return [packet for one in (me.waiting or {}).values() for packet in one.rest()]


def _state(text: str) -> JsonDict:
    """What the operator gave as `client_state`: JSON in base64; nothing of ours where it is something else."""
    try:
        told = orjson.loads(binascii.a2b_base64(text, strict_mode=True))
    except (binascii.Error, orjson.JSONDecodeError):
        return {}
    return told if isinstance(told, dict) else {}
