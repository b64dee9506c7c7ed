"""The only file that names eventlet: its HTTP server and its WebSockets, with bounds.

eventlet gives way only where a socket would block, bounds a frame and not a message, and no line of a body; what
is here makes up for that (docs/decisions/0012). Imported by the server process alone.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

# eventlet's own resolver, dnspython, is a fifth of a start and 15 MB, and knows less than the system's.
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")  # before it looks

import eventlet
from eventlet import greenpool, tpool, websocket, wsgi

from server.hub.connections import LINGER_S, RESERVE, SILENCE_S, TcpConnections
from server.hub.frames import BEFORE_JOINING, CONNECTION, FRAGMENTS, connection_of, unmask
from server.hub.requests import Guarded
from server.rate_limit import TURN_S

_log = logging.getLogger("eventlet")  # of what is no HTTP at all, and of connections that break

_READ = 1 << 16
_CONTROL, _CONTINUED, _TEXT = 8, 0, 1
_OPCODES = frozenset({0, 1, 2, 8, 9, 10})


def patch() -> None:
    eventlet.monkey_patch()
    # The system's resolver waits for seconds where a name server is silent: on threads, which others do not feel.
    socket.getaddrinfo = partial(tpool.execute, original("socket").getaddrinfo)
    _log.setLevel(logging.ERROR)
    websocket.RFC6455WebSocket = _WebSocket
    # Every browser offers to compress each message, and eventlet agrees: 0.1 ms of CPU per chunk and 256 KB of
    # memory per connection, to save a quarter of base64.
    websocket.WebSocketWSGI._negotiate_permessage_deflate = lambda self, extensions: None


def original(module: str) -> Any:
    """A module of the standard library as it was before `patch`."""
    return eventlet.patcher.original(module)


def serve_websocket(
    environ: dict[str, Any], start_response: Any, handler: Callable[[Any], None], protocols: list[str]
) -> Any:
    serving = websocket.WebSocketWSGI(handler)
    serving.supported_protocols = protocols
    return serving(environ, start_response)


class GreenServer:
    def __init__(
        self, bound: Any, app: Any, connections: TcpConnections, admitting: Callable[[Any], Any]
    ) -> None:
        shared = connections.counts.n_workers > 1
        bound.accept = admitting(partial(_accept, bound, connections) if shared else bound.accept)
        self._socket, self._app = bound, app
        # Above what is let in: a connection that was cut off needs a moment to end.
        self._pool = greenpool.GreenPool(2 * (connections.limits.connections + RESERVE))
        self._handler = type("Handler", (_Handler,), {"connections": connections})

    def serve(self) -> None:
        wsgi.server(
            self._socket,
            self._app,
            custom_pool=self._pool,
            protocol=self._handler,
            log=_log,
            log_output=False,
            minimum_chunk_size=1,  # an answer that comes piece by piece goes out so
            socket_timeout=SILENCE_S,
            debug=False,
        )

    def shutdown(self) -> None:
        self._socket.close()


def _accept(bound: Any, connections: TcpConnections) -> Any:
    """As the socket's own `accept`, which looks before it waits; other workers may accept from the same one."""
    while True:
        bound._trampoline(bound.fd, read=True)
        if wait_s := connections.give_way():
            eventlet.sleep(wait_s)
        try:
            sock, address = bound.fd.accept()
        except BlockingIOError:
            continue
        return type(bound)(sock), address


class _Input(wsgi.Input):  # type: ignore[misc]
    """eventlet's way to a body, with our body behind it."""

    body: Any

    def _asked_for(self) -> Any:
        if self.should_send_hundred_continue:
            self.send_hundred_continue_response()
            self.is_hundred_continue_response_sent = True
        return self.body

    def _counted(self, piece: bytes) -> bytes:
        self.position += len(piece)
        return piece

    def read(self, length: int | None = None) -> bytes:
        return self._counted(self._asked_for().read(length))

    def read1(self, length: int = _READ) -> bytes:
        return self._counted(self._asked_for().read1(length))

    def readline(self, size: int | None = None) -> bytes:
        return self._counted(self._asked_for().readline(size))

    def readlines(self, hint: int | None = None) -> list[bytes]:
        return list(iter(self.readline, b""))

    def discard(self, buffer_size: int = 0) -> None:
        self.body.discard()


class _Handler(Guarded, wsgi.HttpProtocol):  # type: ignore[misc]
    _input: _Input | None = None  # of the request that is being served

    @staticmethod
    def _socket_of(args: tuple[Any, ...]) -> Any:
        return args[0][1]

    @staticmethod
    def _cooperative_yield() -> None:
        eventlet.sleep(0)

    def handle_one_request(self) -> None:
        self._input = None
        super().handle_one_request()
        if self.close_connection and self._input is not None and not self._me.gone:
            # Closing with something unread would reset the connection, and the answer might never be read.
            with suppress(OSError):
                self._input.discard()

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        theirs = environ["eventlet.input"]
        ours = _Input(
            theirs.rfile,
            theirs.content_length,
            theirs._sock,
            theirs.wfile,
            theirs.wfile_line,
            theirs.chunked_input,
        )
        ours.body = self._body()
        self._input = ours
        environ["wsgi.input"] = environ["eventlet.input"] = ours
        environ[CONNECTION] = (self.connections, self._me)
        return environ


