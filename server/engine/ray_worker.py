"""The process that speaks for replicas on a Ray cluster: receives windows as a model process does, batches them,
and makes one call per batch to the replica with the least audio outstanding, up to CALLS at a time to each.

Run by `child` as `python -m server.engine.ray_worker ARGS`; a plain process, since Ray's library does not live
with eventlet. A replica that dies is made anew by Ray; what it had is tried by others, each window alone, and
fails when the second dies too.
"""

from __future__ import annotations

import logging
import sys
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

import orjson
import zmq

from server.engine import Timing
from server.engine.messages import Answers, Fleet, pack_window, unpack
from server.engine.ray_cluster import Actor, Batch, Cluster, hello
from server.engine.scoring import BatchQueue, Queued
from server.engine.worker import HEARTBEAT_S, POLL_S, ClusterError, Send, main, receive_windows
from stream.batching import BatchLimits
from stream.types import Failed

CALLS = 2  # to one replica at a time: the next batch is there when the last one is done
ASK_S = 2.0  # how often a replica that has nothing to do is asked whether it is there
RETRY_S = 2.0  # after a replica that could not be made, before the next attempt

log = logging.getLogger("engine")


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
            receive_windows(self._windows, self._queue)
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
        before = actor.up, actor.life
        try:
            spec = hello(actor, result)
        except ClusterError as wrong:  # given up by Ray, or it cannot load any more what it loaded before
            log.warning("replica %d: %s", actor.number, wrong)
            actor.up = False
            self._asleep[actor] = time.monotonic() + RETRY_S
            return
        if before == (True, actor.life):
            return
        log.info("replica %d is up", actor.number)
        how, usual = ((s.runtime, s.dtype, s.device.partition(":")[0]) for s in (spec, self._cluster.spec))
        if how != usual:
            log.warning(
                "replica %d computes in %s, others in %s: a score may depend on the replica; set model.runtime,"
                " model.precision and model.device",
                actor.number,
                ", ".join(how),
                ", ".join(usual),
            )

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
        """Say how the replicas are, ask the idle, end those that hang, make those that could not be had."""
        self._next_fleet_s = now + HEARTBEAT_S
        actors = self._cluster.actors
        restarts = [actor.restarts for actor in actors]
        self._send(Fleet([a.up for a in actors], [a.windows for a in actors], restarts))
        for actor in actors:
            actor.restarts = 0
            if actor.up and not actor.calls and now - actor.heard_s > ASK_S:
                actor.heard_s = now
                self._cluster.greet(actor)
            if actor.up and actor.calls and now - actor.heard_s > self._cluster.heartbeat_timeout_s:
                self._cluster.end(actor)
                calls, actor.calls, actor.on_trial = actor.calls, {}, False
                for batch in calls.values():
                    self._lost(actor, batch, f"no answer for {now - actor.heard_s:.1f} s")
        for actor in [actor for actor, when in self._asleep.items() if now >= when]:
            del self._asleep[actor]
            self._cluster.replace(actor)


if __name__ == "__main__":
    sys.exit(main(orjson.loads(sys.argv[1]), partial(Cluster, ModelActor), RemoteLoop))
