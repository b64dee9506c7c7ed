"""Replicas on a Ray cluster, seen from the process that speaks for them: made, greeted, called, replaced.

The one file that names Ray. What calls come to arrives on Ray's thread, and waits in `results`.
"""

from __future__ import annotations

import logging
import queue
import socket
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.engine.messages import Fatal, Frames, Ready, unpack
from server.engine.scoring import Queued
from server.engine.worker import ClusterError
from stream.types import ModelSpec

CONNECT_S = 5.0
ROOT = Path(__file__).resolve().parents[2]

log = logging.getLogger("engine")

Batch = list[Queued[int]]


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

    def __init__(self, kind: type, args: dict[str, Any]) -> None:
        """`kind`: the class of actors. Returns when the first has loaded its model. Raises ClusterError."""
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
        )(kind)
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
