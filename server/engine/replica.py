"""One of an engine's model processes, supervised on a thread of its own: started, listened to, replaced when it
has ended or hangs. Which windows it is given, and what becomes of them when it ends, is its engine's business.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from server.engine import EngineSettings, ReplicaHealth, Reply
from server.engine.child import Child, SocketPathError
from server.engine.messages import Answers, Fatal, Fleet, Ready
from server.engine.spare import Spare
from stream.types import ModelSpec, Window

log = logging.getLogger("engine")

TICK_S = 0.1  # how often deadlines and the child's health are looked at
LOAD_S = 60.0  # the heartbeat timeout while it loads its model
MAX_BACKOFF_S = 5.0
LATE_S = 2.0  # no sooner than this is a child late: when it is idle it has a heartbeat a second
LAPSE_S = 0.5  # silence that one receive may add: more, and this process stood still


@dataclass(eq=False)
class Held:
    """A window that waits for its answer."""

    window: Window
    reply: Reply
    submitted_s: float
    replica: Replica | None = None  # that has it now
    sent_s: float = 0.0  # since when


@dataclass
class _Figures:
    """What a replica has done, and how a cluster's last was."""

    windows: int = 0
    batches: int = 0
    busy_s: float = 0.0
    restarts: int = 0
    up: bool = False
    outstanding: int = 0


class ReplicaOwner(Protocol):
    """What a replica tells its engine, from the replica's thread."""

    closing: bool

    def on_ready(self, replica: Replica, child: Child, spec: ModelSpec) -> None: ...
    def on_answers(self, replica: Replica, answers: Answers) -> None: ...
    def on_leaving(self, replica: Replica) -> None: ...
    def on_ended(self, replica: Replica) -> None: ...
    def on_fatal(self, message: str) -> None: ...
    def on_tick(self, now: float) -> None: ...


