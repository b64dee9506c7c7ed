"""What a stranger may try, below Socket.IO: `python -m bench.attacks NAME PORT SECONDS`, against 127.0.0.1 alone.

Each attack is bounded in time and in bytes, and prints one line of JSON: what was sent, and whether the server cut
the connection. A process of its own, so that it does not share the interpreter of those who measure.
"""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n"
)
TEXT, CONTINUED, PING, PONG = 1, 0, 9, 10
MB = 1_000_000

Outcome = dict[str, object]


def frame(opcode: int, data: bytes, final: bool = True) -> bytes:
    """A WebSocket frame, masked with zeros."""
    n = len(data)
    head = bytes([opcode | (128 if final else 0)])
    if n < 126:
        return head + struct.pack("!BI", 128 | n, 0) + data
    if n < 1 << 16:
        return head + struct.pack("!BHI", 254, n, 0) + data
    return head + struct.pack("!BQI", 255, n, 0) + data


def plain(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def joined(port: int, join: bool = True) -> socket.socket:
    """A WebSocket, by default in the namespace `/`."""
    sock = plain(port)
    sock.sendall(HANDSHAKE)
    time.sleep(0.2)
    sock.recv(4096)
    if join:
        sock.sendall(frame(TEXT, b"40"))
        time.sleep(0.2)
        sock.recv(4096)
    return sock


def _pour(sock: socket.socket, pieces: Iterator[bytes], seconds: float, most: int = 1 << 34) -> Outcome:
    """Send without a pause until the time is over, `most` bytes are sent, or the server has had enough."""
    end, sent, cut = time.monotonic() + seconds, 0, False
    reading = threading.Thread(target=_read, args=(sock,), daemon=True)
    reading.start()
    sock.settimeout(1)
    for piece in pieces:
        if time.monotonic() > end or sent > most:
            break
        try:
            sock.sendall(piece)
            sent += len(piece)
        except TimeoutError:
            continue
        except OSError:
            cut = True
            break
    sock.close()
    return {"sent_mb": round(sent / MB, 1), "cut": cut}


def _read(sock: socket.socket) -> None:
    while True:
        try:
            if not sock.recv(1 << 16):
                return
        except TimeoutError:
            continue
        except OSError:
            return


def _again(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def _frames(opcode: int, data: bytes) -> Callable[[int, float], Outcome]:
    def attack(port: int, seconds: float) -> Outcome:
        return _pour(joined(port), _again(frame(opcode, data) * 200), seconds)

    return attack


def pipeline(port: int, seconds: float) -> Outcome:
    return _pour(plain(port), _again(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100), seconds)


def fragments(port: int, seconds: float) -> Outcome:
    def parts() -> Iterator[bytes]:
        yield frame(TEXT, b"4", final=False)
        yield from _again(frame(CONTINUED, b"a" * MB, final=False))

    return _pour(joined(port, join=False), parts(), seconds, 400 * MB)


def _line(begin: bytes) -> Callable[[int, float], Outcome]:
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    def attack(port: int, seconds: float) -> Outcome:
        def parts() -> Iterator[bytes]:
            yield head + begin
            yield from _again(b"1" * MB)

        return _pour(plain(port), parts(), seconds, 200 * MB)

    return attack


def _values(size: int, times: int) -> Callable[[int, float], Outcome]:
    """Messages of `size` bytes that are hardly anything but empty lists."""

    def attack(port: int, seconds: float) -> Outcome:
        message = b'42["start",[' + b"[]," * (size // 3) + b"[]]]"
        return _pour(joined(port), iter([frame(TEXT, message)] * times), seconds)

    return attack


def zombies(port: int, seconds: float) -> Outcome:
    """Fifteen that were closed for nonsense, ignore it, and send a no-op every second."""
    socks = [joined(port) for _ in range(15)]
    for sock in socks:
        sock.sendall(frame(TEXT, b"4nonsense"))
    return _trickle(socks, [frame(TEXT, b"6")] * 1000, seconds, 1.0)


def half_requests(port: int, seconds: float) -> Outcome:
    socks = []
    for _ in range(1401):
        with contextlib.suppress(OSError):
            socks.append(plain(port))
    return _trickle(socks, [b"GET ", b"/ ", b"H", b"T", *[b"T"] * 1000], seconds, 3.0)


def dribbling_uploads(port: int, seconds: float) -> Outcome:
    head = (
        b"POST /api/v1/emotion/recognize HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 1000000\r\n\r\n"
    )
    return _trickle([plain(port) for _ in range(18)], [head, *[b"-"] * 1000], seconds, 5.0)


def _trickle(socks: list[socket.socket], pieces: list[bytes], seconds: float, every_s: float) -> Outcome:
    """A piece to each now and then; how many are still open at the end."""
    end, alive = time.monotonic() + seconds, list(socks)
    for piece in pieces:
        for sock in list(alive):
            try:
                sock.sendall(piece)
            except OSError:
                alive.remove(sock)
        if time.monotonic() + every_s > end:
            break
        time.sleep(every_s)
    outcome: Outcome = {"of": len(socks), "open": len(alive), "cut": not alive}
    for sock in socks:
        sock.close()
    return outcome


FLOODS: dict[str, Callable[[int, float], Outcome]] = {
    "ping": _frames(PING, b"x"),
    "pong": _frames(PONG, b""),
    "no-op": _frames(TEXT, b"6"),
    "unknown events": _frames(TEXT, b'42["nonsense",{}]'),
    "wrong field": _frames(TEXT, b'42["start",{"sampel_rate":1}]'),
    "pipelined GET": pipeline,
    "lists of 1.3 MB": _values(1_300_000, 10_000),
}
BOMBS: dict[str, Callable[[int, float], Outcome]] = {
    "fragments": fragments,
    "chunk line": _line(b""),
    "trailer": _line(b"5\r\nhello\r\n0\r\nX: "),
    "one JSON of 16 MB": _values(15_900_000, 1),
}
SIEGES: dict[str, Callable[[int, float], Outcome]] = {
    "zombies": zombies,
    "half requests": half_requests,
    "dribbling uploads": dribbling_uploads,
}
ATTACKS = {**FLOODS, **BOMBS, **SIEGES}


def main() -> None:
    name, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(ATTACKS[name](port, seconds)))


if __name__ == "__main__":
    main()
