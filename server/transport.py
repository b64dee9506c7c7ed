"""Making Socket.IO and Engine.IO strict about what strangers send.

Both libraries expect well-meaning clients: a malformed packet raises deep inside them, which fills the log with
tracebacks, can leave a connection deaf, and lets names of their own life cycle (`connect`, `disconnect`) arrive as
if they were events. Here such a client is disconnected, with one line in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
from engineio.exceptions import EngineIOError
from engineio.payload import Payload
from engineio.socket import Socket
from socketio.packet import ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT, Packet

from server.peer import peer

log = logging.getLogger("sockets")

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

RESERVED = frozenset({"connect", "disconnect", "connect_error", "*", "__disconnect_final"})


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
        attachments: int = super().decode(encoded_packet)
        if self.packet_type not in (CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT):
            raise ValueError(f"packet type {self.packet_type}")
        if attachments != (1 if self.packet_type == BINARY_EVENT else 0):
            raise ValueError(f"{attachments} binary attachments: an event here has one, its chunk, or none")
        if self.packet_type in (EVENT, BINARY_EVENT):
            if not (isinstance(self.data, list) and self.data and isinstance(self.data[0], str)):
                raise ValueError("an event without a name")
            if self.data[0] in RESERVED:  # then it is an unknown event like any other
                self.data[0] = f"{self.data[0]} (reserved)"
        return attachments


def harden(server: Any, on_refused: Callable[[], None]) -> None:
    """Disconnect clients of `server` (a socketio.Server) that send what is no packet; tell of each."""

    def handle(eio_sid: str, data: object) -> None:
        transport = server.eio.sockets.get(eio_sid)
        if transport is None or transport.closed:
            return
        try:
            if eio_sid in server._binary_packet and not isinstance(data, bytes | bytearray):
                raise ValueError("text in place of the bytes that a packet announced")
            server._handle_eio_message(eio_sid, data)
        except Exception as wrong:
            server._binary_packet.pop(eio_sid, None)
            said = {"peer": peer(server.environ.get(eio_sid, {}))}
            log.info("connection closed: not a Socket.IO packet: %s", str(wrong)[:80], extra=said)
            on_refused()
            transport.close(wait=False)

    server.eio.on("message", handle)


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
                said = {"connection": sid, "peer": peer(self._server.environ.get(sid, {}))}
                log.info("connection closed: it never joined a namespace", extra=said)
                transport.close(wait=False)
        self._since = strange


def require_websocket_13(wsgi: Wsgi) -> Wsgi:
    """Refuse handshakes of other WebSocket versions, which the servers underneath answer with a traceback."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asks = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        version, key = environ.get("HTTP_SEC_WEBSOCKET_VERSION"), environ.get("HTTP_SEC_WEBSOCKET_KEY")
        if asks and not (version == "13" and key):
            start_response("400 Bad Request", [("Sec-WebSocket-Version", "13"), ("Content-Length", "0")])
            return [b""]
        return wsgi(environ, start_response)

    return guarded


def _close_on_bad_post(original: Callable[[Socket, dict[str, Any]], None]) -> Callable[..., None]:
    """As below, for clients that poll."""

    def handler(self: Socket, environ: dict[str, Any]) -> None:
        try:
            original(self, environ)
        except EngineIOError:
            raise
        except Exception as wrong:
            log.info("connection closed: not Engine.IO packets: %s", str(wrong)[:80])
            self.close(wait=False, abort=True)
            raise EngineIOError() from None

    return handler


def _close_on_errors(original: Callable[[Socket, Any], list[Any]]) -> Callable[[Socket, Any], list[Any]]:
    """engineio parses a frame outside of its own `try`: the connection would stay in its books for a minute."""

    def handler(self: Socket, ws: Any) -> list[Any]:
        try:
            return original(self, ws)
        except Exception as wrong:
            log.info("connection closed: not an Engine.IO packet: %s", str(wrong)[:80])
            self.queue.put(None)  # ends the task that writes
            self.close(wait=False, abort=True)
            return []

    return handler


def _close_quietly(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """Closing what the client has just reset is no error (plain threads only; eventlet's own knows)."""

    def close(self: Any) -> None:
        with suppress(OSError):
            original(self)

    return close


SimpleWebSocketWSGI.close = _close_quietly(SimpleWebSocketWSGI.close)
Socket._websocket_handler = _close_on_errors(Socket._websocket_handler)
Socket.handle_post_request = _close_on_bad_post(Socket.handle_post_request)
# engineio takes 16 packets in a POST, and a binary chunk is two: a client that polls and was slow for a second
# would lose its connection. How much a POST may hold is bounded by its size.
Payload.max_decode_packets = 1000
