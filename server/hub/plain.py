"""Serving with plain threads: werkzeug's HTTP server and simple_websocket's WebSockets, with the same bounds."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import simple_websocket
from engineio.async_drivers._websocket_wsgi import SimpleWebSocketWSGI
from engineio.async_drivers.threading import _async as threading_driver
from werkzeug.serving import WSGIRequestHandler, make_server
from wsproto.events import CloseConnection, Message, Ping, Pong
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from server.hub.connections import LINGER_S, TcpConnection, TcpConnections
from server.hub.frames import BEFORE_JOINING, CONNECTION, FRAGMENTS, connection_of
from server.hub.requests import Guarded

_AHEAD = 32  # messages read and not handled yet: then reading waits
_READ = 1 << 16


def serve_websocket(
    environ: dict[str, Any], start_response: Any, handler: Callable[[Any], None], protocols: list[str]
) -> Any:
    return PlainWebSocket(handler, None, protocols=protocols)(environ, start_response)


class PlainServer:
    def __init__(
        self, bound: Any, app: Any, connections: TcpConnections, admitting: Callable[[Any], Any]
    ) -> None:
        host, port = bound.getsockname()[:2]
        handler = type("Handler", (_Handler,), {"connections": connections})
        threading_driver["websocket"] = PlainWebSocket
        self._server = make_server(host, port, app, threaded=True, request_handler=handler, fd=bound.detach())
        accept = self._server.get_request

        def in_turn() -> Any:
            time.sleep(connections.give_way())
            return accept()

        self._server.get_request = admitting(in_turn)  # type: ignore[method-assign]

    def serve(self) -> None:
        self._server.serve_forever()

    def shutdown(self) -> None:
        self._server.shutdown()


class _Handler(Guarded, WSGIRequestHandler):
    disable_nagle_algorithm = True  # as in _listen
    protocol_version = "HTTP/1.1"

    @staticmethod
    def _socket_of(args: tuple[Any, ...]) -> Any:
        return args[0]

    def make_environ(self) -> dict[str, Any]:
        environ = super().make_environ()
        environ["wsgi.input"] = self._body()
        environ[CONNECTION] = (self.connections, self._me)
        self.rfile = _Leftover(self.rfile, self._me)
        return environ

    def connection_dropped(self, *_: object) -> None:
        """Its WebSocket is over: what still comes is no HTTP request."""
        self.close_connection = True


class _Leftover(io.BufferedIOBase):
    """What werkzeug reads when it has answered, so that the answer is read before the connection closes."""

    def __init__(self, rfile: Any, me: TcpConnection) -> None:
        self._rfile, self._me = rfile, me
        self._end = 0.0

    def read(self, size: int | None = -1) -> bytes:
        now = time.monotonic()
        self._end = self._end or now + LINGER_S
        self._me.limit(self._end - now)
        return self._rfile.read1(_READ) if now < self._end else b""

    def close(self) -> None:
        self._rfile.close()


class PlainWebSocket(SimpleWebSocketWSGI):  # type: ignore[misc]
    """engineio's way to simple_websocket."""

    ws: _WebSocket

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        # No compression: what is small on the wire may be a thousand times as long.
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        self.environ = environ
        self.ws = _WebSocket(environ, BEFORE_JOINING, **self.server_args)
        self.app(self)
        connection_of(environ)[1].close_soon()
        self.ws.thread.join(LINGER_S + 1)  # it may be about to say why it closes
        raise ConnectionError  # tells werkzeug that this was no HTTP

    @property
    def max_message(self) -> int:
        return self.ws.max_message_size

    @max_message.setter
    def max_message(self, size: int) -> None:
        self.ws.max_message_size = size

    @property
    def heard_at(self) -> float:
        return self.ws.heard_at

    def ping(self) -> None:
        with suppress(LocalProtocolError):  # it is being closed
            self.ws.sock.send(self.ws.ws.send(Ping()))

    def goodbye(self, code: int, reason: str) -> None:
        self._close(code, reason)

    def close(self) -> None:
        self._close()

    def _close(self, *why: Any) -> None:
        connection_of(self.environ)[1].close_soon()
        # Closing what the client has just reset, or what the other thread closes at this moment, is no error.
        with suppress(OSError, LocalProtocolError, simple_websocket.ConnectionClosed):
            self.ws.close(*why)


class _WebSocket(simple_websocket.Server):  # type: ignore[misc]
    """Reads on only while its messages are being handled; counts what is no message."""

    max_message_size: int
    _fragments = 0  # of the message that is coming

    def __init__(self, environ: dict[str, Any], max_message_size: int, protocols: Sequence[str] = ()) -> None:
        self._connections, self._me = connection_of(environ)
        self.heard_at = time.monotonic()
        super().__init__(environ, list(protocols), receive_bytes=_READ, max_message_size=max_message_size)

    def handshake(self) -> None:
        events = self.ws.events
        self.ws.events = lambda: self._counted(events())
        super().handshake()

    def _counted(self, events: Iterator[Any]) -> Iterator[Any]:
        for event in events:
            if isinstance(event, Ping | Pong) and not self._me.excess.take(1, time.monotonic()):
                self._connections.cut(self._me, "flood")
                raise ConnectionResetError
            if isinstance(event, Message) and event.frame_finished:
                self._fragments = 0 if event.message_finished else self._fragments + 1
                if self._fragments > FRAGMENTS:
                    self.sock.send(self.ws.send(CloseConnection(CloseReason.MESSAGE_TOO_BIG)))
                    raise ConnectionResetError
            yield event

    def _thread(self) -> None:
        """Read. However that ends, whoever waits for a message learns it: closed between two reads, the library's
        own loop ends without a word."""
        try:
            super()._thread()
        finally:
            self.connected = False
            self.event.set()

    def _handle_events(self) -> bool:
        self.heard_at = time.monotonic()
        goes_on: bool = super()._handle_events()
        while goes_on and self.connected and len(self.input_buffer) > _AHEAD and not self._me.gone:
            time.sleep(0.005)
        return goes_on
