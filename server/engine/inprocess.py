"""The engine as a thread beside its caller: for tests and tools. A server uses `process`.

A thread cannot be stopped: a window that waits is answered when its deadline has passed and the model is free
again; one that the model is working on is answered when the model has done so.
"""

from __future__ import annotations

import logging
import threading
import time

from server.engine import Busy, EngineSettings, Health, Reply, Timing
from server.engine.scoring import WaitingRoom, score_timed
from stream.types import Answer, EmotionModel, Failed, ModelSpec, Window

_Waiting = tuple[Window, Reply, float]

log = logging.getLogger("engine")


class InProcessEngine:
    """Scores on one thread, in batches. `spec` is there from the start: the model is handed in, loaded."""

    def __init__(self, model: EmotionModel, settings: EngineSettings) -> None:
        self._model = model
        self._settings = settings
        self._waiting: WaitingRoom[Reply] = WaitingRoom(settings.batching)
        self._running = 0
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
                if len(self._waiting) + self._running >= self._settings.max_queue:
                    raise Busy()
                self._waiting.add(window, reply, time.monotonic())
                self._wake.notify()
                return
        reply(window, Failed("NOT_READY", "the engine is shutting down"), Timing())

    def health(self) -> Health:
        with self._wake:
            return Health(not self._closing, len(self._waiting) + self._running, restarts=0)

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
            with self._wake:
                self._running = 0
            for (window, reply, _), (answer, timing) in zip(batch, answers, strict=True):
                _tell(window, reply, answer, timing)

    def _in_time(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Those whose deadline has not passed; the others are answered."""
        limit = self._settings.deadline_s
        oldest = time.monotonic() - limit
        for window, reply, arrival in batch:
            if arrival < oldest:
                _tell(window, reply, Failed("INFERENCE_TIMEOUT", f"no scores within {limit:g} s"), Timing())
        return [waiting for waiting in batch if waiting[2] >= oldest]

    def _next_batch(self) -> list[_Waiting]:
        """Wait for a batch; empty once closed and nothing is held."""
        with self._wake:
            while True:
                # Once closing, company will not come: a clock far ahead makes every window due.
                now = float("inf") if self._closing else time.monotonic()
                batch, wait_s = self._waiting.take(now)
                if batch or self._closing:
                    self._running = len(batch)
                    return batch
                self._wake.wait(wait_s)


def _tell(window: Window, reply: Reply, answer: Answer, timing: Timing) -> None:
    try:
        reply(window, answer, timing)
    except Exception:  # one session's fault must not stop everybody's engine
        log.exception("an answer could not be delivered to session %s", window.session_id)
