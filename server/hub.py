"""The only file that names eventlet.

Everything else uses plain threads, locks and `select`. Under eventlet these become cooperative by patching the
standard library before anything else is imported; under `threading` they are what they say.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

log = logging.getLogger("server")

_patched = False  # whether threads of the standard library are green


def patch() -> None:
    """Make the standard library cooperative. To be called before sockets, locks or Flask are imported."""
    # eventlet says that it is in maintenance; we know, and keep it in this file (docs/decisions).
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    global _patched
    _patched = True
    eventlet.monkey_patch()
    from eventlet.websocket import RFC6455WebSocket, WebSocketWSGI

    RFC6455WebSocket._apply_mask = staticmethod(unmask)
    # Every browser offers to compress each message, and eventlet agrees: 0.1 ms of CPU per chunk and 256 KB of
    # memory per connection, to save a quarter of base64.
    WebSocketWSGI._negotiate_permessage_deflate = lambda self, extensions: None


def os_thread(run: Callable[[], None]) -> None:
    """Run on a daemon thread of the operating system, which may wait without keeping others waiting.

    It must use nothing that is cooperative under eventlet: no locks, no logging, no sockets.
    """
    real: Any = threading
    if _patched:
        from eventlet import patcher

        real = patcher.original("threading")
    real.Thread(target=run, name="os", daemon=True).start()


def unmask(data: bytes, mask: Any, length: int | None = None, offset: int = 0) -> bytes:
    """XOR a WebSocket payload with its 4-byte mask (RFC 6455, 5.3).

    eventlet does this byte by byte in Python, which is half of all the CPU time of a server that receives audio.
    """
    n = len(data) if length is None else length
    turned = bytes(mask[(offset + i) % 4] for i in range(4))
    pattern = np.frombuffer(turned * (n // 4 + 1), np.uint8, n)
    return (np.frombuffer(data, np.uint8, n) ^ pattern).tobytes()


SILENCE_S = 30  # a connection that has said nothing of a request for so long is closed; WebSockets have pings


_unheard = logging.getLogger("eventlet")  # of what is no HTTP at all, and of connections that break
_unheard.setLevel(logging.ERROR)


class HttpServer(Protocol):
    """`serve` runs until `shutdown` is called from elsewhere."""

    def serve(self) -> None: ...

    def shutdown(self) -> None: ...


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; green under eventlet, since the module is patched then. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Not SO_REUSEPORT, eventlet's default: a second server would take half of the clients, in silence.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Results are small and follow each other: each would wait 40 ms for the one before to be acknowledged.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((host, port))
        bound.listen(1024)
    except OSError:
        bound.close()
        raise
    return bound


def _patient(accept: Callable[[], Any]) -> Callable[[], Any]:
    """Out of file descriptors or buffers: wait for some to come free. eventlet would stop accepting for ever."""

    def accept_in_the_end() -> Any:
        while True:
            try:
                return accept()
            except OSError as short:
                if short.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.error("a connection cannot be accepted now: %s", short.strerror)
                time.sleep(0.5)

    return accept_in_the_end


class _Eventlet:
    def __init__(self, bound: Any, app: Any, connections: int) -> None:
        from eventlet import greenpool

        bound.accept = _patient(bound.accept)
        self._socket = bound
        self._pool = greenpool.GreenPool(connections)
        self._app = app

    def serve(self) -> None:
        from eventlet import wsgi

        wsgi.server(
            self._socket,
            self._app,
            custom_pool=self._pool,
            log=_unheard,
            log_output=False,
            minimum_chunk_size=1,  # an answer that comes piece by piece goes out so
            socket_timeout=SILENCE_S,
            debug=False,
        )

    def shutdown(self) -> None:
        self._socket.close()


class _Threading:
    def __init__(self, bound: socket.socket, app: Any) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            disable_nagle_algorithm = True  # as in _listen

            def log_request(self, *_: object) -> None:
                """Requests are counted in the metrics."""

            def connection_dropped(self, *_: object) -> None:
                """Its WebSocket is over: what still comes is no HTTP request."""
                self.close_connection = True

        host, port = bound.getsockname()[:2]
        self._server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=bound.detach())

    def serve(self) -> None:
        self._server.serve_forever()

    def shutdown(self) -> None:
        self._server.shutdown()


def _connection(environ: Mapping[str, Any]) -> Any:
    """The socket of a request; None where there is none (a test's). A green one has the system's as `fd`."""
    body = environ.get("eventlet.input")
    return body.get_socket() if body is not None else environ.get("werkzeug.socket")


def body_reader(environ: Mapping[str, Any]) -> Callable[[int], bytes]:
    """Reads a request's body as it comes: at most so many bytes and, until its end, at least one.

    A server's own `read(n)` waits until there are n, for as long as the sender likes. Raises OSError or ValueError
    where it breaks off.
    """
    body, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH")
    if "eventlet.input" in environ:
        return lambda n: _eventlet_read(body, n)
    if "wsgi.input_terminated" in environ:
        read: Callable[[int], bytes] = body.read
        return read
    left = int(length or 0)

    def read_some(n: int) -> bytes:
        nonlocal left
        data = bytes(body.read1(min(n, left)))
        left -= len(data)
        return _whole(data, left)

    return read_some


def _eventlet_read(body: Any, n: int) -> bytes:
    """As `body_reader`, of eventlet's `Input`, which counts in `position`: in the chunk, or in the body."""
    if not body.chunked_input:
        body.read(0)  # says "100 Continue" to those who wait for it
        left = (body.content_length or 0) - body.position
    else:
        left = body.chunk_length - body.position - 1  # behind a chunk's last byte comes more than audio
        if left <= 0:
            return bytes(body.read(1))
    data = bytes(body.rfile.read1(min(n, left)))
    body.position += len(data)
    return _whole(data, left - len(data))


def _whole(data: bytes, left: int) -> bytes:
    if not data and left:
        raise ConnectionError("the body broke off")
    return data


def stop_reading(environ: Mapping[str, Any]) -> None:
    """End a request's body here and now: whoever waits for more of it is told that it broke off."""
    connection = _connection(environ)
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)


def has_left(environ: Mapping[str, Any]) -> bool:
    """Whether the client of a request, which has been read, has closed its connection since."""
    connection = _connection(environ)
    if connection is None:
        return False
    try:  # on the socket underneath: a green one would wait
        return not getattr(connection, "fd", connection).recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def http_server(mode: str, host: str, port: int, app: Any, connections: int) -> tuple[HttpServer, int]:
    """A server that is bound and not yet serving, and its port. Raises OSError when the address cannot be had."""
    bound = _listen(host, port)
    port = bound.getsockname()[1]
    return (_Eventlet(bound, app, connections) if mode == "eventlet" else _Threading(bound, app)), port
