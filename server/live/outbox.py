"""One session's results on their way to its client, who may be slow, or away for a while.

Results go out at once while the client keeps up. When too many wait in its connection they wait here, where
they are bounded: a client that does not read is disconnected, and may come back for what is kept. When a client
stays away, the oldest frame results give way; utterances, losses, alerts and the summary are kept. What was sent
last is kept too, for a client that comes back and lacks it: it was under way when the connection broke.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from server.live.trail import Trail
from stream.types import JsonDict

log = logging.getLogger("sockets")

EXPENDABLE = frozenset({"emotion_result", "frame_result"})
# Events kept after they were sent: ten seconds of results; a connection holds less than its backlog.
REPLAY_BUFFER = 100
# How often a client that is behind is looked at: its connection does not tell when it has room.
POLL_S = 0.02


class Client(Protocol):
    """The connection of a session's owner."""

    def send(self, event: str, payload: JsonDict) -> None: ...

    def has_capacity(self) -> bool:
        """Whether its connection has room for more."""
        ...

    def drop(self) -> None:
        """Disconnect it: it does not read."""
        ...


class Outbox:
    """Keeps order. Lives on after its session until it is empty or its client gone.

    `on_dropped` is told the event of each result that was given up. May be called from any thread.
    """

    def __init__(self, session_id: str, limit: int, on_dropped: Callable[[str], None]) -> None:
        self._session_id, self._limit = session_id, limit
        self._on_dropped = on_dropped
        self._waiting: deque[tuple[str, JsonDict]] = deque()
        self._sent: deque[tuple[str, JsonDict]] = deque(maxlen=REPLAY_BUFFER)
        self._count = 0  # of events sent
        self._client: Client | None = None
        self._lock = threading.RLock()
        self._draining = False  # a thread looks after the client that is behind
        self.trail: Trail | None = None  # of what is sent, where there are other workers

    @property
    def pending(self) -> bool:
        """Whether results wait for a client that is there."""
        return bool(self._waiting) and self._client is not None

    def attach(self, client: Client | None, last_received: int | None = None) -> None:
        """Send to `client` from now on, what waits first; None: nobody is there.

        `last_received`: how many events it has got before. It lacks the rest of what was sent.
        """
        with self._lock:
            lacks = 0 if last_received is None else min(max(0, self._count - last_received), len(self._sent))
            for _ in range(lacks):
                self._waiting.appendleft(self._sent.pop())
            self._count = self._count if last_received is None else max(0, last_received)
            if self.trail is not None and last_received is not None:
                self.trail.rewind(self._count)
            self._client = client
            self._drain()

    def tell_now(self, event: str, payload: JsonDict) -> None:
        """Tell who is there, before all that waits; nobody who comes later."""
        with self._lock:
            if self._client is not None:
                self._client.send(event, payload)

    def hand_over(self, received: int | None) -> list[tuple[str, JsonDict]]:
        """All that a client which has got so many events has still to be told; nothing goes out any more."""
        with self._lock:
            self._client = None
            lacks = 0 if received is None else min(max(0, self._count - received), len(self._sent))
            sent = list(self._sent)[len(self._sent) - lacks :]
            events = [*sent, *self._waiting]
            self._waiting.clear()
            return events

    def put(self, event: str, payload: JsonDict) -> None:
        with self._lock:
            if self._client is not None and not self._waiting and self._client.has_capacity():
                self._send(self._client, event, payload)
                return
            self._waiting.append((event, payload))
            self._drain()
            if len(self._waiting) > self._limit:
                self._overflow()

    def _send(self, client: Client, event: str, payload: JsonDict) -> None:
        if self.trail is None:
            client.send(event, payload)
        else:
            if event != "error":  # first: what it holds may be told, and not the reverse
                self.trail.told(event, payload)
            self.trail.then(partial(client.send, event, payload))
        if event != "error":  # clients count results
            self._sent.append((event, payload))
            self._count += 1

    def _drain(self) -> None:
        """Send what waits, as far as the client keeps up; see to the rest later."""
        while self._waiting and self._client is not None and self._client.has_capacity():
            self._send(self._client, *self._waiting.popleft())
        if self.pending and not self._draining:
            self._draining = True
            threading.Thread(target=self._keep_draining, daemon=True).start()

    def _keep_draining(self) -> None:
        while self._draining:
            time.sleep(POLL_S)
            with self._lock:
                self._drain()
                self._draining = self.pending

    def _overflow(self) -> None:
        if self._client is not None:
            log.warning("client does not read its results; disconnected", extra={"session": self._session_id})
            client, self._client = self._client, None
            client.drop()
        for index, (event, _) in enumerate(self._waiting):
            if event in EXPENDABLE:
                del self._waiting[index]
                self._on_dropped(event)
                return
        self._on_dropped(self._waiting.popleft()[0])  # nothing but verdicts: even these are bounded
