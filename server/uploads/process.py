"""One process that recognizes files, from the server's side: started, spoken to, ended.

It is told how to hear and nothing that is secret, gets every file open, and is lent the server's engine: what it
says of its file waits in `next_message`, windows go straight on.
"""

from __future__ import annotations

import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from server import process_env
from server.config import Config
from server.decoding.pipe import PeerClosed, Pipe, PipeMessage
from server.engine import Busy, Engine, Timing
from server.engine.messages import Answers, pack, unpack_window
from server.files.result import AUDIO, CSV, EMBEDDING, RESULT
from server.paths import HOME
from stream.types import Answer, Failed, JsonDict, Window

# Files that it may write, in the order in which they are handed over.
HANDED = (RESULT, CSV, EMBEDDING, AUDIO)

log = logging.getLogger("upload")


class FileProcess:
    """One process: what it says of its file waits in `next_message`, windows go straight to the engine."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._engine = engine
        ours, theirs = socket.socketpair()
        self._hand, hand = socket.socketpair()  # open files go through here
        with theirs, hand:
            fds = [theirs.fileno(), hand.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.uploads.worker", *map(str, fds)],
                cwd=HOME,
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                env=process_env.of_file_process(),
            )
        self._pipe = Pipe(ours)
        self._inbox: queue.Queue[PipeMessage | None] = queue.Queue()
        self.last_message = time.monotonic()
        self._waits_for = 0  # windows that it has asked scores for
        threading.Thread(target=self._listen, name="upload", daemon=True).start()
        self._pipe.send("settings", config.for_files.model_dump(mode="json"))

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def silent_s(self) -> float:
        """For how long it has had no reason to say nothing."""
        return 0.0 if self._waits_for else time.monotonic() - self.last_message

    @property
    def took_too_long(self) -> bool:
        """Whether it has been ended by the limit on its time."""
        return self._process.returncode == -signal.SIGXCPU

    def begin(self, job: JsonDict, file: Path, folder: Path, frames: Sequence[bytes] = ()) -> None:
        """Give it a file to read, and those of a result in `folder` to write, all open: names are no use to it.

        Raises PeerClosed, and OSError where they cannot be opened.
        """
        self.last_message = time.monotonic()
        with ExitStack() as stack:
            fds = [stack.enter_context(file.open("rb")).fileno()]
            fds += [stack.enter_context((folder / name).open("wb")).fileno() for name in HANDED]
            try:
                socket.send_fds(self._hand, [b"."], fds)
            except OSError as gone:
                raise PeerClosed(str(gone)) from None
        self._pipe.send("job", job, frames)

    def next_message(self, timeout_s: float) -> PipeMessage | None:
        """What it says next of its file; None when nothing came. Raises PeerClosed when it has ended."""
        try:
            message = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if message is None:
            raise PeerClosed("it ended")
        return message

    def kill(self, timeout_s: float = 0.0) -> str:
        """End it, at once unless it is about to do so by itself; how it ended, in words."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._pipe.close()
        self._hand.close()
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def _listen(self) -> None:
        """Runs until it is gone."""
        try:
            while True:
                message = self._pipe.receive()
                self.last_message = time.monotonic()
                if message.kind == "window":
                    self._submit(message)
                else:
                    self._inbox.put(message)
        except PeerClosed:
            self._inbox.put(None)

    def _submit(self, message: PipeMessage) -> None:
        ticket, window, _ = unpack_window(message.frames)

        def reply(window: Window, answer: Answer, timing: Timing) -> None:
            self._waits_for -= 1
            self.last_message = time.monotonic()
            try:
                self._pipe.send("answers", {}, pack(Answers([(ticket, answer, timing)])))
            except PeerClosed:
                log.debug("an answer came too late for the process that had asked")

        self._waits_for += 1
        try:
            self._engine.submit(window, reply)
        except Busy:
            reply(window, Failed("OVERLOADED", "the model is overloaded"), Timing())
