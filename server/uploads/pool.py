"""The processes that recognize files, from the server's side: a few, started when first needed, kept for the next.

The server lends them its engine: a file's windows go to it in the background, behind everybody who speaks. A
process that falls silent, or whose client has gone away, is killed: that is certain, and costs the next file half
a second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from server.config import Config
from server.decoding.pipe import PeerClosed, PipeMessage
from server.engine import Engine
from server.errors import ClientError, checked
from server.files.result import OnProgress
from server.files.similarity import Samples
from server.uploads.form import Form
from server.uploads.process import FileProcess
from stream.types import JsonDict, ModelSpec

SILENCE_S = 120.0  # without a word, and waiting for no scores, it is stuck
POLL_S = 0.5  # how often to look whether anybody still wants the answer
LAST_WORDS_S = 2.0  # for those who wait to be told that the server stops
IDLE_S = 300.0  # a process without work for so long is ended

log = logging.getLogger("upload")


class ClientDisconnected(Exception):
    """Nobody waits for the answer any more."""


class UploadWorkerPool:
    """`run` recognizes one file; as many at a time as the settings allow, others wait or are refused."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._slots = threading.BoundedSemaphore(config.files.concurrent)
        self._lock = threading.Lock()
        self._idle: list[FileProcess] = []
        self._busy: list[FileProcess] = []
        self._admitted = 0
        self.samples: Samples | None = None  # that each recording is compared with
        self._closing = False

    @property
    def spec(self) -> ModelSpec:
        """Of the model, which has loaded."""
        spec = self._engine.spec
        assert spec is not None, "loaded"
        return spec

    @property
    def running(self) -> int:
        """Files that are being recognized now."""
        return len(self._busy)

    def check_room(self) -> None:
        """Whether a file would be admitted now. Raises ClientError BUSY or NOT_READY."""
        if self._closing:
            raise _stopping()
        if self._engine.spec is None:
            raise ClientError("NOT_READY", self._engine.health().error or "the model is loading")
        if self._admitted >= self._config.files.concurrent + self._config.files.max_waiting:
            raise _busy()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """For the time in which a file, which has been received, is recognized. Raises as `check_room` does."""
        with self._lock:
            self.check_room()
            self._admitted += 1
        try:
            yield
        finally:
            with self._lock:
                self._admitted -= 1

    def run(
        self,
        file: Path,
        folder: Path,
        form: Form,
        gone: Callable[[], bool],
        on_progress: OnProgress,
        own: bool = True,
    ) -> JsonDict:
        """Recognize `file` and write its results into `folder`; the summary. `own`: with the operator's own labels
        and reference samples, which other tenants than the default do not see.

        Raises ClientError, and ClientDisconnected once `gone()`; what `on_progress` raises ends it too.
        """
        self._await_turn(gone)
        try:
            worker = self._take()
            try:
                message = self._follow(worker, file, folder, form, gone, on_progress, own)
            except BaseException:
                self._drop(worker)
                raise
            self._give_back(worker)
        finally:
            self._slots.release()
        if message.kind == "failed":
            raise ClientError(checked(message.fields["code"]), message.fields["message"])
        return message.fields

    def reap_idle(self) -> None:
        """End processes that have had nothing to do for a while."""
        now = time.monotonic()
        with self._lock:
            idle = [worker for worker in self._idle if now - worker.last_message > IDLE_S]
            self._idle = [worker for worker in self._idle if worker not in idle]
        for worker in idle:
            worker.kill()

    def close(self) -> None:
        """End all of them; whoever waits for a file is told so."""
        self._closing = True
        with self._lock:
            workers = [*self._idle, *self._busy]
            self._idle = []
        for worker in workers:
            worker.kill()
        end = time.monotonic() + LAST_WORDS_S
        while self._admitted and time.monotonic() < end:
            time.sleep(0.02)

    def _await_turn(self, gone: Callable[[], bool]) -> None:
        end = time.monotonic() + self._config.files.wait_s
        while not self._slots.acquire(timeout=max(0.0, min(POLL_S, end - time.monotonic()))):
            if gone():
                raise ClientDisconnected
            if self._closing:
                raise _stopping()
            if time.monotonic() >= end:
                raise _busy()

    def _take(self) -> FileProcess:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is not None and worker.ended:
            worker.kill()
            worker = None
        if worker is None:
            worker = FileProcess(self._config, self._engine)
        with self._lock:
            self._busy.append(worker)
        if self._closing:
            self._drop(worker)
            raise _stopping()
        return worker

    def _give_back(self, worker: FileProcess) -> None:
        with self._lock:
            self._busy.remove(worker)
            if not self._closing:
                self._idle.append(worker)

    def _drop(self, worker: FileProcess) -> None:
        with self._lock:
            self._busy.remove(worker)
        worker.kill()

    def _follow(
        self,
        worker: FileProcess,
        file: Path,
        folder: Path,
        form: Form,
        gone: Callable[[], bool],
        on_progress: OnProgress,
        own: bool,
    ) -> PipeMessage:
        """Have the worker recognize a file; its last message about it."""
        try:
            samples = self.samples if own else None
            job = {
                "own": own,
                "spec": asdict(self.spec),
                "samples": samples.names if samples else (),
                **{k: getattr(form, k) for k in ("granularity", "embed", "file_name")},
            }
            worker.begin(job, file, folder, [samples.embeddings.tobytes()] if samples else [])
            while True:
                message = worker.next_message(POLL_S)
                if message is not None and message.kind == "progress":
                    on_progress(message.fields)
                elif message is not None:
                    return message
                elif worker.silent_s > SILENCE_S:
                    raise PeerClosed(f"no message for {SILENCE_S:g} s")
                if gone():
                    raise ClientDisconnected
        except PeerClosed as why:
            if self._closing:
                raise _stopping() from None
            ended = worker.kill(1.0)
            log.error("the process that decoded a file has ended (%s): %s", why, ended)
            if worker.took_too_long:
                raise ClientError(
                    "BAD_AUDIO",
                    f"decoding takes more than {self._config.files.cpu_s:g} s of CPU time (files.cpu_s)",
                ) from None
            raise ClientError(
                "INTERNAL", "the process that decoded the file has ended; see the server log"
            ) from None


def _stopping() -> ClientError:
    return ClientError("NOT_READY", "the server is shutting down")


def _busy() -> ClientError:
    return ClientError(
        "BUSY", "the server is processing the maximum number of files; try again in a few seconds"
    )