class _Message(websocket.RFC6455WebSocket.Message):  # type: ignore[misc]
    """All fragments of one message."""

    room = 0

    def push(self, data: bytes, final: bool = False) -> None:
        self.room -= len(data)
        if self.room < 0 or len(self.data) >= FRAGMENTS:
            raise websocket.FailedConnectionError(1009, "the message is too long")
        super().push(data, final)

    def getvalue(self) -> Any:
        data = self.data[0] if len(self.data) == 1 else b"".join(self.data)
        try:
            return data.decode() if self.opcode == _TEXT else data
        except UnicodeDecodeError:
            raise websocket.FailedConnectionError(1007, "text must be UTF-8") from None


class _WebSocket(websocket.RFC6455WebSocket):  # type: ignore[misc]
    """Reads whole buffers, gives way, counts what is no message, and ends when it is closed."""

    def __init__(self, sock: Any, environ: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, environ, *args, **kwargs)
        self._connections, self._me = connection_of(environ)
        self._buffer = bytearray()
        self._turn = time.monotonic()  # since when this one has not waited
        self.max_message = BEFORE_JOINING  # bytes, over all fragments
        self.heard_at = time.monotonic()

    def wait(self) -> Any:
        data = super().wait()
        if data is None and self.websocket_closed:
            self._linger()
        return data

    def close(self, close_data: Any = None) -> None:
        """Say goodbye; a peer that does not take it is cut off."""
        self._me.close_soon()  # before what may have to wait for a peer that does not read
        try:
            self._send_closing_frame(ignore_send_errors=True, close_data=close_data)
            self.socket.shutdown(websocket.socket.SHUT_WR)
        except OSError:
            pass  # it has gone

    def ping(self) -> None:
        self.send(b"", control_code=9)

    def goodbye(self, code: int, reason: str) -> None:
        self.close((code, reason))

    def _linger(self) -> None:
        """Closing with something unread would reset the connection, and our last words might never be read."""
        end = time.monotonic() + LINGER_S
        try:
            while time.monotonic() < end and self.socket.recv(_READ):
                eventlet.sleep(0)
        except OSError:
            pass

    def send_now(self, message: str) -> bool:
        """Send a message if nobody has to wait for that; False: it is to be sent as ever, after those before it.

        What the system does not take at once follows on its own, and all else waits for that.
        """
        if self._sendlock.balance <= 0:  # somebody sends, or waits to
            return False
        frame = self._pack_message(message)
        try:
            sent = self.socket.fd.send(frame)  # the system's socket, which never waits
        except OSError:  # it is full, or gone: whoever sends as ever finds out which
            return False
        if sent < len(frame):
            self._sendlock.acquire()
            eventlet.spawn(self._send_rest, frame[sent:])
        return True

    def _send_rest(self, rest: bytes) -> None:
        try:
            self.socket.sendall(rest)
        except OSError:
            self._me.shut()  # half a message is out: nothing can follow it
        finally:
            self._sendlock.release()

    def _fill(self, n: int) -> bytearray:
        """The buffer, once it holds so many bytes."""
        buffer = self._buffer
        while len(buffer) < n:
            if time.monotonic() - self._turn > TURN_S:
                eventlet.sleep(0)
            piece = self.socket.recv(_READ)
            if not piece:
                raise websocket.ConnectionClosedError()
            self._turn = self.heard_at = time.monotonic()
            buffer += piece
        return buffer

    def _recv_frame(self, message: Any = None) -> Any:
        """One frame of RFC 6455, 5.2; `message`: what it goes on, if it is a fragment."""
        if self.websocket_closed or self._me.gone:
            raise websocket.ConnectionClosedError()
        if time.monotonic() - self._turn > TURN_S:  # its turn is over: the others
            eventlet.sleep(0)
            self._turn = time.monotonic()
        buffer, head = self._fill(2), 2
        first, second = buffer[0], buffer[1]
        opcode, final, length = first & 15, bool(first & 128), second & 127
        control = opcode & _CONTROL
        if first & 0x70:
            raise websocket.FailedConnectionError(1002, "reserved bits")
        if opcode not in _OPCODES:
            raise websocket.FailedConnectionError(1002, "unknown opcode")
        if not second & 128:
            raise websocket.FailedConnectionError(1002, "a client masks its frames")
        if control and (not final or length > 125):
            raise websocket.FailedConnectionError(1002, "control frames are short and whole")
        if not control and (opcode == _CONTINUED) != (message is not None):
            raise websocket.FailedConnectionError(1002, "a fragment of another message")
        if length >= 126:
            spelled, head = ("!H", 4) if length == 126 else ("!Q", 10)
            (length,) = struct.unpack_from(spelled, self._fill(head), 2)
        if control:
            if opcode != _CONTROL and not self._me.excess.take(1, time.monotonic()):
                self._connections.cut(self._me, "flood")
                raise websocket.ConnectionClosedError()
            message = None
        if message is None:
            message = _Message(opcode, 0)
            message.room = self.max_message
        if length > message.room:  # before a byte of it is taken
            raise websocket.FailedConnectionError(1009, "the message is too long")
        end = head + 4 + length
        self._fill(end)
        mask, payload = buffer[head : head + 4], buffer[head + 4 : end]
        del buffer[:end]
        message.push(unmask(payload, mask), final)
        return message
