"""A second model process that has loaded and waits: when the first ends or hangs, it takes over at once.

It costs a model's memory once more. Its faults are told, and never end the engine: without it, a successor is
started and loaded as ever. Everything here runs on the supervisor's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from server.engine.child import Child
from server.engine.messages import Fatal, Ready
from stream.types import ModelSpec

AGAIN_S = 30.0  # after a spare that could not be kept, before the next is tried
SILENCE_S = 60.0  # without a heartbeat for so long it is replaced; one that waits sends one a second

log = logging.getLogger("engine")


class Spare:
    """Keeps one where it is `wanted`. `start` starts a process; it may raise."""

    def __init__(self, wanted: bool, start: Callable[[], Child]) -> None:
        self._wanted, self._start = wanted, start
        self._child: Child | None = None
        self._spec: ModelSpec | None = None  # once it has loaded
        self._last_message_s = self._not_before = -float("inf")

    @property
    def ready(self) -> bool:
        """Whether one has loaded and runs."""
        return self._child is not None and self._spec is not None and self._child.ended() is None

    def take(self) -> tuple[Child, ModelSpec | None] | None:
        """Give it away, with its model if that has loaded: it is the caller's now. None when there is none."""
        child, spec = self._child, self._spec
        self._child = self._spec = None
        if child is not None and (how := child.ended()) is not None:
            log.warning("the spare model process has ended, too: %s", how)
            child.kill()
            return None
        return None if child is None else (child, spec)

    def poll(self, now: float) -> None:
        """Start one if there is none, and take in what it says. To be called now and then; never waits."""
        if not self._wanted:
            return
        if self._child is None:
            if now >= self._not_before:
                self._begin(now)
            return
        while (message := self._child.receive(0.0)) is not None:
            self._last_message_s = now
            if isinstance(message, Ready):
                self._spec = message.spec
                log.info("a spare process has loaded the model, process %d", self._child.pid)
            elif isinstance(message, Fatal):
                self._give_up(message.message, now)
                return
        if (how := self._child.ended()) is not None:
            self._give_up(how, now)
        elif now - self._last_message_s > SILENCE_S:
            self._give_up(f"no heartbeat for {SILENCE_S:g} s", now)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child = None
        self._wanted = False

    def _begin(self, now: float) -> None:
        self._last_message_s = now
        try:
            self._child = self._start()
        except Exception as wrong:  # no memory, no disk: the one that serves must not feel it
            log.warning("no spare model process: %s", wrong)
            self._not_before = now + AGAIN_S

    def _give_up(self, why: str, now: float) -> None:
        log.warning("the spare model process is given up: %s", why)
        assert self._child is not None
        self._child.kill()
        self._child = self._spec = None
        self._not_before = now + AGAIN_S
