"""The parent's end of the pipes: windows of all workers go to the one engine, questions from one to the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import orjson
import zmq

from server.engine import Busy, Engine, Timing
from server.engine.messages import Answers, Ready, pack, unpack_window
from server.workers.link import BEAT_S, MORE, NOBLOCK
from stream.types import Answer, Failed, JsonDict, Window

log = logging.getLogger("workers")

GATHER_S = 0.002  # for which the first message waits for others: waking up costs more than what is done then
PARENT = -1  # its number among those who answer


class PausingEngine(Engine, Protocol):
    """One whose windows of files can be made to wait."""

    def pause_files(self, paused: bool) -> None: ...


class Peer:
    """The pipe to one life of a worker. `send` may be called from any thread."""

    def __init__(self, context: zmq.Context[Any], folder: str, inbox: str, worker: int) -> None:
        self.worker = worker
        self.ready = self.paused = self.told_spec = False
        self.silent_s = 0.0  # for how long it has not said that it is alive, while its parent was awake
        self.owes: set[tuple[str, int]] = set()  # whom it has not answered yet, and which question
        self._lock = threading.Lock()
        self._closed = False
        self._answers: list[tuple[int, Answer, Timing]] = []  # that go out with the rest of their batch
        self._socket = context.socket(zmq.PUSH)
        self._socket.set_hwm(0)  # what is in it is bounded by the engine
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms: its worker binds when it has started
        self._socket.connect(f"ipc://{folder}/{inbox}")

    def send(self, *parts: Any) -> None:
        *before, last = parts
        with self._lock:
            if self._closed:
                return
            for part in before:
                self._socket.send(part, MORE)
            self._socket.send(last, NOBLOCK)

    def answer(self, ticket: int, answer: Answer, timing: Timing) -> None:
        """Waits for `flush`: a message for each would wake everybody up each time."""
        with self._lock:
            self._answers.append((ticket, answer, timing))

    def flush(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        if answers:
            self.send(b"answers", *pack(Answers(answers)))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._socket.close()


class Exchange:
    """Serves workers from a thread of its own. `answering`: what the parent itself says when it is asked."""

    def __init__(self, folder: str, engine: PausingEngine) -> None:
        self._folder, self._engine = folder, engine
        self._context: zmq.Context[Any] = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.set_hwm(0)
        self._inbox.bind(f"ipc://{folder}/parent")
        self._peers: dict[str, Peer] = {}  # by the name of a worker's inbox
        self._lock = threading.Lock()
        self._busy_s = 0.0
        self._paused = self._closing = False
        self.complete = False  # all workers have been ready
        self.answering: dict[str, Callable[[JsonDict], JsonDict]] = {}
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def open(self, inbox: str, worker: int) -> Peer:
        """A worker is about to be started: it may have said hello before anybody looks."""
        peer = Peer(self._context, self._folder, inbox, worker)
        with self._lock:
            self._peers[inbox] = peer
        return peer

    def forget(self, inbox: str) -> None:
        """It has ended; what is still scored for it goes nowhere."""
        with self._lock:
            peer = self._peers.pop(inbox)
            owes = list(peer.owes)
        peer.close()
        for asker, number in owes:
            self._tell(asker, {"n": number, "worker": peer.worker, "fields": {}})

    def on_batch(self, n_windows: int, infer_s: float, background: bool) -> None:
        """To be called by the engine."""
        if not background:
            with self._lock:
                self._busy_s += infer_s

    def on_answered(self) -> None:
        """To be called by the engine when it has answered a batch."""
        for peer in list(self._peers.values()):
            peer.flush()

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        for inbox in list(self._peers):
            self.forget(inbox)
        self._inbox.close()
        self._context.term()

    def _run(self) -> None:
        beat = 0.0
        while not self._closing:
            now = time.monotonic()
            if now >= beat:
                beat = now + BEAT_S
                self._beat()
            if not self._inbox.poll(int(1000 * max(0.0, beat - now)) + 1):
                continue
            time.sleep(GATHER_S)
            self._receive()

    def _receive(self) -> None:
        """Take everything that has arrived."""
        while True:
            try:
                inbox, kind, *frames = self._inbox.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            peer = self._peers.get(inbox.decode())
            if peer is None:
                continue  # it has ended
            try:
                self._take(peer, kind, frames)
            except Exception:  # one message's fault must not end the engine of all
                log.exception("a message of worker %d could not be taken", peer.worker)

    def _take(self, peer: Peer, kind: bytes, frames: list[bytes]) -> None:
        if kind == b"window":
            self._score(peer, frames)
        elif kind == b"alive":
            peer.silent_s = 0.0
        elif kind == b"ready":
            peer.ready = True
        elif kind == b"pause":
            peer.paused = orjson.loads(frames[0])
        elif kind == b"ask":
            self._pass_on(peer, orjson.loads(frames[0]))
        elif kind == b"told":
            told = orjson.loads(frames[0])
            with self._lock:
                asker = told.pop("to")
                peer.owes.discard((asker, told["n"]))
            self._tell(asker, {**told, "worker": peer.worker})

    def _score(self, peer: Peer, frames: list[bytes]) -> None:
        ticket, window, _ = unpack_window(frames)

        def reply(window: Window, answer: Answer, timing: Timing) -> None:
            peer.answer(ticket, answer, timing)

        try:
            self._engine.submit(window, reply)
        except Busy:
            reply(window, Failed("OVERLOADED", "the engine holds as many windows as it may"), Timing())

    def _pass_on(self, asker: Peer, asked: JsonDict) -> None:
        """A question goes to all others that serve; the parent's own answer says how many will come."""
        with self._lock:
            others = [peer for peer in self._peers.values() if peer.ready and peer is not asker]
            name = next((inbox for inbox, peer in self._peers.items() if peer is asker), "")
            for peer in others:
                peer.owes.add((name, asked["n"]))
        for peer in others:
            peer.send(b"ask", orjson.dumps({**asked, "to": name}))
        answer = self.answering.get(asked["question"])
        own = {"n": asked["n"], "worker": PARENT, "fields": answer(asked["fields"]) if answer else {}}
        self._tell(name, {**own, "expected": len(others) + 1})

    def _tell(self, asker: str, told: JsonDict) -> None:
        peer = self._peers.get(asker)
        if peer is not None:
            peer.send(b"told", orjson.dumps(told))

    def _beat(self) -> None:
        with self._lock:
            peers = list(self._peers.values())
            busy_s, self._busy_s = self._busy_s, 0.0
        spec = self._engine.spec
        paused = any(peer.paused for peer in peers)
        if paused != self._paused:
            self._paused = paused
            self._engine.pause_files(paused)
        beat = orjson.dumps(
            {"health": asdict(self._engine.health()), "busy_s": busy_s, "complete": self.complete}
        )
        for peer in peers:
            if spec is not None and not peer.told_spec:
                peer.told_spec = True
                peer.send(b"spec", *pack(Ready(spec)))
            peer.flush()  # answers that came without a batch: refused, too late
            peer.send(b"beat", beat)
