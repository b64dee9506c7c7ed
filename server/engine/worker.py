"""The model process: receives windows, scores them in batches, answers. Knows nothing of sockets or sessions.

Run by `process` as `python -m server.engine.worker ARGS` and by nobody else. It ends when its parent does,
even while it loads its model or is stuck in it.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import orjson
import zmq

from server import logs, system
from server.engine.messages import Answers, Fatal, Heartbeat, Message, Ready, pack, unpack_window
from server.engine.scoring import BatchQueue, limits_for, score_timed
from stream.batching import BatchLimits
from stream.models.registry import load_model
from stream.types import CountsFallbacks, EmotionModel, Interruptible, ModelSpec, Window, samples_for

HEARTBEAT_S = 1.0  # how often a process sends one that has nothing else to send
POLL_S = (
    0.005  # how often windows are received while others wait for batch mates: a full batch may be so late
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger("engine")

Send = Callable[[Message], None]


class HasSpec(Protocol):
    """What has been loaded: a model, or replicas of one."""

    spec: ModelSpec


Loaded = TypeVar("Loaded", bound=HasSpec)


class ClusterError(Exception):
    """The replicas cannot be had; the text says what to do."""


class Loop(Protocol):
    """What serves windows once the model has loaded: `BatchLoop`, or `ray_worker`'s."""

    def run(self) -> None:
        """Never returns."""
        ...


def main(
    args: dict[str, Any],
    load: Callable[[dict[str, Any]], Loaded],
    loop: Callable[[Loaded, zmq.Socket[bytes], Send, BatchLimits], Loop],
) -> int:
    """Talk to the parent: `load` what scores, and let `loop` serve with it."""
    system.ignore_terminal()
    logs.configure(args["log_level"], args["log_format"])
    context = zmq.Context()
    windows, answers = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    answers.setsockopt(zmq.LINGER, 1000)  # the last message must still arrive
    windows.set_hwm(0)  # the parent bounds what it sends
    answers.set_hwm(0)
    windows.bind(str(args["windows"]))
    answers.connect(str(args["answers"]))
    _exit_with_parent(args["parent"], Path(args["windows"].removeprefix("ipc://")).parent)

    def send(message: Message) -> None:
        answers.send_multipart(pack(message))

    try:
        with _heartbeats(send):
            loaded = load(args)
    except Exception as wrong:  # whatever it is, trying again would not help
        log.debug("loading failed", exc_info=True)
        send(Fatal(why_not_loaded(args["model"], wrong)))
        answers.close()
        context.term()
        return 2
    send(Ready(loaded.spec))
    limits = BatchLimits(int(args["max_batch"]), float(args["max_wait_s"]))
    loop(loaded, windows, send, limits_for(loaded.spec, limits)).run()
    return 0


class BatchLoop:
    """Receives windows, has them scored, sends the answers; and heartbeats, when there is nothing else to send."""

    def __init__(
        self,
        model: EmotionModel,
        windows: zmq.Socket[bytes],
        send: Send,
        limits: BatchLimits,
    ) -> None:
        self._model, self._windows, self._send = model, windows, send
        self._fallbacks = model if isinstance(model, CountsFallbacks) else None
        self._queue: BatchQueue[int] = BatchQueue(limits)
        self._last_sent_s = time.monotonic()
        if isinstance(model, Interruptible):
            model.yield_point = self._serve_live

    def run(self) -> None:
        while True:
            ran, wait_s = self._run_batch()
            if wait_s is not None:  # some wait for batch mates: look now and then, not at each that comes
                time.sleep(min(wait_s, POLL_S))
            elif not ran:
                self._windows.poll(int(1000 * HEARTBEAT_S))
            receive_windows(self._windows, self._queue)

    def _serve_live(self) -> None:
        """Called by the model while it scores a background window: live windows preempt it and run unbatched."""
        receive_windows(self._windows, self._queue)
        while self._run_batch(only_live=True)[0]:
            receive_windows(self._windows, self._queue)

    def _run_batch(self, only_live: bool = False) -> tuple[bool, float | None]:
        """Run one batch, if one is due: whether it was, else how long to wait."""
        batch, wait_s = self._queue.take(float("inf") if only_live else time.monotonic(), only_live)
        if batch:
            windows, arrivals = [q.window for q in batch], [q.arrival_s for q in batch]
            scored = score_timed(self._model, windows, arrivals)
            items = [(queued.ticket, *answer) for queued, answer in zip(batch, scored, strict=True)]
            self._emit(Answers(items, self._fallbacks.fallbacks if self._fallbacks else {}))
        elif time.monotonic() - self._last_sent_s > HEARTBEAT_S:
            self._emit(Heartbeat())
        return bool(batch), wait_s

    def _emit(self, message: Message) -> None:
        self._send(message)
        self._last_sent_s = time.monotonic()


def receive_windows(socket: zmq.Socket[bytes], queue: BatchQueue[int]) -> None:
    """Take everything that has arrived."""
    while True:
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        ticket, window, submitted_s = unpack_window(frames)
        queue.add(window, ticket, submitted_s)


def _exit_with_parent(parent: int, folder: Path) -> None:
    """From now on, exit when the parent does. It was killed, or it would have ended this process: nobody else is
    left to clean up."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(HEARTBEAT_S / 2)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    if sys.platform == "linux":  # a process that was stopped would not notice: the kernel wakes it up then
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


@contextmanager
def _heartbeats(send: Send) -> Iterator[None]:
    """Send them while the main thread is busy loading: a large model may be on its way from a hub."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            send(Heartbeat())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:  # the pipe is the main thread's again
        done.set()
        thread.join()


def why_not_loaded(name: str, wrong: Exception) -> str:
    """For people. What says by itself what to do stands as it is."""
    if isinstance(wrong, ClusterError):
        return str(wrong)
    kind = "" if isinstance(wrong, ValueError | OSError | ImportError) else f"{type(wrong).__name__}: "
    return f"model {name!r} cannot be loaded: {kind}{wrong}"


def load(args: dict[str, Any]) -> EmotionModel:
    """The model, warmed up."""
    model = load_model(args["model"], args["device"], args["model_options"], args["threads"])
    _warm_up(model)
    gc.collect()
    # What loading took and does not need any more goes back: half of all for large.
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library than GNU's
            ctypes.CDLL(None).malloc_trim(0)
    return model


def _warm_up(model: EmotionModel) -> None:
    """Score a window of silence as long as sessions send them: the first speaker shall not pay for first times."""
    spec = model.spec
    left, n, right = spec.left_frames, spec.hop_frames, spec.right_frames
    silence = np.zeros(samples_for(left + n + right), np.float32)
    model.score([Window("warm-up", left, n, True, silence, None, left_frames=left, right_frames=right)])


if __name__ == "__main__":
    sys.exit(main(orjson.loads(sys.argv[1]), load, BatchLoop))
