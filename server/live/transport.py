"""Making Socket.IO and Engine.IO strict about what strangers send.

Both libraries expect well-meaning clients: a malformed packet raises deep inside them, which fills the log with
tracebacks, can leave a connection deaf, and lets names of their own life cycle (`connect`, `disconnect`) arrive as
if they were events. Here such a client is disconnected, with one line in the log.
"""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from engineio import packet as engineio_packet
from engineio.exceptions import ContentTooLongError, EngineIOError
from engineio.payload import Payload
from engineio.socket import Socket
from socketio.packet import ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT, Packet

from server import hub
from server.hub.frames import BEFORE_JOINING
from server.peer import peer
from server.rate_limit import TokenBucket, Turn

log = logging.getLogger("sockets")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ENVELOPE = (
    4096  # bytes of a message around its chunk: names, session_id and the like, well above what they take
)
VALUES = 1000  # of JSON in one message; a `start` with all its tags has thirty
NAMESPACE_LENGTH = 64

RESERVED = frozenset({"connect", "disconnect", "connect_error", "*", "__disconnect_final"})


def message_room(max_chunk_bytes: int) -> int:
    """Bytes of the longest message that is read.

    A chunk a little too long is still refused with words, by us: one of up to 1.05 times the limit as base64 (four
    bytes for three), of up to 1.4 times as it is. A longer message closes its connection.
    """
    return max_chunk_bytes * 14 // 10 + ENVELOPE


class TextPacket(Packet):  # type: ignore[misc]
    """A Socket.IO packet: lenient in nothing, and cheap to send.

    Results hold no bytes, so python-socketio need not walk through 90 numbers each time to look for some
    (`uses_binary_events`); receiving binary chunks does not depend on it.
    """

    uses_binary_events = False

    def decode(self, encoded_packet: object) -> int:
        """Raises ValueError for what is no packet of a client of ours."""
        if not isinstance(encoded_packet, str):
            raise ValueError("bytes that no packet announced")
        # A chunk is long and one value. A million empty lists are as long, and take seconds to read.
        if len(encoded_packet) > ENVELOPE and sum(map(encoded_packet.count, ",[{")) > VALUES:
            raise ValueError(f"more than {VALUES} values in one message")
        attachments: int = super().decode(encoded_packet)
        if self.packet_type not in (CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT):
            raise ValueError(f"packet type {self.packet_type}")
        if attachments != (1 if self.packet_type == BINARY_EVENT else 0):
            raise ValueError(f"{attachments} binary attachments: an event here has one, its chunk, or none")
        if len(self.namespace or "") > NAMESPACE_LENGTH:  # the refusal would hold all of it
            raise ValueError("a namespace that cannot exist")
        if self.packet_type in (EVENT, BINARY_EVENT):
            if not (isinstance(self.data, list) and self.data and isinstance(self.data[0], str)):
                raise ValueError("an event without a name")
            if self.data[0] in RESERVED:  # then it is an unknown event like any other
                self.data[0] = f"{self.data[0]} (reserved)"
        return attachments


def harden(
    server: Any, room: int, messages_per_s: float, excess_per_s: float, on_cut: Callable[[str], None]
) -> None:
    """Disconnect clients of `server` (a socketio.Server) that send what is no packet, or far too much.

    `room`: bytes of a message; `messages_per_s`: those that are served; `excess_per_s`: what none of them is.
    `on_cut` is told why: `malformed`, `flood` or `too_long`.
    """
    Bounds.room, Bounds.messages_per_s, Bounds.excess_per_s = room, messages_per_s, excess_per_s
    Bounds.on_cut = staticmethod(on_cut)

    def handle(eio_sid: str, data: object) -> None:
        transport = server.eio.sockets.get(eio_sid)
        if transport is None or transport.closed:
            return
        bounds = _bounds(transport)
        try:
            if not bounds.messages.take(1, time.monotonic()):
                bounds.cut(transport, "flood", "far more messages than are served")
                return
            if eio_sid in server._binary_packet and not isinstance(data, bytes | bytearray):
                raise ValueError("text in place of the bytes that a packet announced")
            if not bounds.joined and len(data) > BEFORE_JOINING:  # type: ignore[arg-type]
                raise ValueError("too long while it has joined no namespace")
            server._handle_eio_message(eio_sid, data)
            if not bounds.joined and _has_joined(server, eio_sid):
                bounds.join()
        except Exception as wrong:
            server._binary_packet.pop(eio_sid, None)
            bounds.cut(transport, "malformed", f"not a Socket.IO packet: {str(wrong)[:80]}")

    server.eio.on("message", handle)


