"""The processes that recognise files, from the server's side: a few, started when first needed, kept for the next.

The server lends them its engine: a file's windows go to it in the background, behind everybody who speaks. A
process that falls silent, or whose client has gone away, is killed: that is certain, and costs the next file half
a second.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from server.config import ROOT, Config
from server.engine import Busy, Engine, Timing
from server.engine.messages import Answers, pack, unpack_window
from server.errors import ClientError
from server.recognition.upload_form import Form
from server.recognition.upload_pipe import Broken, Pipe, Said
from stream.types import Answer, Failed, JsonDict, Window

SILENCE_S = 120.0  # without a word, and waiting for no scores, it is stuck
LOOK_S = 0.5  # how often to look whether anybody still wants the answer
LAST_WORDS_S = 2.0  # for those who wait to be told that the server stops
ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
IDLE_S = 300.0  # a process without work for so long is ended

log = logging.getLogger("upload")

Told = Generator[JsonDict, None, JsonDict]


class Gone(Exception):
    """Nobody waits for the answer any more."""


class Recognisers:
    """`run` recognises one file; as many at a time as the settings allow, others wait or are refused."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._slots = threading.BoundedSemaphore(config.files.concurrent)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._admitted = 0
        self._closing = False

    @property
    def running(self) -> int:
        """Files that are being recognised now."""
        return len(self._busy)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """For the time in which a file is received and recognised. Raises ClientError BUSY or NOT_READY."""
        if self._closing:
            raise _stopping()
        if self._engine.spec is None:
            raise ClientError("NOT_READY", self._engine.health().error or "the model is loading")
        with self._lock:
            if self._admitted >= self._config.files.concurrent + self._config.files.max_waiting:
                raise _busy()
            self._admitted += 1
        try:
            yield
        finally:
            with self._lock:
                self._admitted -= 1

    def run(self, file: Path, folder: Path, form: Form, gone: Callable[[], bool]) -> Told:
        """Recognise `file` and write its results into `folder`: yields what is told of it meanwhile, returns the
        summary. Raises ClientError, and Gone once `gone()`; a caller that stops listening ends it too.
        """
        self._await_turn(gone)
        try:
            worker = self._take()
            try:
                said = yield from self._follow(worker, file, folder, form, gone)
            except BaseException:
                self._drop(worker)
                raise
            self._give_back(worker)
        finally:
            self._slots.release()
        if said.kind == "failed":
            raise ClientError(said.fields["code"], said.fields["message"])
        return said.fields

    def tidy(self) -> None:
        """End processes that have had nothing to do for a while."""
        now = time.monotonic()
        with self._lock:
            bored = [worker for worker in self._idle if now - worker.last_word > IDLE_S]
            self._idle = [worker for worker in self._idle if worker not in bored]
        for worker in bored:
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
        while not self._slots.acquire(timeout=max(0.0, min(LOOK_S, end - time.monotonic()))):
            if gone():
                raise Gone
            if self._closing:
                raise _stopping()
            if time.monotonic() >= end:
                raise _busy()

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is not None and worker.ended:
            worker.kill()
            worker = None
        if worker is None:
            worker = _Worker(self._config, self._engine)
        with self._lock:
            self._busy.append(worker)
        if self._closing:
            self._drop(worker)
            raise _stopping()
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.remove(worker)
            if not self._closing:
                self._idle.append(worker)

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.remove(worker)
        worker.kill()

    def _follow(
        self, worker: _Worker, file: Path, folder: Path, form: Form, gone: Callable[[], bool]
    ) -> Generator[JsonDict, None, Said]:
        """What the worker tells of a file; its last word is returned."""
        spec = self._engine.spec
        assert spec is not None, "admitted"
        try:
            worker.begin(
                {
                    "spec": asdict(spec),
                    "file": str(file),
                    "folder": str(folder),
                    "granularity": form.granularity,
                    "embed": form.embed,
                }
            )
            while True:
                said = worker.heard(LOOK_S)
                if said is not None and said.kind == "told":
                    yield said.fields
                elif said is not None:
                    return said
                elif worker.silent_s > SILENCE_S:
                    raise Broken(f"no word for {SILENCE_S:g} s")
                if gone():
                    raise Gone
        except Broken as why:
            if self._closing:
                raise _stopping() from None
            log.error("the process that read a file has ended (%s): %s", why, worker.kill(1.0))
            raise ClientError("INTERNAL", "the process that read the file has ended; see the log") from None


class _Worker:
    """One process: what it says of its file waits in `heard`, windows go straight to the engine."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._engine = engine
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.recognition.upload_worker", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        self._pipe = Pipe(ours)
        self._inbox: queue.Queue[Said | None] = queue.Queue()
        self.last_word = time.monotonic()
        self._waits_for = 0  # windows that it has asked scores for
        threading.Thread(target=self._listen, name="upload", daemon=True).start()
        self._pipe.send("settings", config.for_files.model_dump(mode="json"))

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def silent_s(self) -> float:
        """For how long it has had no reason to say nothing."""
        return 0.0 if self._waits_for else time.monotonic() - self.last_word

    def begin(self, job: JsonDict) -> None:
        """Give it a file. Raises Broken."""
        self.last_word = time.monotonic()
        self._pipe.send("job", job)

    def heard(self, timeout_s: float) -> Said | None:
        """What it says next of its file; None when nothing came. Raises Broken when it has ended."""
        try:
            said = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if said is None:
            raise Broken("it ended")
        return said

    def kill(self, patience_s: float = 0.0) -> str:
        """End it, at once unless it is about to do so by itself; how it ended, in words."""
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._pipe.close()
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _listen(self) -> None:
        """Runs until it is gone."""
        try:
            while True:
                said = self._pipe.receive()
                self.last_word = time.monotonic()
                if said.kind == "window":
                    self._submit(said)
                else:
                    self._inbox.put(said)
        except Broken:
            self._inbox.put(None)

    def _submit(self, said: Said) -> None:
        ticket, window, _ = unpack_window(said.frames)

        def reply(window: Window, answer: Answer, timing: Timing) -> None:
            self._waits_for -= 1
            self.last_word = time.monotonic()
            try:
                self._pipe.send("answers", {}, pack(Answers([(ticket, answer, timing)])))
            except Broken:
                log.debug("an answer came too late for the process that had asked")

        self._waits_for += 1
        try:
            self._engine.submit(window, reply)
        except Busy:
            reply(window, Failed("OVERLOADED", "the model has too much to do"), Timing())


def _environment() -> dict[str, str]:
    """What the process needs of ours: where Python and its libraries are, the language, the time zone. Tokens and
    secrets stay here."""
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _stopping() -> ClientError:
    return ClientError("NOT_READY", "the server is shutting down")


def _busy() -> ClientError:
    return ClientError("BUSY", "as many files as can be are being recognised; try again in a few seconds")
