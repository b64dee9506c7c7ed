"""One session's results on their way to its client, who may be slow, or away for a while.

Results go out at once while the client keeps up. When too many wait in its connection they wait here, where
they are bounded: a client that does not read is disconnected, and may come back for what is kept. When a client
stays away, the oldest frame results give way; utterances, losses, alerts and the summary are kept.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger("sockets")

EXPENDABLE = frozenset({"emotion_result", "frame_result"})


class Client(Protocol):
    """The connection of a session's owner."""

    def send(self, event: str, payload: dict[str, Any]) -> None: ...

    def keeps_up(self) -> bool:
        """Whether its connection has room for more."""
        ...

    def drop(self) -> None:
        """Disconnect it: it does not read."""
        ...


class Outbox:
    """Keeps order. `on_dropped` is told of each result that was given up."""

    def __init__(self, limit: int, on_dropped: Callable[[str], None]) -> None:
        self._limit = limit
        self._on_dropped = on_dropped
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self.client: Client | None = None

    def put(self, event: str, payload: dict[str, Any]) -> None:
        client = self.client
        if client is not None and not self._waiting and client.keeps_up():
            client.send(event, payload)
            return
        self._waiting.append((event, payload))
        self.drain()
        if len(self._waiting) > self._limit:
            self._overflow()

    def drain(self) -> None:
        """Send what waits, as far as the client keeps up."""
        while self._waiting and self.client is not None and self.client.keeps_up():
            self.client.send(*self._waiting.popleft())

    def _overflow(self) -> None:
        if self.client is not None:
            log.warning("a client does not read its results and is disconnected")
            client, self.client = self.client, None
            client.drop()
        for index, (event, _) in enumerate(self._waiting):
            if event in EXPENDABLE:
                del self._waiting[index]
                self._on_dropped(event)
                return
        self._on_dropped(self._waiting.popleft()[0])  # nothing but verdicts: twice the memory is not ours
