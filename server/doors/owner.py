"""The owner of sessions who comes by a WebSocket without Socket.IO: what it is sent, and how its connection ends.

A thread of its own writes; nobody else ever waits for a client that does not read. The bounds of what may come are
those of Socket.IO (`server.live.transport`).
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from server import wire
from server.errors import RETRYABLE
from server.hub import WebSocket, connection_of
from server.hub.connections import LINGER_S, SILENCE_S
from server.live.connection import Owner
from server.live.transport import TransportLimits
from server.live.unjoined import JOIN_TIMEOUT_S
from server.peer import peer
from stream.types import JsonDict

PING_S = 20.0  # eventlet gives a socket up that is silent for SILENCE_S
# Of RFC 6455, and its private range.
GOING_AWAY, POLICY, TRY_LATER = 1001, 1008, 1013
UNAUTHORIZED, TIMED_OUT = 4401, 4408


class SocketOwner(Owner):
    """`closed` and `close` are what TransportLimits looks for."""

    opens_unasked = False
    closed = False

    def __init__(self, ws: WebSocket, messages_per_s: float, leaving: Callable[[], bool]) -> None:
        """`leaving`: whether the server is shutting down."""
        super().__init__(secrets.token_urlsafe(15), messages_per_s)
        self._ws, self._leaving = ws, leaving
        self._limits = TransportLimits(threading.Event())
        self._limits.ws, self._limits.peer = ws, peer(ws.environ)
        self._send_now: Callable[[str], bool] | None = getattr(ws, "send_now", None)
        self._queue: queue.Queue[str | tuple[int, str] | None] = queue.Queue()  # bounded by who asks `unsent`
        self.closing = False
        self._writer = threading.Thread(target=self._write, name="door", daemon=True)
        self._writer.start()

    def join(self) -> None:
        """It has been let in: its messages may be as long as audio."""
        self._limits.join()

    def messages(self) -> Iterator[str | bytes]:
        """What it sends, until it is over. Ends for who floods."""
        with suppress(OSError):
            while not self.closing and (message := self._ws.wait()) is not None:
                if not self._limits.messages.take(1, time.monotonic()):
                    self._limits.cut(self, "flood", "far more messages than are served")
                    return
                yield message

    def tell(self, message: JsonDict) -> None:
        if self.closing:
            return
        text = wire.Json.dumps(message)
        # A task that has to wake up costs more than writing: it writes what has to wait.
        if self._send_now is None or self.unsent() or not self._send_now(text):
            self._queue.put(text)

    def _send(self, event: str, payload: JsonDict) -> None:
        self.tell({"type": event, **payload})

    def unsent(self) -> int:
        return self._queue.unfinished_tasks

    def has_capacity(self) -> bool:
        return not self.closing and super().has_capacity()  # what it does not get waits for its return

    def too_many_mistakes(self) -> bool:
        return self._limits.over(self)

    def malformed(self, words: str) -> None:
        """What it sent is no message at all: it is told so by an error before, and goes."""
        self._limits.cut(self, "malformed", words)

    def drop(self) -> None:
        leaving = self._leaving()
        words = "the server is shutting down" if leaving else "results are not read"
        self.end(GOING_AWAY if leaving else POLICY, words)

    def close(self, wait: bool = False) -> None:
        self.end(POLICY, "")

    def end(self, code: int, reason: str) -> None:
        """Close it once what was said before has been written; who does not read that is cut off soon."""
        if not self.closing:
            self.closing = True
            connection_of(self._ws.environ)[1].close_soon()
            self._queue.put((code, reason))

    def turn_away(self, code: str) -> None:
        """Close it for an error of the contract: whether to come again, its status says."""
        status = UNAUTHORIZED if code == "UNAUTHORIZED" else TRY_LATER if code in RETRYABLE else POLICY
        self.end(status, code)

    def gone(self) -> None:
        """Its connection is over, once its last words are written or can no longer be."""
        self.closing = True
        connection_of(self._ws.environ)[1].close_soon()
        self._queue.put(None)
        self._writer.join(LINGER_S + 1)

    def _write(self) -> None:
        try:
            while self._write_one():
                pass
        except OSError:  # it has gone, or has not read for long
            self.closing = True
            connection_of(self._ws.environ)[1].close_soon()

    def _write_one(self) -> bool:
        """False when it was the last."""
        try:
            item = self._queue.get(timeout=PING_S if self._limits.joined else JOIN_TIMEOUT_S)
        except queue.Empty:
            self._look_after()
            return True
        try:
            if isinstance(item, str):
                self._ws.send(item)
            elif item is not None:
                self._ws.goodbye(*item)
        finally:
            self._queue.task_done()
        return isinstance(item, str)

    def _look_after(self) -> None:
        """Nothing was written for a while. Some peers never answer pings: audio is as good."""
        if not self._limits.joined:
            self.end(TIMED_OUT, "no start came in time")
        elif time.monotonic() - self._ws.heard_at > SILENCE_S:
            self.end(TIMED_OUT, "nothing was heard for too long")
        else:
            self._ws.ping()
