"""Below the packets: broken WebSocket frames and handshakes end their own connection and nothing else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest

from tests.conftest import Server
from tests.server.clients import Raw, eventually
from tests.server.conftest import metrics

Open = Callable[..., Raw]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\xfe",  # a length that never comes
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",  # a length of 2**64 - 1
        b"\x81\x05hello",  # not masked
        b"\x81\x82\0\0\0\0\xc3\x28",  # not UTF-8
        b"\xf1\x81\0\0\0\0x",  # reserved bits
        b"\x83\x81\0\0\0\0x",  # an opcode that does not exist
        b"\x80\x81\0\0\0\0x",  # a continuation of nothing
        b"\x89\xfe\x01\x00\0\0\0\0" + b"p" * 256,  # a ping longer than a ping may be
        b"\x88\x81\0\0\0\0x",  # a close of one byte
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["cut-off", "huge", "unmasked", "not-utf8", "rsv", "opcode", "continuation", "ping", "close", "http"],
)
def test_broken_websocket_frames_end_their_connection(server: Server, raw: Open, frame: bytes) -> None:
    before = metrics(server)["emotion_connections"]
    client = raw(server)
    with contextlib.suppress(OSError):  # it has been closed already
        client.sock.sendall(frame)
        client.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: metrics(server)["emotion_connections"] <= before, "the connection is given up")


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("line", "headers"),
    {
        "no-version": ("GET /socket.io/?EIO=4&transport=websocket", UPGRADE),
        "version-99": (
            "GET /socket.io/?EIO=4&transport=websocket",
            UPGRADE + "Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n",
        ),
        "no-key": ("GET /socket.io/?EIO=4&transport=websocket", UPGRADE + "Sec-WebSocket-Version: 13\r\n"),
        "no-such-sid": ("GET /socket.io/?EIO=4&transport=websocket&sid=nobody", ""),
        "eio-9": ("GET /socket.io/?EIO=9&transport=polling", ""),
        "no-such-transport": ("GET /socket.io/?EIO=4&transport=carrier-pigeon", ""),
        "no-query": ("GET /socket.io/", ""),
        "post": ("POST /socket.io/?EIO=4&transport=polling&sid=nobody", "Content-Length: 0\r\n"),
        "put": ("PUT /socket.io/?EIO=4&transport=polling", ""),
    }.values(),
)
def test_broken_handshakes_are_answered_as_bad_requests(server: Server, line: str, headers: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        plain.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        assert plain.recv(100).split(b" ")[1] in (b"400", b"405", b"426")
