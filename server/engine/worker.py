"""The model process: receives windows, scores them in batches, answers. Knows nothing of sockets or sessions.

Run by `process` as `python -m server.engine.worker SETTINGS` and by nobody else. It ends when its parent does,
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
from typing import Any

import numpy as np
import orjson
import zmq

from server import logs
from server.engine.messages import Alive, Answers, Fatal, Message, Ready, pack, unpack_window
from server.engine.scoring import WaitingRoom, limits_for, score_timed
from stream.batching import BatchLimits
from stream.models.registry import load_model
from stream.types import EmotionModel, Window, samples_for

BEAT_S = 1.0  # how often a process that is idle says that it is alive
NAP_S = 0.005  # how often windows that wait for company are looked at: so much later a full batch may run
PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger("engine")


def main(settings: dict[str, Any]) -> int:
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, a closed terminal: the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    logs.configure(settings["log_level"], settings["log_format"])
    context = zmq.Context()
    windows, answers = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    answers.setsockopt(zmq.LINGER, 1000)  # a last word must still arrive
    windows.set_hwm(0)  # the parent bounds what it sends
    answers.set_hwm(0)
    windows.bind(str(settings["windows"]))
    answers.connect(str(settings["answers"]))
    _end_with(settings["parent"], Path(settings["windows"].removeprefix("ipc://")).parent)

    def tell(message: Message) -> None:
        answers.send_multipart(pack(message))

    try:
        with _beating(tell):
            model = _load(settings)
    except Exception as wrong:  # whatever it is, trying again would not help
        log.debug("loading failed", exc_info=True)
        kind = "" if isinstance(wrong, ValueError | OSError | ImportError) else f"{type(wrong).__name__}: "
        tell(Fatal(f"model {settings['model']!r} cannot be loaded: {kind}{wrong}"))
        answers.close()
        context.term()
        return 2
    tell(Ready(model.spec))
    limits = BatchLimits(int(settings["max_batch"]), float(settings["max_wait_s"]))
    _Desk(model, windows, tell, limits_for(model.spec, limits)).serve()
    return 0


class _Desk:
    """Takes windows in, has them scored, answers, and says `Alive` when there is nothing else to say."""

    def __init__(
        self,
        model: EmotionModel,
        windows: zmq.Socket[bytes],
        tell: Callable[[Message], None],
        limits: BatchLimits,
    ) -> None:
        self._model, self._windows, self._tell = model, windows, tell
        self._room: WaitingRoom[int] = WaitingRoom(limits)
        self._last_word = time.monotonic()
        if hasattr(model, "pause"):
            model.pause = self._attend

    def serve(self) -> None:
        while True:
            ran, wait_s = self._run_one()
            if wait_s is not None:  # some wait for company: look now and then, not at each that comes
                time.sleep(min(wait_s, NAP_S))
            elif not ran:
                self._windows.poll(int(1000 * BEAT_S))
            self._receive()

    def _attend(self) -> None:
        """Called by the model now and then while it is at a file's window: those who speak do not wait for it, nor
        for company."""
        self._receive()
        while self._run_one(only_live=True)[0]:
            self._receive()

    def _run_one(self, only_live: bool = False) -> tuple[bool, float | None]:
        """Run one batch, if one is due: whether it was, else how long to wait."""
        batch, wait_s = self._room.take(float("inf") if only_live else time.monotonic(), only_live)
        if batch:
            scored = score_timed(self._model, [w for w, _, _ in batch], [at for _, _, at in batch])
            items = [(ticket, *answer) for (_, ticket, _), answer in zip(batch, scored, strict=True)]
            self._say(Answers(items, getattr(self._model, "fallbacks", {})))
        elif time.monotonic() - self._last_word > BEAT_S:
            self._say(Alive())
        return bool(batch), wait_s

    def _say(self, message: Message) -> None:
        self._tell(message)
        self._last_word = time.monotonic()

    def _receive(self) -> None:
        """Take everything that has arrived."""
        while True:
            try:
                frames = self._windows.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            ticket, window, submitted_s = unpack_window(frames)
            self._room.add(window, ticket, submitted_s)


def _end_with(parent: int, folder: Path) -> None:
    """From now on, end when the parent does. It was killed, or it would have ended this process: nobody else is
    left to clean up."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(BEAT_S / 2)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    if sys.platform == "linux":  # a process that was stopped would not notice: the kernel wakes it up then
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)


@contextmanager
def _beating(tell: Callable[[Message], None]) -> Iterator[None]:
    """Say `Alive` while the main thread is busy loading: a large model may be on its way from a hub."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            tell(Alive())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:  # the pipe is the main thread's again
        done.set()
        thread.join()


def _load(settings: dict[str, Any]) -> EmotionModel:
    model = load_model(settings["model"], settings["device"], settings["model_options"], settings["threads"])
    _warm_up(model)
    gc.collect()
    # What loading took and does not need any more goes back: half of all for large.
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library than GNU's
            ctypes.CDLL(None).malloc_trim(0)
    return model


def _warm_up(model: EmotionModel) -> None:
    """Run once on silence, so that the first speaker does not pay for lazy initialisation."""
    n = model.spec.hop_frames
    silence = np.zeros(samples_for(n), np.float32)
    model.score([Window("warm-up", 0, n, True, silence, None)])


if __name__ == "__main__":
    sys.exit(main(orjson.loads(sys.argv[1])))
