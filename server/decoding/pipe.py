"""What the server and a process that reads strangers' bytes say to each other, over a pair of connected sockets.

A message is a line of JSON, then the frames whose sizes it names: windows and answers as the engine packs them.
Nothing is unpickled. A socket pair rather than the engine's ZeroMQ: its end of file is the other side's death.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from stream.types import SAMPLE_RATE

MAX_HEAD = 1 << 20
MAX_FRAMES = 1 << 26  # bytes in one message
BLOCK = SAMPLE_RATE // 2  # samples per channel that a decoder of live audio sends in one, at most


class PeerClosed(Exception):
    """The other side is gone, or sent what makes no sense."""


@dataclass(frozen=True, eq=False)
class PipeMessage:
    kind: str
    fields: dict[str, Any]
    frames: list[bytes]


class Pipe:
    """One end. Any thread may `send`; one may `receive`."""

    def __init__(self, end: socket.socket, max_frames: int = MAX_FRAMES) -> None:
        """`max_frames`: bytes of frames in a message that is received."""
        self._socket, self._max_frames = end, max_frames
        self._reader = end.makefile("rb")
        self._lock = threading.Lock()

    def send(self, kind: str, fields: dict[str, Any], frames: Sequence[bytes | memoryview] = ()) -> None:
        """Raises PeerClosed."""
        raw = [bytes(frame) for frame in frames]
        head = orjson.dumps({"kind": kind, "fields": fields, "sizes": [len(frame) for frame in raw]})
        with self._lock:
            try:
                self._socket.sendall(b"".join([head, b"\n", *raw]))
            except OSError as broken:
                raise PeerClosed(str(broken)) from None

    def receive(self) -> PipeMessage:
        """The next message. Raises PeerClosed, also where there is no other side any more."""
        try:
            line = self._reader.readline(MAX_HEAD)
            if not line.endswith(b"\n"):
                raise PeerClosed("the connection has ended")
            head = orjson.loads(line)
            if sum(head["sizes"]) > self._max_frames:
                raise PeerClosed("a message is too large")
            frames = [self._exactly(size) for size in head["sizes"]]
            return PipeMessage(head["kind"], head["fields"], frames)
        except (OSError, ValueError, KeyError, TypeError) as wrong:
            raise PeerClosed(str(wrong)) from None

    def close(self) -> None:
        """Whoever is receiving meanwhile is told that it has ended, and closes the reader by letting go of it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(RuntimeError):  # eventlet: the reader is inside a read of another green thread
            self._reader.close()
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) != size:
            raise PeerClosed("the connection has ended")
        return data
