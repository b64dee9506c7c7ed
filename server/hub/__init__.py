"""The lower floor: sockets, HTTP and WebSockets, in both async modes, bounded against whoever connects.

Everything else uses plain threads, locks and `select`. Under eventlet these become cooperative by patching the
standard library before anything else is imported; under `threading` they are what they say. `green` is the only
file that names eventlet, `plain` is its counterpart, `connections` and `requests` are below both.
"""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from server.counts import SharedCounts
from server.hub.connections import ConnectionLimits, TcpConnections
from server.hub.frames import connection_of, unmask
from server.hub.tcp import TcpServer, admitting

__all__ = [
    "ConnectionLimits",
    "HttpServer",
    "TcpServer",
    "WebSocket",
    "client_disconnected",
    "connection_of",
    "http_server",
    "inherited",
    "listen",
    "listen_all",
    "os_thread",
    "patch",
    "stop_reading",
    "unmask",
    "websocket",
]

_patched = False  # whether threads of the standard library are green


def patch() -> None:
    """Make the standard library cooperative. To be called before sockets, locks or Flask are imported."""
    # eventlet says that it is in maintenance; we know, and keep it in one file (docs/decisions).
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    from server.hub import green

    global _patched
    _patched = True
    green.patch()


def os_thread(run: Callable[[], None]) -> None:
    """Run on a daemon thread of the operating system, which may wait without keeping others waiting.

    It must use nothing that is cooperative under eventlet: no locks, no logging, no sockets.
    """
    real: Any = threading
    if _patched:
        from server.hub import green

        real = green.original("threading")
    real.Thread(target=run, name="os", daemon=True).start()


class HttpServer(Protocol):
    """`serve` runs until `shutdown` is called from elsewhere."""

    def serve(self) -> None: ...

    def shutdown(self) -> None: ...


class WebSocket(Protocol):
    """A connection that has become one, bounded as `connections` and `frames` say."""

    environ: dict[str, Any]
    max_message: int  # bytes, over all fragments
    heard_at: float  # time.monotonic() when anything came last, pongs included

    def wait(self) -> str | bytes | None:
        """The next message; None when there will be none. May raise OSError, for the same."""
        ...

    def send(self, message: str) -> None:
        """May wait for a peer that does not read. Raises OSError when it has gone."""
        ...

    def ping(self) -> None: ...

    def goodbye(self, code: int, reason: str) -> None:
        """Close it, with what RFC 6455 calls status code and reason."""
        ...


def websocket(
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    handler: Callable[[WebSocket], None],
    protocols: Sequence[str] = (),
) -> Iterable[bytes]:
    """Answer a request whose handshake is in order (`server.http.handshake`): the handler has it until it returns.

    `protocols`: what is spoken there, for clients that ask for a Sec-WebSocket-Protocol.
    Under eventlet a WebSocket also has `send_now` (see `green`).
    """
    if "eventlet.input" in environ:
        from server.hub.green import serve_websocket
    else:
        from server.hub.plain import serve_websocket
    answer: Iterable[bytes] = serve_websocket(environ, start_response, handler, list(protocols))
    return answer


def listen(host: str, port: int) -> socket.socket:
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


def listen_all(host: str, port: int, other: int) -> tuple[socket.socket, socket.socket | None]:
    """Of HTTP, and of what speaks no HTTP, where `other` is a port. Raises OSError that names the address."""
    bound: list[socket.socket] = []
    for each, advice in ((port, " (choose another with --port)"), *([(other, "")] if other else [])):
        try:
            bound.append(listen(host, each))
        except OSError as taken:
            for before in bound:
                before.close()
            raise OSError(f"{host}:{each}: {taken}{advice}") from None
    return bound[0], bound[1] if other else None


def inherited(descriptor: int) -> socket.socket:
    """A socket that a parent has bound, and from which others accept, too."""
    return socket.socket(fileno=descriptor)


def _connection(environ: Mapping[str, Any]) -> Any:
    """The socket of a request; None where there is none (a test's). A green one has the system's as `fd`."""
    body = environ.get("eventlet.input")
    return body.get_socket() if body is not None else environ.get("werkzeug.socket")


def stop_reading(environ: Mapping[str, Any]) -> None:
    """End a request's body here and now: whoever waits for more of it is told that it broke off."""
    connection = _connection(environ)
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RD)


def client_disconnected(environ: Mapping[str, Any]) -> bool:
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


def http_server(
    mode: str,
    bound: socket.socket,
    app: Any,
    limits: ConnectionLimits,
    on_cut: Callable[[str], None],
    counts: SharedCounts,
) -> tuple[HttpServer, TcpConnections]:
    """A server that is not yet serving, and what it has open.

    `on_cut` is told why a connection was cut off (`TcpConnections.cut`); `counts`: of all who accept from `bound`.
    """
    connections = TcpConnections(limits, on_cut, counts)
    if mode == "eventlet":
        from server.hub.green import GreenServer as Serving
    else:
        from server.hub.plain import PlainServer as Serving  # type: ignore[assignment]
    server: HttpServer = Serving(bound, app, connections, lambda accept: admitting(accept, connections))
    connections.watch()
    return server, connections
