"""The engine as a thread beside its caller: for tests and tools. A server uses `process`.

A thread cannot be stopped: a window that waits is answered when its deadline has passed and the model is free
again; one that the model is working on is answered when the model has done so.
"""

from __future__ import annotations

import logging
import threading
import time

from server.engine import EngineSettings, Health, Reply, Timing
from server.engine.scoring import Bounds, WaitingRoom, limits_for, score_timed
from stream.types import Answer, EmotionModel, Failed, ModelSpec, Window

_Waiting = tuple[Window, Reply, float]

log = logging.getLogger("engine")


class InProcessEngine:
    """Scores on one thread, in batches. `spec` is there from the start: the model is handed in, loaded."""

    def __init__(self, model: EmotionModel, settings: EngineSettings) -> None:
        self._model = model
        self._bounds = Bounds(settings)
        self._waiting: WaitingRoom[Reply] = WaitingRoom(limits_for(model.spec, settings.batching))
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def spec(self) -> ModelSpec | None:
        return self._model.spec

    def submit(self, window: Window, reply: Reply) -> None:
        with self._wake:
            if not self._closing:
                self._bounds.enter(window)
                self._waiting.add(window, reply, time.monotonic())
                self._wake.notify()
                return
        reply(window, Failed("NOT_READY", "the engine is shutting down"), Timing())

    def health(self) -> Health:
        with self._wake:
            return Health(not self._closing, len(self._bounds), restarts=0)

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            batch = self._in_time(batch)
            windows = [window for window, _, _ in batch]
            answers = score_timed(self._model, windows, [arrival for _, _, arrival in batch])
            for (window, reply, _), (answer, timing) in zip(batch, answers, strict=True):
                self._tell(window, reply, answer, timing)

    def _in_time(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Those whose deadline has not passed; the others are answered."""
        now, in_time = time.monotonic(), []
        for waiting in batch:
            window, reply, arrival = waiting
            if late := self._bounds.overdue(window, arrival, now):
                self._tell(window, reply, late, Timing())
            else:
                in_time.append(waiting)
        return in_time

    def _tell(self, window: Window, reply: Reply, answer: Answer, timing: Timing) -> None:
        with self._wake:
            self._bounds.leave(window, answer, time.monotonic())
        try:
            reply(window, answer, timing)
        except Exception:  # one session's fault must not stop everybody's engine
            log.exception("an answer could not be delivered to session %s", window.session_id)

    def _next_batch(self) -> list[_Waiting]:
        """Wait for a batch; empty once closed and nothing is held."""
        with self._wake:
            while True:
                # Once closing, company will not come: a clock far ahead makes every window due.
                now = float("inf") if self._closing else time.monotonic()
                batch, wait_s = self._waiting.take(now)
                if batch or self._closing:
                    return batch
                self._wake.wait(wait_s)
