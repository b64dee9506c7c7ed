"""The engine as supervised child processes: the socket process never imports torch, and a crash of the model
drops no connection.

Windows live here until they are answered, with everything needed to score them: when a child dies, another gets
what it held. Any of these may have been what killed it, so they are quarantined: each is tried again alone, before
all others. One whose child dies too is answered as failed, and nobody else with it.
A child that has stopped without dying is known by its missing heartbeat, and by live windows that it has had for
too long (`replica`). Which of several takes a window: `spread`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from server import logs
from server.engine import EngineSettings, Health, OnBatch, Reply, Timing
from server.engine.child import Child
from server.engine.devices import gpus, of_replica
from server.engine.messages import Answers
from server.engine.replica import TICK_S, Held, Replica
from server.engine.scoring import Admission, limits_for
from server.engine.spread import Spread
from stream.types import Answer, Failed, ModelSpec, Window

log = logging.getLogger("engine")


class ProcessEngine:
    """Call `start` once; `spec` is None until a child has loaded its model."""

    def __init__(
        self, settings: EngineSettings, log_level: str = "INFO", log_format: logs.Format = "text"
    ) -> None:
        self._settings = settings
        logging = {"log_level": log_level, "log_format": log_format}
        self._lock = threading.RLock()
        self.on_batch: OnBatch = lambda n_windows, infer_s, background: None
        self.on_answered: Callable[[], None] = lambda: None  # after all answers of a batch
        self.closing = False
        self._files_paused = False
        self._held: dict[int, Held] = {}
        self._admission = Admission(settings)
        self._quarantined: dict[int, None] = {}  # tickets, in order, of what a dead child was working on
        self._trial: Replica | None = None  # the one that has to try them, and gets nothing else
        self._next_ticket = 0
        self._next_tick = 0.0
        self._spec: ModelSpec | None = None
        self._fatal: str | None = None  # why no child will ever load
        self._spread = Spread(settings.batching)
        here = gpus() if settings.replicas > 1 else ()
        # A cluster's replicas are those of the one process that speaks for it.
        n = 1 if settings.kind == "ray" else settings.replicas
        self.replicas = [
            Replica(number, of_replica(settings, number, here), logging, self) for number in range(n)
        ]

    def start(self) -> None:
        for replica in self.replicas:
            replica.start()

    @property
    def spec(self) -> ModelSpec | None:
        return self._spec

    @property
    def pid(self) -> int | None:
        """The process id of the first child that answers now."""
        return next((child.pid for replica in self.replicas if (child := replica.child)), None)

    @property
    def n_up(self) -> int:
        """How many share the work now; 1 while there is none."""
        return sum(replica.n_up for replica in self.replicas) or 1

    def submit(self, window: Window, reply: Reply) -> None:
        with self._lock:
            if not self.closing:
                self._admission.enter(window)
                self._next_ticket += 1
                held = self._held[self._next_ticket] = Held(window, reply, time.monotonic())
                self._place(self._next_ticket, held)
                return
        reply(window, self._not_ready(), Timing())

    def pause_files(self, paused: bool) -> None:
        """Give children no more windows of files; those that come wait here, until it is called with False."""
        with self._lock:
            self._files_paused = paused
            if not paused:
                self._place_waiting()

    def health(self) -> Health:
        with self._lock:
            replicas = tuple(one for replica in self.replicas for one in replica.health())
            wrong = [replica.error or replica.late() for replica in self.replicas]
            fallbacks = sum((replica.fallbacks for replica in self.replicas), Counter[str]())
            waiting = len(self._held)
        up = any(replica.up for replica in replicas) and not self.closing
        error = None if up else self._fatal or next(filter(None, wrong), "no replica of the model answers")
        restarts = sum(replica.restarts for replica in replicas)
        return Health(up, waiting, restarts, error, self._fatal is not None, dict(fallbacks), replicas)

    def close(self) -> None:
        self.closing = True
        for replica in self.replicas:
            replica.join()
        self._answer_all()

    # -- where windows go; all of it needs the lock --------

    def _place(self, ticket: int, held: Held) -> None:
        """Send a window to the replica that is to score it, if one may have it now."""
        if self._files_paused and held.window.background:
            return
        free = {r.number: r.samples for r in self.replicas if r.child and r is not self._trial}
        if free:
            number = self._spread.choose(held.window, free, time.monotonic())
            self.replicas[number].send(ticket, held)

    def _place_waiting(self) -> None:
        """Send what may be sent now: one window of the quarantined to one replica, all others to the others."""
        self._try_quarantined()
        for ticket, held in list(self._held.items()):
            if held.replica is None and ticket not in self._quarantined:
                self._place(ticket, held)

    def _try_quarantined(self) -> None:
        if not self._quarantined:
            self._trial = None
            return
        if self._trial is None:
            up = [replica for replica in self.replicas if replica.child]
            self._trial = min(up, key=lambda replica: replica.samples, default=None)
        if self._trial and not self._trial.outstanding:  # or others would be blamed, too
            # Live ones first, as ever: min keeps the order among equals.
            ticket = min(self._quarantined, key=lambda t: self._held[t].window.background)
            self._trial.send(ticket, self._held[ticket])

    # -- what replicas say, on their threads --------

    def on_ready(self, replica: Replica, child: Child, spec: ModelSpec) -> None:
        with self._lock:
            if self._spec is None:
                self._spread = Spread(limits_for(spec, self._settings.batching))
            self._spec = replica.spec = spec
            replica.child, replica.error = child, None
            self._place_waiting()

    def on_answers(self, replica: Replica, answers: Answers) -> None:
        ticket, _, timing = answers.items[0]
        held = self._held.get(ticket)
        self.on_batch(len(answers.items), timing.infer_s, bool(held and held.window.background))
        with self._lock:
            for ticket, _, _ in answers.items:
                replica.answered(ticket)
        for ticket, answer, timing in answers.items:
            self._answer(ticket, answer, timing)
        self.on_answered()

    def on_leaving(self, replica: Replica) -> None:
        """Its child is about to be ended: nothing more is sent to it."""
        with self._lock:
            replica.child = None

    def on_ended(self, replica: Replica) -> None:
        """What it was working on is tried alone; what was quarantined already has failed."""
        with self._lock:
            sent = [ticket for ticket, held in self._held.items() if held.replica is replica]
            twice = [ticket for ticket in sent if ticket in self._quarantined]
            for ticket in sent:
                self._held[ticket].replica = None
                self._quarantined[ticket] = None
            replica.outstanding.clear()
            replica.samples = 0
            if self._trial is replica:
                self._trial = None
        for ticket in twice:
            self._answer(ticket, Failed("INFERENCE_FAILED", "the model process ended twice on it"), Timing())
        with self._lock:
            self._place_waiting()

    def on_fatal(self, message: str) -> None:
        self._fatal = self._fatal or message
        self._answer_all()

    def on_tick(self, now: float) -> None:
        """Answer what has waited too long."""
        with self._lock:
            if now < self._next_tick:
                return  # another replica has just looked
            self._next_tick = now + TICK_S / 2
            overdue = [
                (ticket, late)
                for ticket, held in self._held.items()
                if (late := self._admission.overdue(held.window, held.submitted_s, now))
            ]
        for ticket, late in overdue:
            self._answer(ticket, late, Timing())

    def _answer(self, ticket: int, answer: Answer, timing: Timing) -> None:
        with self._lock:
            held = self._held.pop(ticket, None)
            if held is not None:
                self._admission.leave(held.window, answer, time.monotonic())
            self._quarantined.pop(ticket, None)
            if self._trial and not self._trial.outstanding:
                self._place_waiting()
        if held is None:
            return  # its deadline had passed
        try:
            held.reply(held.window, answer, timing)
        except Exception:  # one session's fault must not stop everybody's engine
            log.exception("an answer could not be delivered to session %s", held.window.session_id)

    def _answer_all(self) -> None:
        self.closing = True
        with self._lock:
            tickets = list(self._held)
        for ticket in tickets:
            self._answer(ticket, self._not_ready(), Timing())

    def _not_ready(self) -> Failed:
        return Failed("NOT_READY", self._fatal or "the server is shutting down")
