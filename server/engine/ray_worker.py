"""The process that speaks for replicas on a Ray cluster: receives windows as a model process does, batches them,
and makes one call per batch to the replica with the least audio outstanding, up to CALLS at a time to each.

Run by `child` as `python -m server.engine.ray_worker ARGS`; a plain process, since Ray's library does not live
with eventlet. A replica that dies is made anew by Ray; what it had is tried by others, each window alone, and
fails when the second dies too. What calls come to arrives on Ray's thread and is taken in by this one.
"""

from __future__ import annotations

import logging
import queue
import socket
import sys
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import zmq

from server.engine import Timing
from server.engine.messages import Answers, Fatal, Fleet, Frames, Ready, pack_window, unpack, unpack_window
from server.engine.scoring import BatchQueue, Queued
from server.engine.worker import HEARTBEAT_S, POLL_S, ClusterError, Send, main
from stream.batching import BatchLimits
from stream.types import Failed, ModelSpec

CALLS = 2  # to one replica at a time: the next batch is there when the last one is done
RETRY_S = 2.0  # after a replica that could not be made, before the next attempt
CONNECT_S = 5.0

log = logging.getLogger("engine")

Batch = list[Queued[int]]
ROOT = Path(__file__).resolve().parents[2]


class ModelActor:
    """What Ray makes on a machine of the cluster. It is sent there as it stands, since this module is the program
    that runs; all else it finds there, where it lies here or where emotion-stream is installed.
    """

    def __init__(self, root: str, number: int, args: dict[str, Any]) -> None:
        import sys
        from importlib.util import find_spec

        installed = find_spec("emotion_stream")
        sys.path += [root, *((installed and installed.submodule_search_locations) or [])]
        from server.engine.ray_actor import RemoteModel

        self._model = RemoteModel(number, args)

    def hello(self) -> list[bytes]:
        """As `RemoteModel.hello`."""
        return self._model.hello()

    def score(self, windows: list[list[bytes]]) -> list[bytes]:
        """As `RemoteModel.score`."""
        return self._model.score(windows)


@dataclass(eq=False)
class Actor:
    """A replica, seen from here: up from its answer to `hello` on, until a call fails or it is asked again."""

    number: int
    handle: Any
    up: bool = False
    calls: dict[int, Batch] = field(default_factory=dict)
    greeting: int = 0  # the call that asks it to say hello, once more after it has been made anew
    on_trial: bool = False  # it tries a window whose replica died, and gets nothing else
    heard_s: float = 0.0  # when it last gave an answer, or got work after it had none
    life: bytes = b""  # which of its processes said hello
    restarts: int = 0  # since they were last told of

    @property
    def samples(self) -> int:
        return sum(len(queued.window.samples) for batch in self.calls.values() for queued in batch)

    @property
    def windows(self) -> int:
        return sum(map(len, self.calls.values()))


