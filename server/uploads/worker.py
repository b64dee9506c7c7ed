"""The process that reads what strangers send: decodes, listens, writes results. It asks its parent for scores.

Run by `process` as `python -m server.uploads.worker FD FD` and by nobody else, and kept from one
file to the next. Once it has what it needs it is shut in (`sandbox`), and files come to it open. A decoder that
crashes, or asks for a machine's memory, ends this process and nothing more. It ends when its parent does.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np

from server import custom_labels, logs, system
from server.config import FileSettings
from server.decoding import sandbox
from server.decoding.pipe import PeerClosed, Pipe, PipeMessage
from server.engine import Health, Reply
from server.engine.messages import Answers, pack_window, unpack
from server.errors import ClientError
from server.files.recognize import RecognizeOptions, recognize
from server.files.result import Recording
from server.files.similarity import Samples
from server.observers import AlertEvent
from server.uploads.process import HANDED
from stream.types import JsonDict, ModelSpec, Window

NICE = 5  # whoever speaks goes first
# Bytes of one file of a result: sound at 32,000 a second; frames as JSON at 20,000, as CSV at 9,000.
MOST_PER_S, MOST_BESIDE = 40_000, 1 << 20

log = logging.getLogger("upload")


class RemoteEngine:
    """An engine that is the parent's: windows go there, answers come back."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._tickets = itertools.count()
        self._waiting: dict[int, tuple[Window, Reply]] = {}
        self._spec: ModelSpec | None = None

    @property
    def spec(self) -> ModelSpec | None:
        return self._spec

    def serve(self, spec: ModelSpec) -> None:
        """A new file: the model is `spec`."""
        self._spec = spec
        self._waiting.clear()

    def submit(self, window: Window, reply: Reply) -> None:
        ticket = next(self._tickets)
        self._waiting[ticket] = window, reply
        self._pipe.send("window", {}, pack_window(ticket, window, 0.0))

    def answered(self, message: PipeMessage) -> None:
        answers = unpack(message.frames)
        assert isinstance(answers, Answers)
        for ticket, answer, timing in answers.items:
            pending = self._waiting.pop(ticket, None)
            if pending is not None:  # else of a file that has been given up meanwhile
                window, reply = pending
                reply(window, answer, timing)

    def health(self) -> Health:
        return Health(True, len(self._waiting), 0)

    def close(self) -> None:
        self._waiting.clear()


def main(fd: int, hand_fd: int) -> None:
    system.ignore_terminal()
    system.be_nice(NICE)
    end, hand = socket.socket(fileno=fd), socket.socket(fileno=hand_fd)
    for one in (end, hand):
        one.setblocking(True)  # a parent under eventlet has made it otherwise
    pipe = Pipe(end)
    settings = FileSettings.model_validate(pipe.receive().fields)
    logs.configure(settings.log_level, settings.log_format)
    labels = custom_labels.load(settings)
    engine, jobs = RemoteEngine(pipe), queue.SimpleQueue[PipeMessage]()
    sandbox.limit(round(MOST_PER_S * settings.files.max_audio_s) + MOST_BESIDE)
    sandbox.enter()
    threading.Thread(target=_listen, args=(pipe, engine, jobs), daemon=True).start()
    sandbox.no_more_threads()
    while True:
        message = jobs.get()
        job = message.fields
        engine.serve(ModelSpec(**dict(job["spec"], supported_labels=tuple(job["spec"]["supported_labels"]))))
        sandbox.allow_cpu(settings.files.cpu_s)
        with ExitStack() as stack:
            file, *others = (stack.enter_context(one) for one in _handed(hand))
            options = RecognizeOptions(
                granularity=job["granularity"],
                embed=job["embed"],
                file_name=job["file_name"],
                create=dict(zip(HANDED, others, strict=True)).__getitem__,
                custom_labels=labels if job["own"] else None,
                samples=_samples(message),
                max_s=settings.files.max_audio_s,
            )
            kind, fields = _recognized(file, engine, settings, options, pipe)
        pipe.send(kind, fields)


def _samples(job: PipeMessage) -> Samples | None:
    """The reference samples that come with a job, if any."""
    names = job.fields["samples"]
    if not names:
        return None
    return Samples(tuple(names), np.frombuffer(job.frames[0], np.float32).reshape(len(names), -1))


def _handed(hand: socket.socket) -> Iterator[BinaryIO]:
    """The recording, and the files of its result, as the parent opened them."""
    _, fds, _, _ = socket.recv_fds(hand, 1, 1 + len(HANDED))
    yield os.fdopen(fds[0], "rb")
    for fd in fds[1:]:
        yield os.fdopen(fd, "wb")


def _recognized(
    file: BinaryIO, engine: RemoteEngine, settings: FileSettings, options: RecognizeOptions, pipe: Pipe
) -> tuple[str, JsonDict]:
    """The last word about a file: its kind and fields."""
    try:
        found = recognize(file, engine, settings, options, lambda report: pipe.send("progress", report))
    except ClientError as refused:
        return "failed", {"code": refused.code, "message": refused.message}
    except MemoryError:
        return "failed", {"code": "BAD_AUDIO", "message": "the recording takes more memory than any should"}
    except OSError as broken:
        why = f"the result cannot be saved: {broken.strerror or broken}"
        return "failed", {"code": "INTERNAL", "message": why}
    return "done", _summary(found)


def _summary(found: Recording) -> JsonDict:
    """What the answer says beside the fields of result.json."""
    summary: JsonDict = {
        "verdict": found.verdict,
        "embedding_saved": found.embedding is not None,
        "duration_s": found.head["duration_s"],
        "alerts": [packed(alert) for alert in found.alerts],
    }
    return summary if found.no_embedding is None else {**summary, "embedding_note": found.no_embedding}


def packed(alert: AlertEvent) -> JsonDict:
    """As JSON: `AlertEvent(**…)` is that alert again, but for its scores' type."""
    probs = None if alert.probs is None else alert.probs.tolist()
    return {**vars(alert), "probs": probs}


def _listen(pipe: Pipe, engine: RemoteEngine, jobs: queue.SimpleQueue[PipeMessage]) -> None:
    """Read from the parent, until it is gone."""
    try:
        while True:
            message = pipe.receive()
            if message.kind == "answers":
                engine.answered(message)
            else:
                jobs.put(message)
    except PeerClosed:
        os._exit(0)
    except BaseException:
        log.exception("this process cannot read from its parent any more")
        logs.flush()
        os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
