"""The model process: receives windows, scores them in batches, answers. Knows nothing of sockets or sessions.

Run by `process` as `python -m server.engine.worker SETTINGS` and by nobody else. It ends when its parent does.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import zmq

from server import logs
from server.engine.messages import Alive, Answers, Fatal, Message, Ready, pack, unpack_window
from server.engine.scoring import WaitingRoom, score_timed
from stream.batching import BatchLimits
from stream.models.registry import load_model
from stream.types import EmotionModel, Window, samples_for

BEAT_S = 1.0  # how often a process that is idle says that it is alive

log = logging.getLogger("engine")


def main(settings: dict[str, Any]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    logs.configure(settings["log_level"], settings["log_format"])
    context = zmq.Context()
    windows, answers = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    answers.setsockopt(zmq.LINGER, 1000)  # a last word must still arrive
    windows.set_hwm(0)  # the parent bounds what it sends
    answers.set_hwm(0)
    windows.bind(str(settings["windows"]))
    answers.connect(str(settings["answers"]))

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
    limits = BatchLimits(
        min(int(str(settings["max_batch"])), model.spec.best_batch), float(str(settings["max_wait_s"]))
    )
    waiting: WaitingRoom[int] = WaitingRoom(limits)
    last_word = time.monotonic()
    while os.getppid() == settings["parent"]:
        batch, wait_s = waiting.take(time.monotonic())
        if batch:
            scored = score_timed(model, [w for w, _, _ in batch], [at for _, _, at in batch])
            items = [(ticket, *answer) for (_, ticket, _), answer in zip(batch, scored, strict=True)]
            tell(Answers(items, getattr(model, "fallbacks", {})))
            last_word = time.monotonic()
        elif time.monotonic() - last_word > BEAT_S:
            tell(Alive())
            last_word = time.monotonic()
        pause_s = 0.0 if batch else min(BEAT_S, BEAT_S if wait_s is None else wait_s)
        if windows.poll(int(1000 * pause_s + 0.999)):
            _receive(windows, waiting)
    # The parent was killed, or it would have ended this process: nobody else is left to clean up.
    shutil.rmtree(Path(str(settings["windows"]).removeprefix("ipc://")).parent, ignore_errors=True)
    return 0


def _receive(windows: zmq.Socket[bytes], waiting: WaitingRoom[int]) -> None:
    """Take everything that has arrived."""
    while True:
        try:
            frames = windows.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        ticket, window, submitted_s = unpack_window(frames)
        waiting.add(window, ticket, submitted_s)


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
    model = load_model(settings["model"], settings["device"], settings["model_options"])
    if settings["model"] != "fake":
        import torch

        torch.set_num_threads(settings["threads"])
    _warm_up(model)
    return model


def _warm_up(model: EmotionModel) -> None:
    """Run once on silence, so that the first speaker does not pay for lazy initialisation."""
    n = model.spec.hop_frames
    silence = np.zeros(samples_for(n), np.float32)
    model.score([Window("warm-up", 0, n, True, silence, None)])


if __name__ == "__main__":
    sys.exit(main(orjson.loads(sys.argv[1])))
