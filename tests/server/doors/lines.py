"""A peer of the AudioSocket door that says what it likes, and what is posted of its calls."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import uuid
from typing import Any

from tests.conftest import Server, free_port
from tests.server.clients import eventually
from tests.server.conftest import running
from tests.server.receivers import Receiver

HANG_UP = b"\0\0\0"
SLIN = {8_000: 0x10, 12_000: 0x11, 16_000: 0x12, 24_000: 0x13, 32_000: 0x14, 44_100: 0x15, 48_000: 0x16}


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack("!BH", kind, len(payload)) + payload


class Line:
    """A call."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.uuid = str(uuid.uuid4())

    def hello(self) -> Line:
        self.say(frame(0x01, uuid.UUID(self.uuid).bytes))
        return self

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def speak(self, pcm: bytes, rate: int = 8_000, size: int = 0) -> None:
        """Frames of `size` bytes, of 20 ms where nothing else is said."""
        size = size or rate // 50 * 2
        for at in range(0, len(pcm), size):
            self.say(frame(SLIN[rate], pcm[at : at + size]))

    def rest(self) -> bytes:
        """What the server says until it closes; then so does this end."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while piece := self.sock.recv(1000):
                said += piece
        self.close()
        return said

    def close(self) -> None:
        self.sock.close()


def reporting(hook: Receiver, **settings: Any) -> running:
    """A server that posts its results to `hook`."""
    webhooks = [{"name": "calls", "url": hook.url, "events": ["utterance", "summary"]}]
    return running(alerts__webhooks=json.dumps(webhooks), **settings)


def told(hook: Receiver, session_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The utterances and the summary of a session, once that has ended."""

    def posts(event: str) -> list[dict[str, Any]]:
        return [p.json for p in hook.posts if p.json["session_id"] == session_id and p.json["event"] == event]

    eventually(lambda: posts("summary"), "its summary is posted")
    (summary,) = posts("summary")
    return posts("utterance"), summary


def same(one: list[dict[str, Any]], other: list[dict[str, Any]], tolerance: float) -> None:
    """Two lists of utterances."""
    assert len(one) == len(other) > 0
    for mine, theirs in zip(one, other, strict=True):
        assert (mine["start_ms"], mine["end_ms"]) == (theirs["start_ms"], theirs["end_ms"])
        for label, score in mine["scores"].items():
            assert abs(score - theirs["scores"][label]) <= tolerance, (label, mine, theirs)


def phone(server: Server) -> int:
    """The port that `calling` gave it."""
    return int(server._env["EMOTION_DOORS__AUDIOSOCKET_PORT"])


def calling(**settings: Any) -> dict[str, Any]:
    return {"doors__audiosocket_port": free_port(), **settings}
