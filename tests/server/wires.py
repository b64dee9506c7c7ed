"""Bytes on a TCP connection: for tests of what is below Socket.IO, where no client library would go."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import time
from collections.abc import Iterator

KEY = base64.b64encode(bytes(range(16))).decode()
HANDSHAKE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
PING, PONG, TEXT, BINARY, CLOSE = 9, 10, 1, 2, 8


def frame(opcode: int, data: bytes = b"", final: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A frame of RFC 6455, masked with zeros."""
    first = opcode | (128 if final else 0) | rsv << 4
    n, bit = len(data), 128 if masked else 0
    length = (
        struct.pack("!B", bit | n)
        if n < 126
        else struct.pack("!BH", bit | 126, n)
        if n < 1 << 16
        else struct.pack("!BQ", bit | 127, n)
    )
    return bytes([first]) + length + (b"\0" * 4 if masked else b"") + data


class Wire:
    """One TCP connection."""

    def __init__(self, port: int, timeout_s: float = 15) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bool:
        try:
            piece = self.sock.recv(1 << 16)
        except ConnectionError:
            piece = b""
        self._read += piece
        return bool(piece)

    def take(self, n: int) -> bytes:
        while len(self._read) < n:
            if not self._more():
                raise ConnectionError("closed")
        taken, self._read = self._read[:n], self._read[n:]
        return taken

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        while self._more():
            pass
        return self._read

    def head(self) -> bytes:
        """The head of an answer; what came until then when the server closed instead."""
        while b"\r\n\r\n" not in self._read and self._more():
            pass
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        return head

    def status(self) -> int:
        """Of the next answer; 0 when there was none."""
        head = self.head()
        return int(head.split(b" ")[1]) if head.startswith(b"HTTP/") else 0

    def upgrade(self, joined: bool = True) -> Wire:
        """Become a WebSocket, and join the namespace `/`."""
        self.send(HANDSHAKE.format(key=KEY).encode())
        assert self.status() == 101
        assert self.message().startswith(b"0")
        if joined:
            self.send(frame(TEXT, b"40"))
            assert self.message().startswith(b"40")
        return self

    def frame(self) -> tuple[int, bytes]:
        """Opcode and payload. Raises ConnectionError where there is none."""
        first, second = self.take(2)
        n = second & 127
        if n > 125:
            n = int.from_bytes(self.take(2 if n == 126 else 8), "big")
        return first & 15, self.take(n)

    def message(self) -> bytes:
        while (found := self.frame())[0] not in (TEXT, BINARY):
            pass
        return found[1]

    def close_code(self) -> int:
        """Of the server's close frame; 0 when it closed without one. Fails after the time-out."""
        try:
            while (found := self.frame())[0] != CLOSE:
                pass
        except ConnectionError:
            return 0
        return int.from_bytes(found[1][:2], "big") if found[1] else 1005

    def pour(self, data: bytes, seconds: float = 20) -> bool:
        """Send `data` again and again, reading nothing; True once the server has cut the connection."""
        end = time.monotonic() + seconds
        self.sock.settimeout(1)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                try:
                    self.sock.sendall(data)
                except ConnectionError:
                    return True
        return False

    def dribble(self, data: bytes, seconds: float = 15, every_s: float = 0.2) -> bool:
        """Send a byte now and then; True once the server has cut the connection."""
        end = time.monotonic() + seconds
        self.sock.settimeout(every_s)
        for i in range(int(seconds / every_s)):
            try:
                self.sock.sendall(data[i % len(data) : i % len(data) + 1])
                with contextlib.suppress(TimeoutError):
                    if not self.sock.recv(1 << 16):
                        return True
            except ConnectionError:
                return True
            if time.monotonic() > end:
                break
        return False


def fragments(n: int, size: int) -> Iterator[bytes]:
    """A text message that never ends."""
    yield frame(TEXT, b"a" * size, final=False)
    for _ in range(n - 1):
        yield frame(0, b"a" * size, final=False)
