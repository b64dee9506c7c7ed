"""A call that is forked to us in messages of JSON, and answered nothing: what Twilio's and Telnyx' have in common.

Results go to the desk, alerts, records and webhooks. A dialect says how a call begins and what a packet holds.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from server import hub
from server.config import Config
from server.doors.owner import POLICY, SocketOwner
from server.doors.tracks import PER_MS, Tracks
from server.doors.websocket import parse
from server.errors import ClientError
from server.language import of_request
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict

AT_ONCE = 1000 * PER_MS  # samples of a track in one chunk: filled gaps are longer
NORMAL = 1000  # of RFC 6455
INBOUND, OUTBOUND = "inbound", "outbound"


@dataclass(frozen=True)
class Opening:
    """How a call begins. `token`: None where the handshake has it."""

    token: str | None
    tracks: tuple[str, ...]  # of INBOUND, OUTBOUND
    name: str
    tags: dict[str, str]


@dataclass(frozen=True, order=True)
class Packet:
    """What one track held at one time, in µ-law of 8 kHz."""

    number: int
    at_ms: int
    track: str
    data: bytes


class ForkedCall(SocketOwner):
    """A peer that is sent nothing."""

    tracks: Tracks
    order: tuple[str, ...] = ()  # of the tracks in a chunk
    waiting: Any = None  # a dialect's own

    def _send(self, event: str, payload: JsonDict) -> None:
        pass


class ForkDoor:
    """`door`: its label; `peer`: whose messages it takes."""

    door = ""
    peer = ""
    ordered = False  # whether `in_order` gives the packets of a track one after the other

    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics

    def opening(self, ws: hub.WebSocket, start: JsonDict) -> Opening:
        """Raises ClientError, and KeyError and the like for what the peer does not send."""
        raise NotImplementedError

    def packet(self, media: JsonDict) -> Packet:
        """Raises KeyError, ValueError and the like for what the peer does not send."""
        raise NotImplementedError

    def in_order(self, me: ForkedCall, packet: Packet) -> Iterable[Packet]:
        """What may go on, now that `packet` is here."""
        return (packet,)

    def held_back(self, me: ForkedCall) -> Iterable[Packet]:
        """What has been waiting, at the end."""
        return ()

    def converse(self, ws: hub.WebSocket) -> None:
        """One call, on the thread of its connection."""
        me = ForkedCall(ws, self._config.limits.messages_per_s, lambda: self._sessions.draining)
        try:
            for message in me.messages():
                try:
                    self._take(me, ws, parse(message if isinstance(message, str) else ""))
                except ClientError as no:
                    me.turn_away(no.code)
                except (ValueError, TypeError, KeyError, AttributeError) as wrong:
                    me.malformed(f"not {self.peer}: {str(wrong)[:80]}")
        finally:
            if session := self._sessions.find(me.sid, None):  # cut off: nobody can come back for it
                self._sessions.stop(session, "disconnect")
            self._live.leave(me.sid)
            me.gone()

    def _take(self, me: ForkedCall, ws: hub.WebSocket, message: JsonDict) -> None:
        """Raises ClientError, or what goes with a message that is not the peer's. Marks and keys mean nothing."""
        match message["event"]:
            case "start" if not me.order:
                self._start(me, ws, message["start"])
            case "media" if me.order:
                packet = self.packet(message["media"])
                if packet.track in me.order:
                    self._put(me, self.in_order(me, packet))
            case "stop" if me.order:
                self._put(me, self.held_back(me))
                self._feed(me, me.tracks.rest())
                self._live.handle("stop", me, ({},))
                me.end(NORMAL, "")
            case "start" | "media" | "stop":
                raise ValueError("out of order")

    def _start(self, me: ForkedCall, ws: hub.WebSocket, start: JsonDict) -> None:
        """Open the call's session. Raises ClientError."""
        begun = self.opening(ws, start)
        # What goes out is the agent's voice, what comes in the customer's.
        both = (OUTBOUND, INBOUND) if self._config.channels.left == "agent" else (INBOUND, OUTBOUND)
        order = tuple(track for track in both if track in begun.tracks)
        me.language = of_request(ws.environ, self._config.server.language)
        self._live.enter(ws.environ, begun.token, lambda identity: self._live.admit_owner(me, identity))
        me.join()
        self._metrics.door(self.door)
        fields = {
            "encoding": "mulaw",
            "sample_rate": 1000 * PER_MS,
            "channels": len(order),
            "name": begun.name,
            "tags": begun.tags,
        }
        answer = self._live.handle("start", me, (fields,))
        if answer is not None and not answer["ok"]:
            me.turn_away(answer["error"]["code"])
            return
        me.order, me.tracks = order, Tracks(len(order))

    def _put(self, me: ForkedCall, packets: Iterable[Packet]) -> None:
        for packet in packets:
            self._feed(
                me, me.tracks.put(me.order.index(packet.track), packet.at_ms, packet.data, self.ordered)
            )

    def _feed(self, me: ForkedCall, data: bytes) -> None:
        size = AT_ONCE * len(me.order)
        for at in range(0, len(data), size):
            answer = self._live.handle("audio_stream", me, ({"chunk": data[at : at + size]},))
            if answer is not None and not answer["ok"] and answer["error"]["code"] == "NOT_YOUR_SESSION":
                me.end(POLICY, "the session has ended")  # for idleness
                return


def number(text: str) -> int:
    """Of a message's text. Raises ValueError."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 13):
        raise ValueError("a number that is none")
    return int(text)


def payload(text: str) -> bytes:
    """Of base64. Raises ValueError."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as wrong:
        raise ValueError(f"a payload that is none: {wrong}") from None
