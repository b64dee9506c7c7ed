"""Events on their way to the program: put by the connection, taken by a thread, a task or both. Bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from emotion_stream_client.events import Event, Frame, Result, Skipped


class Inbox:
    """`on_news()` is called after each change, in the thread that made it."""

    def __init__(self, limit: int, on_news: Callable[[], None]) -> None:
        self._limit, self._on_news = limit, on_news
        self._waiting: deque[Event] = deque()
        self._skipped = 0
        self._news = threading.Condition()
        self._over = False
        self._failure: BaseException | None = None

    def put(self, event: Event) -> None:
        """Add an event, from any thread; past the limit the oldest result of frames is skipped, and counted."""
        with self._news:
            self._waiting.append(event)
            if len(self._waiting) > self._limit:
                self._skip()
            self._news.notify()
        self._on_news()

    def _skip(self) -> None:
        droppable = (i for i, event in enumerate(self._waiting) if isinstance(event, Result | Frame))
        del self._waiting[next(droppable, 0)]
        self._skipped += 1

    def end(self, failure: BaseException | None = None) -> None:
        """No more will come. Who takes beyond what waits is told `failure`."""
        with self._news:
            if not self._over:
                self._over, self._failure = True, failure
            self._news.notify_all()
        self._on_news()

    @property
    def ready(self) -> bool:
        """Whether `take` gives something at once, if only the end."""
        return bool(self._waiting or self._skipped or self._over)

    def take(self, block: bool = False) -> Event | None:
        """The next event; None when there is none: not now, or (`block`) never again. Raises as `end` was told."""
        with self._news:
            while block and not self.ready:
                self._news.wait()
            if self._skipped:
                skipped, self._skipped = self._skipped, 0
                return Skipped(kind="skipped", raw={}, events=skipped)
            if self._waiting:
                return self._waiting.popleft()
            if self._failure is not None:
                raise self._failure
            return None

    @property
    def over(self) -> bool:
        """Whether nothing more will come, and all has been taken."""
        return self._over and not (self._waiting or self._skipped)
