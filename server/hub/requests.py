"""HTTP/1.1 as strangers send it: heads that say one thing only, bodies with an end, and deadlines for both.

What is here is below both async modes, whose request handlers are both `http.server`'s. RFC 9112 says what a head
may look like; what is read in two ways by two servers (request smuggling) is refused with 400.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from email.message import Message
from typing import Any

from server.hub.connections import LINGER_S, OPS, TcpConnection, TcpConnections
from server.rate_limit import Turn

LINE = 4096  # bytes of a chunk's size, its extensions included, and of a trailer
TRAILERS = 64  # lines

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_HEADER = (FirstHeaderLineIsContinuationDefect, InvalidHeaderDefect, MissingHeaderBodySeparatorDefect)
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")


class MalformedBody(OSError):
    """A body that is not framed as RFC 9112 says, or ends too early."""


def refusal(headers: Message, version: str) -> str:
    """Why a request with this head is refused; empty when it is fine."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value or "\0" in value:
            return "a header that is none"
    # Of a multipart form there are others: its parts are not among the headers.
    if any(isinstance(d, _NO_HEADER) for d in headers.defects):
        return "a line that is no header"
    lengths, encodings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if len(lengths) > 1 or (lengths and not _DIGITS.fullmatch(lengths[0].strip(" \t"))):
        return "Content-Length"
    if len(encodings) > 1 or (encodings and encodings[0].strip(" \t").lower() != "chunked"):
        return "Transfer-Encoding"
    if lengths and encodings:
        return "Content-Length and Transfer-Encoding"
    hosts = headers.get_all("Host", [])
    if len(hosts) > 1 or (version == "HTTP/1.1" and not hosts):
        return "Host"
    return ""


class Body:
    """A request's body. What is read raises MalformedBody; a peer that is too slow loses its connection."""

    def __init__(
        self, rfile: Any, length: int | None, connections: TcpConnections, me: TcpConnection
    ) -> None:
        """`length`: bytes; None: it comes in chunks."""
        self._rfile, self._chunked = rfile, length is None
        self._left = length or 0  # of the body, or of the chunk
        self._ended = length == 0
        self._connections, self._me, self._received = connections, me, 0
        self._began = 0.0
        self._turn = Turn()

    def read1(self, size: int) -> bytes:
        """At most `size` bytes, as soon as there are any; none at the end."""
        if self._ended or size <= 0:
            return b""
        self._hurry()
        try:
            if self._left == 0 and not self._next_chunk():
                return b""
            piece: bytes = self._rfile.read1(min(size, self._left))
            if not piece:
                raise MalformedBody("the body ends too early")
            self._left -= len(piece)
            self._received += len(piece)
            if self._left == 0:
                self._close_chunk()
        except MalformedBody:
            self._ended = True
            raise
        finally:
            self._me.limit(float("inf"))
        self._turn.over()
        return piece

    def read(self, size: int | None = None) -> bytes:
        """`size` bytes, fewer at the end only; None: all of them."""
        pieces, wanted = [], float("inf") if size is None or size < 0 else size
        while wanted > 0 and (piece := self.read1(int(min(wanted, 1 << 16)))):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def readline(self, size: int | None = None) -> bytes:
        line, wanted = bytearray(), 1 << 16 if size is None or size < 0 else size
        while len(line) < wanted and not line.endswith(b"\n") and (piece := self.read1(1)):
            line += piece
        return bytes(line)

    def readlines(self, hint: int = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def discard(self) -> None:
        """Read on to the end, so that the next request can be read. Raises MalformedBody when that is far."""
        end = time.monotonic() + LINGER_S
        while self.read1(1 << 16):
            if time.monotonic() > end:
                raise MalformedBody("a body that nobody wanted")

    def _hurry(self) -> None:
        """The deadline, by what has come so far."""
        now, limits = time.monotonic(), self._connections.limits
        self._began = self._began or now
        allowed = limits.body_s + self._received / limits.body_rate
        self._me.limit(self._began + allowed - now, "slow")

    def _next_chunk(self) -> bool:
        size = self._line().partition(b";")[0].strip(b" \t\r\n")
        if not _HEX.fullmatch(size):
            raise MalformedBody("the size of a chunk")
        self._left = int(size, 16)
        if self._left:
            return True
        for _ in range(TRAILERS):
            if self._line() in (b"\r\n", b"\n"):
                self._ended = True
                return False
        raise MalformedBody("too many trailers")

    def _close_chunk(self) -> None:
        if not self._chunked:
            self._ended = True
        elif self._line() not in (b"\r\n", b"\n"):
            raise MalformedBody("a chunk is longer than it says")

    def _line(self) -> bytes:
        line: bytes = self._rfile.readline(LINE)
        if not line.endswith(b"\n"):
            if len(line) >= LINE:
                self._connections.cut(self._me, "too_long")
            raise MalformedBody("a line without an end")
        return line


class Guarded:
    """Goes before a request handler of `http.server`'s kind: what it does for every connection and request."""

    connections: TcpConnections  # set by whoever makes the server
    # The handler's own
    connection: Any
    rfile: Any
    wfile: Any
    headers: Message
    path: str
    request_version: str
    close_connection: Any

    def __init__(self, *args: Any) -> None:
        self._socket = self._socket_of(args)
        self._me = self.connections.of(self._socket)
        try:
            if not self._me.gone:
                super().__init__(*args)
        finally:
            self.connections.forget(self._socket)

    @staticmethod
    def _socket_of(args: tuple[Any, ...]) -> Any:
        raise NotImplementedError

    @staticmethod
    def _cooperative_yield() -> None:
        """Let others run."""

    def handle_one_request(self) -> None:
        """One request; those that came with it, without a pause, wait until others had their turn."""
        self.connections.waits(self._me)
        try:
            begun = self.rfile.peek(1)
        except (OSError, ValueError):
            begun = b""
        if not begun or self._me.gone:
            self.close_connection = True
            return
        self._me.limit(self.connections.limits.head_s, "slow")
        try:
            super().handle_one_request()  # type: ignore[misc]
        except OSError:  # it has gone, or was cut off
            self.close_connection = True
        self._cooperative_yield()

    def parse_request(self) -> bool:
        if self._me.gone or not super().parse_request():  # type: ignore[misc]
            self.close_connection = True
            return False
        self.connections.asks(self._me)
        why = (
            "HTTP/0.9" if self.request_version == "HTTP/0.9" else refusal(self.headers, self.request_version)
        )
        if why:
            self._refuse("400 Bad Request", f"{why}\n")
            return False
        if self._me.reserve and self.path.partition("?")[0] not in OPS:
            self._refuse("503 Service Unavailable", "all connections are taken; try again later\n")
            return False
        return True

    def _refuse(self, status: str, why: str) -> None:
        self.close_connection = True
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {len(why)}"
        self.wfile.write(f"{head}\r\n\r\n{why}".encode())
        self.wfile.flush()

    def _body(self) -> Body:
        length = self.headers.get("Content-Length")
        chunked = "Transfer-Encoding" in self.headers
        return Body(self.rfile, None if chunked else int(length or 0), self.connections, self._me)

    def log_request(self, *_: object) -> None:
        """Requests are counted in the metrics."""

    def log_message(self, format: str, *args: object) -> None:
        """What is no HTTP at all."""
        if not self._me.gone:
            self.connections.tell(self._me.peer, f"not served: {(format % args)[:100]}")