def _has_joined(server: Any, eio_sid: str) -> bool:
    rooms = server.manager.rooms
    return any(eio_sid in rooms[name][None].inverse for name in list(rooms) if None in rooms[name])


class Bounds:
    """What one Engine.IO connection may send, whichever way it comes."""

    room = messages_per_s = excess_per_s = 0.0  # the server's
    on_cut: Callable[[str], None]

    def __init__(self, ended: Any) -> None:
        """`ended`: an event of the server's kind, set when the connection is closed."""
        now = time.monotonic()
        self.ended = ended
        # Too many are refused with words; twice as many, for longer than a moment, are a flood.
        self.messages = TokenBucket(2 * self.messages_per_s, 10 * self.messages_per_s, now)
        self.excess = TokenBucket(self.excess_per_s, 25 * self.excess_per_s, now)
        self.joined = False  # a namespace
        self.peer = ""
        self.ws: Any = None

    def join(self) -> None:
        self.joined = True
        if self.ws is not None:
            self.ws.max_message = self.room

    def over(self, transport: Any) -> bool:
        """Count one thing that no ordinary client sends often; True when it was one too many."""
        if self.excess.take(1, time.monotonic()):
            return False
        self.cut(transport, "flood", "nothing but refused events, no-ops and the like")
        return True

    def cut(self, transport: Any, why: str, words: str) -> None:
        if transport.closed or transport.closing:
            return
        if why == "flood" and self.ws is not None:  # no last words, and nothing more is read
            connections, me = hub.connection_of(self.ws.environ)
            connections.cut(me, why)
        else:
            log.info("connection closed: %s", words, extra={"peer": self.peer})
            self.on_cut(why)
        transport.close(wait=False)


def _bounds(transport: Any) -> Bounds:
    found: Bounds | None = getattr(transport, "bounds", None)
    if found is None:
        found = transport.bounds = Bounds(transport.server.create_event())
    return found


def bounds_of(server: Any, eio_sid: str) -> tuple[Any, Bounds] | None:
    """A connection of `server` (a socketio.Server) and its bounds; None once it is gone."""
    transport = server.eio.sockets.get(eio_sid)
    return None if transport is None else (transport, _bounds(transport))


class Strangers:
    """Connections that never say whom they want to speak to: the limits on clients do not see them."""

    def __init__(self, server: Any, patience_s: float) -> None:
        self._server, self._patience_s = server, patience_s
        self._since: dict[str, float] = {}  # Engine.IO sid → when it was first seen without a namespace

    def close(self, now: float) -> None:
        """To be called about once a second."""
        rooms = self._server.manager.rooms
        known = {sid for name in list(rooms) for sid in list(rooms[name].get(None, {}).values())}
        strange = {
            sid: self._since.get(sid, now) for sid in list(self._server.eio.sockets) if sid not in known
        }
        for sid, since in strange.items():
            transport = self._server.eio.sockets.get(sid)
            if now - since > self._patience_s and transport is not None:
                extra = {"connection": sid, "peer": _bounds(transport).peer}
                log.info("connection closed: it never joined a namespace", extra=extra)
                transport.close(wait=False)
        self._since = strange


