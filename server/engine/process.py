"""The engine as a supervised child process: the socket process never imports torch, and a crash of the model
drops no connection.

Windows live here until they are answered, with everything needed to score them: when the child dies, a new one
gets what the old one held. Any of these may have been what killed it, so they are quarantined: each is tried again
alone, before all others. One whose child dies too is answered as failed, and nobody else with it.
A child that has stopped without dying is known by its missing heartbeat, and by live windows that it has had for
too long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from server import logs
from server.engine import EngineSettings, Health, OnBatch, Reply, Timing
from server.engine.child import Child, SocketPathError
from server.engine.messages import Answers, Fatal, Ready
from server.engine.scoring import Admission
from server.engine.spare import Spare
from stream.types import Answer, Failed, ModelSpec, Window

log = logging.getLogger("engine")

TICK_S = 0.1  # how often deadlines and the child's health are looked at
LOAD_S = 60.0  # the heartbeat timeout while it loads its model
MAX_BACKOFF_S = 5.0
LATE_S = 2.0  # no sooner than this is a child late: when it is idle it has a heartbeat a second
LAPSE_S = 0.5  # silence that one receive may add: more, and this process stood still


@dataclass(eq=False)
class _Held:
    window: Window
    reply: Reply
    submitted_s: float
    sent: bool = False  # to the child that runs now
    sent_s: float = 0.0  # since when


class ProcessEngine:
    """Call `start` once; `spec` is None until the child has loaded its model."""

    def __init__(
        self, settings: EngineSettings, log_level: str = "INFO", log_format: logs.Format = "text"
    ) -> None:
        self._settings = settings
        self._logging = {"log_level": log_level, "log_format": log_format}
        self._lock = threading.RLock()
        self.on_batch: OnBatch = lambda n_windows, infer_s, background: None
        self.on_answered: Callable[[], None] = lambda: None  # after all answers of a batch
        self._files_paused = False
        self._held: dict[int, _Held] = {}
        self._admission = Admission(settings)
        self._quarantined: dict[int, None] = {}  # tickets, in order, of what a dead child was working on
        self._next_ticket = 0
        self._child: Child | None = None  # the child that has loaded its model
        self._spec: ModelSpec | None = None
        self._restarts = 0
        self._fallbacks: Counter[str] = Counter()  # of all children together
        self._fallbacks_seen: dict[str, int] = {}  # of this one
        self._error: str | None = "the model is loading"
        self._fatal = False
        self._closing = False
        self._silent_s = 0.0  # for how long the child has said nothing while we listened
        self._spare = Spare(settings.spare, lambda: Child(settings, self._logging))
        self._supervisor = threading.Thread(target=self._supervise, name="engine", daemon=True)

    def start(self) -> None:
        self._supervisor.start()

    @property
    def spec(self) -> ModelSpec | None:
        return self._spec

    @property
    def pid(self) -> int | None:
        """The process id of the child that answers now."""
        return self._child.pid if self._child else None

    def submit(self, window: Window, reply: Reply) -> None:
        with self._lock:
            if not self._closing:
                self._admission.enter(window)
                self._next_ticket += 1
                held = _Held(window, reply, time.monotonic())
                self._held[self._next_ticket] = held
                if self._child and not self._quarantined and not self._pauses(window):
                    self._send(self._child, self._next_ticket, held)
                return
        reply(window, self._not_ready(), Timing())

    def pause_files(self, paused: bool) -> None:
        """Give the child no more windows of files; those that come wait here, until it is called with False."""
        with self._lock:
            self._files_paused = paused
            if not paused:
                self._send_waiting()

    def _pauses(self, window: Window) -> bool:
        return self._files_paused and window.background

    def health(self) -> Health:
        with self._lock:
            up = self._child is not None
            error = (self._late() if up else None) or self._error
        up = up and error is None
        return Health(up, len(self._held), self._restarts, error, self._fatal, dict(self._fallbacks))

    def _late(self) -> str | None:
        """That the child gives no answers, in words: half as long as would have it replaced. Needs the lock."""
        held = self._held.values()
        oldest_s = next((h.sent_s for h in held if h.sent and not h.window.background), float("inf"))
        waited_s = max(time.monotonic() - oldest_s, self._silent_s)
        return (
            f"the model has not answered for {waited_s:.1f} s"
            if waited_s > max(self._heartbeat_timeout_s / 2, LATE_S)
            else None
        )

    @property
    def _heartbeat_timeout_s(self) -> float:
        return self._settings.heartbeat_timeout_s or (
            self._spec.heartbeat_timeout_s if self._spec else LOAD_S
        )

    def close(self) -> None:
        self._closing = True
        if self._supervisor.is_alive():
            self._supervisor.join()
        self._answer_all()

    # -- everything below runs on the supervisor's thread, but _send and what answers at the end --------

    def _supervise(self) -> None:
        backoff_s = 0.0
        while not self._closing and not self._fatal:
            began = time.monotonic()
            why = self._run_child()
            if self._closing or self._fatal:
                break
            self._restarts += 1
            self._error = f"the model process ended: {why}; restarting"
            log.error("%s (restart %d, %d windows held)", self._error, self._restarts, len(self._held))
            self._quarantine()
            # At once after a long life; ever slower when it dies at the start.
            lasted = time.monotonic() - began > 10 or self._spare.ready
            backoff_s = 0.0 if lasted else min(MAX_BACKOFF_S, 2 * backoff_s + 0.1)
            self._sleep(backoff_s)
        self._spare.close()
        self._answer_all()

    def _run_child(self) -> str:
        """Serve with the spare, or else with a new child, until it has ended; says why it has."""
        child, spec = None, None
        try:
            child, spec = self._spare.take() or (Child(self._settings, self._logging), None)
            return self._serve(child, spec)
        except SocketPathError as hopeless:
            self._error, self._fatal = str(hopeless), True
            return str(hopeless)
        except Exception as broken:  # no memory, no disk, …: this thread must live, or nobody is answered
            log.exception("the model process cannot be kept running")
            return f"{type(broken).__name__}: {broken}"
        finally:
            with self._lock:
                self._child = None
                self._error = self._error or "the model process is being replaced"
            if child:
                child.kill()

    def _serve(self, child: Child, spec: ModelSpec | None) -> str:
        """Receive until the child ends or has to be ended; says why. `spec`: it has loaded its model already."""
        self._silent_s, listened_s, next_tick = 0.0, time.monotonic(), 0.0
        if spec is not None:
            self._on_ready(child, spec)
        while not self._closing:
            message = child.receive(TICK_S)
            now = time.monotonic()
            self._silent_s = 0.0 if message else self._silent_s + min(now - listened_s, LAPSE_S)
            listened_s = now
            if isinstance(message, Answers):
                self._count_fallbacks(message.fallbacks)
                ticket, _, timing = message.items[0]
                held = self._held.get(ticket)
                self.on_batch(len(message.items), timing.infer_s, bool(held and held.window.background))
                for ticket, answer, timing in message.items:
                    self._answer(ticket, answer, timing)
                self.on_answered()
            elif isinstance(message, Ready):
                self._on_ready(child, message.spec)
            elif isinstance(message, Fatal):
                self._error, self._fatal = message.message, True
                return message.message
            if now < next_tick:
                continue
            next_tick = now + TICK_S
            self._answer_overdue(now)
            if (status := child.ended()) is not None:
                return status
            limit_s = self._heartbeat_timeout_s if self._child else LOAD_S
            if self._silent_s > limit_s:
                return f"no heartbeat for {limit_s:g} s"
            if self._child:
                self._spare.poll(now)
        return "closed"

    def _count_fallbacks(self, counts: dict[str, int]) -> None:
        for remedy, n in counts.items():
            self._fallbacks[remedy] += n - self._fallbacks_seen.get(remedy, 0)
        self._fallbacks_seen = counts

    def _on_ready(self, child: Child, spec: ModelSpec) -> None:
        child.connect()
        self._fallbacks_seen = {}
        with self._lock:
            self._spec, self._child, self._error = spec, child, None
            self._send_waiting()
        how = f"{spec.dtype}, {spec.runtime}"
        log.info("model %s on %s (%s), process %d", spec.name, spec.device, how, child.pid)

    def _send(self, child: Child, ticket: int, held: _Held) -> None:
        held.sent, held.sent_s = True, time.monotonic()
        child.send(ticket, held.window, held.submitted_s)

    def _send_waiting(self) -> None:
        """Send what the child may have now: one window of the quarantined, else everything. Needs the lock."""
        if self._child is None:
            return
        # Live ones first, as ever: min keeps the order among equals.
        alone = min(self._quarantined, key=lambda t: self._held[t].window.background, default=None)
        for ticket in list(self._held) if alone is None else [alone]:
            if not self._held[ticket].sent and not self._pauses(self._held[ticket].window):
                self._send(self._child, ticket, self._held[ticket])

    def _quarantine(self) -> None:
        """The child has died: what it was working on is tried alone; what was quarantined already has failed."""
        with self._lock:
            sent = [ticket for ticket, held in self._held.items() if held.sent]
            twice = [ticket for ticket in sent if ticket in self._quarantined]
            for ticket in sent:
                self._held[ticket].sent = False
                self._quarantined[ticket] = None
        for ticket in twice:
            self._answer(ticket, Failed("INFERENCE_FAILED", "the model process ended twice on it"), Timing())

    def _answer(self, ticket: int, answer: Answer, timing: Timing) -> None:
        with self._lock:
            held = self._held.pop(ticket, None)
            if held is not None:
                self._admission.leave(held.window, answer, time.monotonic())
            if ticket in self._quarantined:
                del self._quarantined[ticket]
                self._send_waiting()
        if held is None:
            return  # its deadline had passed
        try:
            held.reply(held.window, answer, timing)
        except Exception:  # one session's fault must not stop everybody's engine
            log.exception("an answer could not be delivered to session %s", held.window.session_id)

    def _answer_overdue(self, now: float) -> None:
        with self._lock:
            overdue = [
                (ticket, late)
                for ticket, held in self._held.items()
                if (late := self._admission.overdue(held.window, held.submitted_s, now))
            ]
        for ticket, late in overdue:
            self._answer(ticket, late, Timing())

    def _not_ready(self) -> Failed:
        reason = self._error if self._fatal else None
        return Failed("NOT_READY", reason or "the server is shutting down")

    def _answer_all(self) -> None:
        self._closing = True
        with self._lock:
            tickets = list(self._held)
        for ticket in tickets:
            self._answer(ticket, self._not_ready(), Timing())

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._closing and time.monotonic() < end:
            self._answer_overdue(time.monotonic())
            time.sleep(min(TICK_S, seconds))
