"""What both kinds of WebSocket have in common: their connection, and bounds of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from server.hub.connections import TcpConnection, TcpConnections

CONNECTION = "emotion.connection"  # in the environ of a request: (TcpConnections, TcpConnection)
BEFORE_JOINING = 4096  # bytes of a message while nobody knows whom it is for
FRAGMENTS = 4096  # of one message, empty ones included


def connection_of(environ: Mapping[str, Any]) -> tuple[TcpConnections, TcpConnection]:
    found: tuple[TcpConnections, TcpConnection] = environ[CONNECTION]
    return found


def unmask(data: bytes | bytearray, mask: Any, length: int | None = None, offset: int = 0) -> bytes:
    """XOR a WebSocket payload with its 4-byte mask (RFC 6455, 5.3).

    eventlet does this byte by byte in Python, which is half of all the CPU time of a server that receives audio.
    """
    n = len(data) if length is None else length
    turned = bytes(mask[offset % 4 :]) + bytes(mask[: offset % 4])
    pattern = np.frombuffer(turned * (n // 4 + 1), np.uint8, n)
    return (np.frombuffer(data, np.uint8, n) ^ pattern).tobytes()
