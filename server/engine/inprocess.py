"""The engine as a thread beside its caller: for tests and tools. A server uses `process`.

A thread cannot be stopped: a window that waits is answered when its deadline has passed and the model is free
again; one that the model is working on is answered when the model has done so.
"""

from __future__ import annotations

import logging
import threading
import time

from server.engine import EngineSettings, Health, OnBatch, Reply, Timing
from server.engine.scoring import Admission, BatchQueue, Queued, limits_for, score_timed
from stream.types import Answer, EmotionModel, Failed, ModelSpec, Window

log = logging.getLogger("engine")


class InProcessEngine:
    """Scores on one thread, in batches. `spec` is there from the start: the model is handed in, loaded."""

    def __init__(self, model: EmotionModel, settings: EngineSettings) -> None:
        self.model = model
        self.on_batch: OnBatch = lambda n_windows, infer_s, background: None
        self._admission = Admission(settings)
        self._queue: BatchQueue[Reply] = BatchQueue(limits_for(model.spec, settings.batching))
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def spec(self) -> ModelSpec | None:
        return self.model.spec

    def submit(self, window: Window, reply: Reply) -> None:
        with self._wake:
            if not self._closing:
                self._admission.enter(window)
                self._queue.add(window, reply, time.monotonic())
                self._wake.notify()
                return
        reply(window, Failed("NOT_READY", "the engine is shutting down"), Timing())

    def health(self) -> Health:
        with self._wake:
            return Health(not self._closing, len(self._admission), restarts=0)

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            batch = self._in_time(batch)
            windows = [queued.window for queued in batch]
            answers = score_timed(self.model, windows, [queued.arrival_s for queued in batch])
            if answers:
                self.on_batch(len(answers), answers[0][1].infer_s, windows[0].background)
            for queued, (answer, timing) in zip(batch, answers, strict=True):
                self._answer(queued, answer, timing)

    def _in_time(self, batch: list[Queued[Reply]]) -> list[Queued[Reply]]:
        """Those whose deadline has not passed; the others are answered."""
        now, in_time = time.monotonic(), []
        for queued in batch:
            if late := self._admission.overdue(queued.window, queued.arrival_s, now):
                self._answer(queued, late, Timing())
            else:
                in_time.append(queued)
        return in_time

    def _answer(self, queued: Queued[Reply], answer: Answer, timing: Timing) -> None:
        window = queued.window
        with self._wake:
            self._admission.leave(window, answer, time.monotonic())
        try:
            queued.ticket(window, answer, timing)
        except Exception:  # one session's fault must not stop everybody's engine
            log.exception("an answer could not be delivered to session %s", window.session_id)

    def _next_batch(self) -> list[Queued[Reply]]:
        """Wait for a batch; empty once closed and nothing is held."""
        with self._wake:
            while True:
                # Once closing, batch mates will not come: a clock far ahead makes every window due.
                now = float("inf") if self._closing else time.monotonic()
                batch, wait_s = self._queue.take(now)
                if batch or self._closing:
                    return batch
                self._wake.wait(wait_s)
