"""Making Socket.IO and Engine.IO strict about what strangers send.

Both libraries expect well-meaning clients: a malformed packet raises deep inside them, which fills the log with
tracebacks, can leave a connection deaf, and lets names of their own life cycle (`connect`, `disconnect`) arrive as
if they were events. Here such a client is disconnected, with one line in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from engineio import packet as engineio_packet
from engineio.exceptions import ContentTooLongError, EngineIOError
from engineio.payload import Payload
from engineio.socket import Socket

from server import hub
from server.hub.frames import BEFORE_JOINING
from server.peer import peer
from server.rate_limit import TokenBucket, Turn

log = logging.getLogger("sockets")


def harden(
    server: Any, room: int, messages_per_s: float, excess_per_s: float, on_cut: Callable[[str], None]
) -> None:
    """Disconnect clients of `server` (a socketio.Server) that send what is no packet, or far too much.

    `room`: bytes of a message; `messages_per_s`: those that are served; `excess_per_s`: what none of them is.
    `on_cut` is told why: `malformed`, `flood` or `too_long`.
    """
    TransportLimits.room, TransportLimits.messages_per_s, TransportLimits.excess_per_s = (
        room,
        messages_per_s,
        excess_per_s,
    )
    TransportLimits.on_cut = staticmethod(on_cut)

    def handle(eio_sid: str, data: object) -> None:
        transport = server.eio.sockets.get(eio_sid)
        if transport is None or transport.closed:
            return
        limits = _limits(transport)
        try:
            if not limits.messages.take(1, time.monotonic()):
                limits.cut(transport, "flood", "far more messages than are served")
                return
            if eio_sid in server._binary_packet and not isinstance(data, bytes | bytearray):
                raise ValueError("text in place of the bytes that a packet announced")
            if not limits.joined and len(data) > BEFORE_JOINING:  # type: ignore[arg-type]
                raise ValueError("too long while it has joined no namespace")
            server._handle_eio_message(eio_sid, data)
            if not limits.joined and _has_joined(server, eio_sid):
                limits.join()
        except Exception as wrong:
            server._binary_packet.pop(eio_sid, None)
            limits.cut(transport, "malformed", f"not a Socket.IO packet: {str(wrong)[:80]}")

    server.eio.on("message", handle)


def _has_joined(server: Any, eio_sid: str) -> bool:
    rooms = server.manager.rooms
    return any(eio_sid in rooms[name][None].inverse for name in list(rooms) if None in rooms[name])


class TransportLimits:
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
        self.send_now: Callable[[str], bool] | None = None  # where its WebSocket can

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


def _limits(transport: Any) -> TransportLimits:
    found: TransportLimits | None = getattr(transport, "limits", None)
    if found is None:
        found = transport.limits = TransportLimits(transport.server.create_event())
    return found


def peer_of(transport: Any) -> str:
    """The address of a connection's other end; "" before its first request."""
    return _limits(transport).peer


def limits_of(server: Any, eio_sid: str) -> tuple[Any, TransportLimits] | None:
    """A connection of `server` (a socketio.Server) and its limits; None once it is gone."""
    transport = server.eio.sockets.get(eio_sid)
    return None if transport is None else (transport, _limits(transport))


def _take_post(self: Socket, environ: dict[str, Any]) -> None:
    """Read what a client that polls sends; engineio's own reads any length, and all packets without a pause.

    Raises EngineIOError, after which engineio answers 400.
    """
    limits = _limits(self)
    limits.peer = limits.peer or peer(environ)
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > (limits.room if limits.joined else BEFORE_JOINING):
        limits.cut(self, "too_long", f"a body of {length} bytes")
        raise ContentTooLongError()
    turn = Turn()
    try:
        for packet in Payload(encoded_payload=environ["wsgi.input"].read(length).decode()).packets:
            if self.closed:
                return
            self.receive(packet)
            turn.over()
    except Exception as wrong:
        # Closed by us: engineio's way waits until all that was to be sent has been polled.
        limits.cut(self, "malformed", f"not Engine.IO packets: {str(wrong)[:80]}")
        raise EngineIOError() from None


def _count_what_is_no_message(original: Callable[[Socket, Any], None]) -> Callable[[Socket, Any], None]:
    def receive(self: Socket, pkt: Any) -> None:
        if pkt.packet_type == engineio_packet.MESSAGE:  # engineio's way leads there, too, and is long
            self.server.handlers["message"](self.sid, pkt.data)
        elif not _limits(self).over(self):
            original(self, pkt)

    return receive


def _send_now(original: Callable[[Socket, Any], None]) -> Callable[[Socket, Any], None]:
    """engineio has a task write each packet: waking it costs more than writing. It writes what has to wait."""

    def send(self: Socket, pkt: Any) -> None:
        now = _limits(self).send_now
        waits = not self.upgraded or self.queue.qsize() or self.closed
        # A ping always waits: a task that has had nothing to write for longer than two pings ends the connection.
        if now is None or waits or pkt.packet_type == engineio_packet.PING:
            original(self, pkt)
        elif self.check_ping_timeout() and not now(pkt.encode()):
            self.queue.put(pkt)

    return send


def _serve_frames(original: Callable[[Socket, Any], list[Any]]) -> Callable[[Socket, Any], list[Any]]:
    """engineio parses a frame outside of its own `try`: the connection would stay in its books for a minute."""

    def handler(self: Socket, ws: Any) -> list[Any]:
        limits = _limits(self)
        limits.ws, limits.peer = ws, peer(ws.environ)
        limits.send_now = getattr(ws, "send_now", None)
        if limits.joined:  # by polling
            limits.join()
        try:
            return original(self, ws)
        except Exception as wrong:
            limits.cut(self, "malformed", f"not an Engine.IO packet: {str(wrong)[:80]}")
            self.queue.put(None)  # ends the task that writes
            self.close(wait=False, abort=True)
            return []

    return handler


def _forget_at_once(original: Callable[..., None]) -> Callable[..., None]:
    """What we have closed is in no book any more, and its WebSocket ends soon whatever the peer does."""

    def close(self: Socket, wait: bool = True, abort: bool = False, reason: Any = None) -> None:
        original(self, wait=wait, abort=abort, reason=reason)
        self.server.sockets.pop(self.sid, None)
        limits = _limits(self)
        limits.ended.set()
        ws, limits.ws, limits.send_now = limits.ws, None, None
        if ws is not None:
            hub.connection_of(ws.environ)[1].close_soon()

    return close


def _ping_while_open(self: Socket) -> None:
    """As engineio's, which sleeps on when its connection has gone: a thread, and all that it knows, for 25 s."""
    if _limits(self).ended.wait(self.server.ping_interval) or self.closing or self.closed:
        return
    self.last_ping = time.time()
    self.send(engineio_packet.Packet(engineio_packet.PING))


def install() -> None:
    """Make engineio's sockets strict. To be called once, before a server is made."""
    if Socket._send_ping is _ping_while_open:
        return
    Socket._send_ping = _ping_while_open
    Socket._websocket_handler = _serve_frames(Socket._websocket_handler)
    Socket.handle_post_request = _take_post
    Socket.receive = _count_what_is_no_message(Socket.receive)
    Socket.send = _send_now(Socket.send)
    Socket.close = _forget_at_once(Socket.close)
    # engineio takes 16 packets in a POST, and a binary chunk is two: a client that polls and was slow for a second
    # would lose its connection. How much a POST may hold is bounded by its size.
    Payload.max_decode_packets = 1000