class Cluster:
    """The replicas, and what calls to them come to: `results`, and a byte on `wake` for each."""

    def __init__(self, args: dict[str, Any]) -> None:
        """Returns when the first replica has loaded its model. Raises ClusterError."""
        self._args = args
        self.heartbeat_timeout_s: float = args["heartbeat_timeout_s"] or 0.0  # 0: as the model says
        self.results: queue.SimpleQueue[tuple[Actor, int, Future[list[bytes]]]] = queue.SimpleQueue()
        self.wake, self._bell = socket.socketpair()
        self.wake.setblocking(False)
        self._ray = _connect(args["ray_address"])
        self._n_calls = 0
        share = max(1, args["threads"] // args["replicas"])
        self._make = self._ray.remote(
            num_cpus=share,
            num_gpus=1 if args["device"].startswith("cuda") else 0,
            max_restarts=-1,
            max_task_retries=0,  # its batch goes to another at once
        )(ModelActor)
        self._actor_args = {**args, "threads": share}
        self.actors = [Actor(number, self._new(number)) for number in range(args["replicas"])]
        for actor in self.actors:
            self.greet(actor)
        self.spec = self._first()
        self.heartbeat_timeout_s = self.heartbeat_timeout_s or self.spec.heartbeat_timeout_s

    def greet(self, actor: Actor) -> None:
        """Ask it to say when it has loaded; Ray asks again what it has to make anew."""
        actor.greeting = self._ask(actor, actor.handle.hello.options(max_task_retries=-1).remote())

    def score(self, actor: Actor, windows: list[Frames]) -> int:
        """The call's number."""
        packed = [[bytes(part) for part in frames] for frames in windows]
        return self._ask(actor, actor.handle.score.remote(packed))

    def replace(self, actor: Actor) -> None:
        """Ray has given it up."""
        actor.handle = self._new(actor.number)
        self.greet(actor)

    def end(self, actor: Actor) -> None:
        """It hangs: Ray makes it anew."""
        self._ray.kill(actor.handle, no_restart=False)

    def _new(self, number: int) -> Any:
        return self._make.remote(str(ROOT), number, self._actor_args)

    def _ask(self, actor: Actor, reference: Any) -> int:
        self._n_calls += 1
        number = self._n_calls

        def done(result: Future[list[bytes]]) -> None:
            self.results.put((actor, number, result))
            self._bell.send(b"!")

        reference.future().add_done_callback(done)
        return number

    def _first(self) -> ModelSpec:
        while True:
            try:
                actor, _, result = self.results.get(timeout=10)
            except queue.Empty:
                there = {k: v for k, v in self._ray.cluster_resources().items() if k in ("CPU", "GPU")}
                log.warning("waiting for the Ray cluster to start a replica; it has %s", there)
                continue
            return hello(actor, result)


def hello(actor: Actor, result: Future[list[bytes]]) -> ModelSpec:
    """It has loaded its model: it is up. Raises ClusterError where it cannot."""
    try:
        *frames, life = result.result()
    except Exception as broken:  # of Ray, with a traceback from there
        why = str(broken).strip().rpartition("\n")[2]
        raise ClusterError(
            f"the Ray cluster cannot start a replica ({why}); docs/engines.md says what its machines need"
        ) from broken
    said = unpack(frames)
    if isinstance(said, Fatal):
        raise ClusterError(said.message)
    assert isinstance(said, Ready)
    actor.restarts += bool(actor.life) and actor.life != life
    actor.up, actor.life = True, life
    return said.spec


class RemoteLoop:
    """As `worker.BatchLoop`, with replicas elsewhere."""

    def __init__(self, cluster: Cluster, windows: zmq.Socket[bytes], send: Send, limits: BatchLimits) -> None:
        self._cluster, self._windows, self._send = cluster, windows, send
        self._queue: BatchQueue[int] = BatchQueue(limits)
        self._suspects: dict[int, Queued[int]] = {}  # what dead replicas had, by ticket: each is tried alone
        self._on_trial: set[int] = set()  # those of them that are
        self._asleep: dict[Actor, float] = {}  # replicas that Ray gave up, and when to make another
        self._next_fleet_s = 0.0

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._windows, zmq.POLLIN)
        poller.register(self._cluster.wake, zmq.POLLIN)
        while True:
            self._receive()
            self._take_results()
            now = time.monotonic()
            wait_s = self._give_out(now)
            if now >= self._next_fleet_s:
                self._look_after(now)
            until_fleet_s = max(0.0, self._next_fleet_s - now)
            if wait_s is not None:  # some wait for batch mates: look now and then, not at each that comes
                time.sleep(min(wait_s, POLL_S))
            else:
                poller.poll(int(1000 * until_fleet_s) + 1)

    def _receive(self) -> None:
        while True:
            try:
                frames = self._windows.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            ticket, window, submitted_s = unpack_window(frames)
            self._queue.add(window, ticket, submitted_s)

    def _give_out(self, now: float) -> float | None:
        """Call as many replicas as may be called; how long to wait then (None: until something comes)."""
        free = [actor for actor in self._cluster.actors if actor.up and not actor.on_trial]
        free.sort(key=lambda actor: actor.samples)
        waiting = [ticket for ticket in self._suspects if ticket not in self._on_trial]
        waiting.sort(key=lambda ticket: self._suspects[ticket].window.background)
        for ticket in waiting:
            if not free:
                break
            actor = free.pop(0)
            if actor.calls:  # it finishes what it has before it tries a suspect, or others would be blamed
                break
            actor.on_trial = True
            self._on_trial.add(ticket)
            self._call(actor, [self._suspects[ticket]], now)
        while free := [actor for actor in free if len(actor.calls) < CALLS]:
            actor = min(free, key=lambda actor: actor.samples)
            # Windows of files go to the idle alone: a live window waits for one of them at most.
            batch, wait_s = self._queue.take(now, only_live=bool(actor.calls))
            if not batch:
                return wait_s
            self._call(actor, batch, now)
        return None

    def _call(self, actor: Actor, batch: Batch, now: float) -> None:
        if not actor.calls:
            actor.heard_s = now
        packed = [pack_window(queued.ticket, queued.window, now - queued.arrival_s) for queued in batch]
        actor.calls[self._cluster.score(actor, packed)] = batch

    def _take_results(self) -> None:
        while not self._cluster.results.empty():
            actor, number, result = self._cluster.results.get()
            if number == actor.greeting:
                self._greeted(actor, result)
            if (batch := actor.calls.pop(number, None)) is None:
                continue  # or it was given up meanwhile
            actor.heard_s, actor.on_trial = time.monotonic(), False
            if (broken := result.exception()) is not None:
                self._lost(actor, batch, type(broken).__name__)
                continue
            answers = unpack(result.result())
            assert isinstance(answers, Answers)
            for queued in batch:
                self._suspects.pop(queued.ticket, None)
                self._on_trial.discard(queued.ticket)
            self._send(answers)
        try:
            self._cluster.wake.recv(4096)
        except BlockingIOError:
            return

    def _greeted(self, actor: Actor, result: Future[list[bytes]]) -> None:
        try:
            hello(actor, result)
        except ClusterError as wrong:  # given up by Ray, or it cannot load any more what it loaded before
            log.warning("replica %d: %s", actor.number, wrong)
            self._asleep[actor] = time.monotonic() + RETRY_S
            return
        log.info("replica %d is up", actor.number)

    def _lost(self, actor: Actor, batch: Batch, why: str) -> None:
        """Its process has ended, hangs or cannot be reached: what it had is tried by others."""
        if actor.up:
            log.error("replica %d is being replaced: %s", actor.number, why)
            # Those that have nothing to do may have gone with it, when a machine has: they are asked before
            # they try what it had, which would be blamed for their end.
            for other in self._cluster.actors:
                if other is actor or (other.up and not other.calls):
                    other.up = False
                    self._cluster.greet(other)
        failed = []
        for queued in batch:
            if queued.ticket in self._suspects:
                del self._suspects[queued.ticket]
                self._on_trial.discard(queued.ticket)
                failed.append(queued.ticket)
            else:
                self._suspects[queued.ticket] = queued
        if failed:
            twice = Failed("INFERENCE_FAILED", "the model process ended twice on it")
            self._send(Answers([(ticket, twice, Timing()) for ticket in failed], replica=actor.number))

    def _look_after(self, now: float) -> None:
        """Say how the replicas are, end those that hang, and ask again for those that could not be had."""
        self._next_fleet_s = now + HEARTBEAT_S
        actors = self._cluster.actors
        restarts = [actor.restarts for actor in actors]
        self._send(Fleet([a.up for a in actors], [a.windows for a in actors], restarts))
        for actor in actors:
            actor.restarts = 0
            if actor.up and actor.calls and now - actor.heard_s > self._cluster.heartbeat_timeout_s:
                self._cluster.end(actor)
                calls, actor.calls, actor.on_trial = actor.calls, {}, False
                for batch in calls.values():
                    self._lost(actor, batch, f"no answer for {now - actor.heard_s:.1f} s")
        for actor in [actor for actor, when in self._asleep.items() if now >= when]:
            del self._asleep[actor]
            self._cluster.replace(actor)


def _connect(address: str) -> Any:
    factory = logging.getLogRecordFactory()
    try:
        import ray
    except ImportError:
        raise ClusterError(
            "engine.kind: ray needs Ray, which is not installed: ./run.sh install ray, or"
            " pip install 'emotion-stream[ray]'"
        ) from None
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit():  # Ray itself would try for a long time, and end this process
            socket.create_connection((host, int(port)), CONNECT_S).close()
        ray.init(address=address, namespace="emotion-stream", log_to_driver=False, configure_logging=False)
    except Exception as wrong:
        why = str(wrong).partition("\n")[0]
        raise ClusterError(
            f"the Ray cluster {address} cannot be reached ({why}); `ray start --head` starts one on this machine,"
            " engine.ray_address names another"
        ) from wrong
    logging.setLogRecordFactory(factory)  # Ray's would add a time stamp of its own to each line
    return ray


if __name__ == "__main__":
    sys.exit(main(orjson.loads(sys.argv[1]), Cluster, RemoteLoop))