def require_websocket_13(wsgi: Wsgi) -> Wsgi:
    """Refuse handshakes that RFC 6455, 4.2.1, would not have, which the servers underneath take, or choke on."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asks = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        version, key = environ.get("HTTP_SEC_WEBSOCKET_VERSION"), environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        words = {word.strip().lower() for word in environ.get("HTTP_CONNECTION", "").split(",")}
        if asks and not (version == "13" and _is_key(key) and "upgrade" in words):
            start_response("400 Bad Request", [("Sec-WebSocket-Version", "13"), ("Content-Length", "0")])
            return [b""]
        return wsgi(environ, start_response)

    return guarded


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _take_post(self: Socket, environ: dict[str, Any]) -> None:
    """Read what a client that polls sends; engineio's own reads any length, and all packets without a pause.

    Raises EngineIOError, after which engineio answers 400.
    """
    bounds = _bounds(self)
    bounds.peer = bounds.peer or peer(environ)
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > (bounds.room if bounds.joined else BEFORE_JOINING):
        bounds.cut(self, "too_long", f"a body of {length} bytes")
        raise ContentTooLongError()
    turn = Turn()
    try:
        for packet in Payload(encoded_payload=environ["wsgi.input"].read(length).decode()).packets:
            if self.closed:
                return
            self.receive(packet)
            turn.over()
    except (
        Exception
    ) as wrong:  # closed by us: engineio's way waits until all that was to be sent has been polled
        bounds.cut(self, "malformed", f"not Engine.IO packets: {str(wrong)[:80]}")
        raise EngineIOError() from None


def _count_what_is_no_message(original: Callable[[Socket, Any], None]) -> Callable[[Socket, Any], None]:
    def receive(self: Socket, pkt: Any) -> None:
        if pkt.packet_type != engineio_packet.MESSAGE and _bounds(self).over(self):
            return
        original(self, pkt)

    return receive


def _serve_frames(original: Callable[[Socket, Any], list[Any]]) -> Callable[[Socket, Any], list[Any]]:
    """engineio parses a frame outside of its own `try`: the connection would stay in its books for a minute."""

    def handler(self: Socket, ws: Any) -> list[Any]:
        bounds = _bounds(self)
        bounds.ws, bounds.peer = ws, peer(ws.environ)
        if bounds.joined:  # by polling
            bounds.join()
        try:
            return original(self, ws)
        except Exception as wrong:
            bounds.cut(self, "malformed", f"not an Engine.IO packet: {str(wrong)[:80]}")
            self.queue.put(None)  # ends the task that writes
            self.close(wait=False, abort=True)
            return []

    return handler


def _forget_at_once(original: Callable[..., None]) -> Callable[..., None]:
    """What we have closed is in no book any more, and its WebSocket ends soon whatever the peer does."""

    def close(self: Socket, wait: bool = True, abort: bool = False, reason: Any = None) -> None:
        original(self, wait=wait, abort=abort, reason=reason)
        self.server.sockets.pop(self.sid, None)
        bounds = _bounds(self)
        bounds.ended.set()
        ws, bounds.ws = bounds.ws, None
        if ws is not None:
            hub.connection_of(ws.environ)[1].close_soon()

    return close


def _ping_while_open(self: Socket) -> None:
    """As engineio's, which sleeps on when its connection has gone: a thread, and all that it knows, for 25 s."""
    if _bounds(self).ended.wait(self.server.ping_interval) or self.closing or self.closed:
        return
    self.last_ping = time.time()
    self.send(engineio_packet.Packet(engineio_packet.PING))


Socket._send_ping = _ping_while_open
Socket._websocket_handler = _serve_frames(Socket._websocket_handler)
Socket.handle_post_request = _take_post
Socket.receive = _count_what_is_no_message(Socket.receive)
Socket.close = _forget_at_once(Socket.close)
# engineio takes 16 packets in a POST, and a binary chunk is two: a client that polls and was slow for a second
# would lose its connection. How much a POST may hold is bounded by its size.
Payload.max_decode_packets = 1000