class Replica:
    """`child`, `outstanding`, `samples` and `error` are read and changed under the engine's lock."""

    def __init__(
        self, number: int, settings: EngineSettings, logging: Mapping[str, str], owner: ReplicaOwner
    ) -> None:
        self.number = number
        self.child: Child | None = None  # the child that has loaded its model
        self.spec: ModelSpec | None = None
        self.outstanding: dict[int, Held] = {}  # what the child was sent and has not answered, by ticket
        self.samples = 0  # of those together
        self.error: str | None = "the model is loading"
        self.fallbacks: Counter[str] = Counter()  # of all children together
        self.spare = Spare(settings.spare, lambda: Child(settings, logging))
        self._fallbacks_seen: dict[str, int] = {}  # of this one
        self._is_cluster = settings.kind == "ray"  # its process speaks for all replicas
        self._figures = [_Figures() for _ in range(settings.replicas if self._is_cluster else 1)]
        self._settings, self._logging, self._owner = settings, logging, owner
        self._silent_s = 0.0  # for how long the child has said nothing while we listened
        self._thread = threading.Thread(target=self._supervise, name=f"engine-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def send(self, ticket: int, held: Held) -> None:
        """Needs a child, and the engine's lock."""
        assert self.child is not None
        held.replica, held.sent_s = self, time.monotonic()
        self.outstanding[ticket] = held
        self.samples += len(held.window.samples)
        self.child.send(ticket, held.window, held.submitted_s)

    def answered(self, ticket: int) -> None:
        """The child has no longer to score it. Needs the engine's lock."""
        if held := self.outstanding.pop(ticket, None):
            self.samples -= len(held.window.samples)

    def late(self) -> str | None:
        """That the child gives no answers, in words: half as long as would have it replaced. Needs the lock."""
        live = (held.sent_s for held in self.outstanding.values() if not held.window.background)
        waited_s = max(time.monotonic() - next(live, float("inf")), self._silent_s)
        return (
            f"the model has not answered for {waited_s:.1f} s"
            if waited_s > max(self._heartbeat_timeout_s / 2, LATE_S)
            else None
        )

    def health(self) -> list[ReplicaHealth]:
        """Of those that it speaks for. Needs the engine's lock."""
        up, device = self.child is not None and self.late() is None, self.spec.device if self.spec else None
        return [
            ReplicaHealth(
                self.number + i,
                up and (one.up or not self._is_cluster),
                one.outstanding if self._is_cluster else len(self.outstanding),
                one.restarts,
                one.windows,
                one.batches,
                one.busy_s,
                device,
            )
            for i, one in enumerate(self._figures)
        ]

    @property
    def n_up(self) -> int:
        """How many of them share the work now."""
        return 0 if self.child is None else sum(one.up for one in self._figures) if self._is_cluster else 1

    @property
    def _heartbeat_timeout_s(self) -> float:
        return self._settings.heartbeat_timeout_s or (self.spec.heartbeat_timeout_s if self.spec else LOAD_S)

    # -- everything below runs on the replica's thread --------

    def _supervise(self) -> None:
        backoff_s = 0.0
        while not self._owner.closing:
            began = time.monotonic()
            why = self._run_child()
            if self._owner.closing:
                break
            for one in self._figures:
                one.restarts, one.up, one.outstanding = one.restarts + 1, False, 0
            self.error = f"the model process ended: {why}; restarting"
            held = len(self.outstanding)
            log.error(
                "%s (replica %d, restart %d, %d windows held)",
                self.error,
                self.number,
                self._figures[0].restarts,
                held,
            )
            self._owner.on_ended(self)
            # At once after a long life; ever slower when it dies at the start.
            lasted = time.monotonic() - began > 10 or self.spare.ready
            backoff_s = 0.0 if lasted else min(MAX_BACKOFF_S, 2 * backoff_s + 0.1)
            self._sleep(backoff_s)
        self.spare.close()

    def _run_child(self) -> str:
        """Serve with the spare, or else with a new child, until it has ended; says why it has."""
        child, spec = None, None
        try:
            child, spec = self.spare.take() or (Child(self._settings, self._logging), None)
            return self._serve(child, spec)
        except SocketPathError as hopeless:
            self._owner.on_fatal(str(hopeless))
            return str(hopeless)
        except Exception as broken:  # no memory, no disk, …: this thread must live, or nobody is answered
            log.exception("the model process cannot be kept running")
            return f"{type(broken).__name__}: {broken}"
        finally:
            self.error = self.error or "the model process is being replaced"
            self._owner.on_leaving(self)
            if child:
                child.kill()

    def _serve(self, child: Child, spec: ModelSpec | None) -> str:
        """Receive until the child ends or has to be ended; says why. `spec`: it has loaded its model already."""
        self._silent_s, listened_s, next_tick = 0.0, time.monotonic(), 0.0
        if spec is not None:
            self._on_ready(child, spec)
        while not self._owner.closing:
            message = child.receive(TICK_S)
            now = time.monotonic()
            self._silent_s = 0.0 if message else self._silent_s + min(now - listened_s, LAPSE_S)
            listened_s = now
            if isinstance(message, Answers):
                self._count(message)
                self._owner.on_answers(self, message)
            elif isinstance(message, Fleet):
                for i, one in enumerate(self._figures):
                    one.up, one.outstanding = message.up[i], message.outstanding[i]
                    one.restarts += message.restarts[i]
            elif isinstance(message, Ready):
                self._on_ready(child, message.spec)
            elif isinstance(message, Fatal):
                if self.spec is None:  # it has never loaded: the settings are wrong
                    self._owner.on_fatal(message.message)
                return message.message
            if now < next_tick:
                continue
            next_tick = now + TICK_S
            self._owner.on_tick(now)
            if (status := child.ended()) is not None:
                return status
            limit_s = self._heartbeat_timeout_s if self.child else LOAD_S
            if self._silent_s > limit_s:
                return f"no heartbeat for {limit_s:g} s"
            if self.child:
                self.spare.poll(now)
        return "closed"

    def _on_ready(self, child: Child, spec: ModelSpec) -> None:
        child.connect()
        self._fallbacks_seen = {}
        self._owner.on_ready(self, child, spec)
        how = f"{spec.dtype}, {spec.runtime}"
        log.info("model %s on %s (%s), process %d", spec.name, spec.device, how, child.pid)

    def _count(self, answers: Answers) -> None:
        one = self._figures[answers.replica]
        one.windows += len(answers.items)
        one.batches += 1
        one.busy_s += answers.items[0][2].infer_s
        for remedy, n in answers.fallbacks.items():
            self.fallbacks[remedy] += n - self._fallbacks_seen.get(remedy, 0)
        self._fallbacks_seen = answers.fallbacks

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._owner.closing and time.monotonic() < end:
            self._owner.on_tick(time.monotonic())
            time.sleep(min(TICK_S, seconds))
