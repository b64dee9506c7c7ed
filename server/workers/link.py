"""A worker's end of the pipes: the engine that all workers share, and what it may ask the others.

Two ZeroMQ pipes in the parent's private folder, as between an engine and its model process; nothing is unpickled.
Waiting is done with `select`, which is cooperative under eventlet.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import zmq

from server.counts import SharedCounts
from server.engine import EngineSettings, Health, OnBatch, ReplicaHealth, Reply, Timing
from server.engine.messages import Answers, Ready, pack_window, unpack
from server.engine.scoring import Admission
from server.live.elsewhere import Elsewhere, SessionRegister
from stream.types import Failed, JsonDict, ModelSpec, Window

log = logging.getLogger("workers")

# As plain numbers: combining pyzmq's own takes longer than what it sends.
NOBLOCK, MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
TICK_S = 0.1
BEAT_S = 0.2  # how often the parent tells how the engine is
FIRST_S = 2.0  # until it has said so for the first time
SILENT_S = 2.0  # without a word from it for so long, nobody knows
SESSIONS = "sessions"  # the folder of their trails, in the parent's
ALIVE_S = 1.0  # how often a worker says that it is alive
ANSWER_S = 3.0  # how long the others may take to answer


@dataclass(frozen=True)
class Place:
    """What a worker is told of where it is, when it is started."""

    worker: int  # from 0; one that is replaced has its successor's number
    n_workers: int
    folder: str
    inbox: str  # its own name among the sockets in `folder`
    listening: int  # the descriptor of the socket that all accept from
    key: str  # hex, of the counts
    started_s: float  # time.monotonic() of the server
    parent: int  # its process id
    server: str  # its name among several servers
    audiosocket: int | None = None  # the descriptor of another socket that all accept from

    @property
    def counts(self) -> SharedCounts:
        return SharedCounts.shared(
            Path(self.folder) / "counts", self.n_workers, self.worker, bytes.fromhex(self.key)
        )


class WorkerLink:
    """`engine` scores windows. `answering` maps what others may ask to who answers it, each on a thread."""

    def __init__(
        self, place: Place, settings: EngineSettings, register: SessionRegister | None = None
    ) -> None:
        """`register`: of the service, where there are several servers."""
        self.place = place
        self._context = zmq.Context()
        self._out, self._in = self._context.socket(zmq.PUSH), self._context.socket(zmq.PULL)
        for socket in (self._out, self._in):
            socket.set_hwm(0)  # bounded by the engine, and by whoever asks
            socket.setsockopt(zmq.LINGER, 500)
        self._in.bind(f"ipc://{place.folder}/{place.inbox}")
        self._out.connect(f"ipc://{place.folder}/parent")
        self._send_lock = threading.Lock()
        self._closing = False
        self.engine = SharedEngine(self, settings)
        self.elsewhere = Elsewhere(Path(place.folder) / SESSIONS, place.inbox, self._ask_all, register)
        self.answering: dict[str, Callable[[JsonDict], JsonDict]] = {}
        self.on_orphaned: Callable[[], None] = lambda: None  # the parent is no more
        self._asked: dict[int, _Asked] = {}
        self._n_asked = 0

    def start(self) -> None:
        self.send(b"hello", orjson.dumps({"pid": os.getpid()}))
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def ready(self) -> None:
        """This worker serves."""
        self.send(b"ready")

    def send(self, kind: bytes, *parts: Any) -> None:
        """Never waits. May be called from any thread."""
        frames: list[Any] = [self.place.inbox.encode(), kind, *parts]
        last = frames.pop()
        with self._send_lock:
            if self._closing:
                return
            for part in frames:
                self._out.send(part, MORE)
            self._out.send(last, NOBLOCK)

    def ask(self, question: str, fields: JsonDict | None = None) -> dict[int, JsonDict]:
        """What the others answer, by worker, and the parent as -1; whoever takes too long is left out."""
        return self._ask(question, fields or {}).answers

    def _ask(self, question: str, fields: JsonDict) -> _Asked:
        asked = _Asked()
        with self._send_lock:
            self._n_asked += 1
            number = self._n_asked
        self._asked[number] = asked
        self.send(b"ask", orjson.dumps({"n": number, "question": question, "fields": fields}))
        asked.done.wait(ANSWER_S)
        self._asked.pop(number, None)
        return asked

    def _ask_all(self, question: str, fields: JsonDict) -> dict[int, JsonDict] | None:
        """As `ask`; None when somebody has not answered."""
        asked = self._ask(question, fields)
        return asked.answers if asked.done.is_set() else None

    def close(self) -> None:
        with self._send_lock:
            self._closing = True
            self._out.close()

    # -- on the thread that listens ------------------------------------------------------------------

    def _listen(self) -> None:
        alive_s = 0.0
        while not self._closing:
            if (now := time.monotonic()) - alive_s > ALIVE_S:
                alive_s = now
                self.send(b"alive")
            try:
                frames = self._in.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                # The descriptor only signals changes, so it may be waited on only when a receive found nothing.
                select.select([self._in.fileno()], [], [], TICK_S)
                if os.getppid() != self.place.parent:
                    self.on_orphaned()
                    return
                continue
            try:
                self._take(frames[0], frames[1:])
            except Exception:  # one message's fault must not end the engine of this worker
                log.exception("a message of the parent process could not be taken")

    def _take(self, kind: bytes, frames: list[bytes]) -> None:
        if kind == b"answers":
            self.engine.take_answers(frames)
        elif kind == b"beat":
            self.engine.take_beat(orjson.loads(frames[0]))
        elif kind == b"spec":
            self.engine.take_spec(frames)
        elif kind == b"ask":
            threading.Thread(target=self._answer, args=(orjson.loads(frames[0]),), daemon=True).start()
        elif kind == b"told":
            told = orjson.loads(frames[0])
            if (asked := self._asked.get(told["n"])) is not None:
                asked.take(told)

    def _answer(self, asked: JsonDict) -> None:
        answer = self.answering.get(asked["question"])
        try:
            fields = answer(asked["fields"]) if answer else {}
        except Exception:
            log.exception("a question of another worker could not be answered: %s", asked["question"])
            fields = {}
        told = {"n": asked["n"], "to": asked["to"], "fields": fields}
        self.send(b"told", orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY))


class _Asked:
    """A question that is out."""

    def __init__(self) -> None:
        self.answers: dict[int, JsonDict] = {}
        self._expected: int | None = None
        self.done = threading.Event()

    def take(self, told: JsonDict) -> None:
        self._expected = told.get("expected", self._expected)  # the parent says how many were asked
        self.answers[told["worker"]] = told["fields"]
        if len(self.answers) == self._expected:
            self.done.set()


class SharedEngine:
    """The parent's engine, as any other engine. The parent answers every window that it has got, and when it is no
    more, neither is this process."""

    def __init__(self, link: WorkerLink, settings: EngineSettings) -> None:
        self._link = link
        self._admission = Admission(settings)
        self._lock = threading.Lock()
        self._held: dict[int, tuple[Window, Reply]] = {}
        self._next_ticket = 0
        self._spec: ModelSpec | None = None
        self._health = Health(False, 0, 0, "the model is loading")
        self._heard_s = time.monotonic()
        self._told = threading.Event()
        self._closing = False
        self.on_batch: OnBatch = lambda n_windows, infer_s, background: None

    def start(self) -> None:
        """Returns when the parent has said how the engine is: a successor serves at once, or not yet."""
        self._link.start()
        self._told.wait(FIRST_S)

    @property
    def spec(self) -> ModelSpec | None:
        return self._spec

    @property
    def n_up(self) -> int:
        """As of `ProcessEngine`."""
        return sum(replica.up for replica in self._health.replicas) or 1

    def submit(self, window: Window, reply: Reply) -> None:
        with self._lock:
            if not self._closing:
                self._admission.enter(window)
                self._next_ticket += 1
                ticket = self._next_ticket
                self._held[ticket] = (window, reply)
        if self._closing:
            reply(window, Failed("NOT_READY", "the server is shutting down"), Timing())
            return
        self._link.send(b"window", *pack_window(ticket, window, time.monotonic()))

    def pause_files(self, paused: bool) -> None:
        """As of `ProcessEngine`: while any worker wishes so."""
        self._link.send(b"pause", orjson.dumps(paused))

    def health(self) -> Health:
        if time.monotonic() - self._heard_s > SILENT_S:
            return Health(False, len(self._held), self._health.restarts, "the parent process does not answer")
        return self._health

    def close(self) -> None:
        with self._lock:
            self._closing = True
            tickets = list(self._held)
        for ticket in tickets:
            self._answer(ticket, Failed("NOT_READY", "the server is shutting down"), Timing())
        self._link.close()

    def take_answers(self, frames: list[bytes]) -> None:
        message = unpack(frames)
        assert isinstance(message, Answers)
        self._heard_s = time.monotonic()
        for ticket, answer, timing in message.items:
            self._answer(ticket, answer, timing)

    def take_spec(self, frames: list[bytes]) -> None:
        message = unpack(frames)
        assert isinstance(message, Ready)
        self._spec = message.spec

    def take_beat(self, beat: JsonDict) -> None:
        self._heard_s = time.monotonic()
        replicas = tuple(ReplicaHealth(**replica) for replica in beat["health"].pop("replicas"))
        health = Health(**beat["health"], replicas=replicas)
        starting = health.error is None and not beat["complete"]
        self._health = replace(health, up=False, error="other workers are starting") if starting else health
        self._told.set()
        if beat["busy_s"]:
            self.on_batch(0, beat["busy_s"], False)

    def _answer(self, ticket: int, answer: Any, timing: Timing) -> None:
        with self._lock:
            held = self._held.pop(ticket, None)
            if held is not None:
                self._admission.leave(held[0], answer, time.monotonic())
        if held is None:
            return
        window, reply = held
        try:
            reply(window, answer, timing)
        except Exception:  # one session's fault must not stop everybody's engine
            log.exception("an answer could not be delivered to session %s", window.session_id)
