"""One session's decoder, from the server's side: bytes go out, samples come back, and nobody waits for either.

Two threads: one writes what waits for the process, one reads what it says. A process that is slow is not read on
until there is room for what it has decoded, and then it does not take more.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from server.decoding.pipe import BLOCK, PeerClosed, Pipe, PipeMessage
from server.errors import ClientError, checked
from stream.types import Floats, JsonDict

SILENCE_S = 10.0  # without a word about bytes that it was given, it is stuck
START_S = 30.0  # a forker imports FFmpeg's libraries in half a second
MAX_BYTES = 2 * 4 * BLOCK  # of samples in one message

# Samples (n,) at 16 kHz of each channel; answers in how many seconds to try again, 0 when they were taken.
OnSamples = Callable[[list[Floats]], float]
OnFailed = Callable[[ClientError], None]

log = logging.getLogger("decoding")


class StreamDecoder:
    """`begin` and `send` never wait; what comes of them goes to `on_samples`, and to `on_failed` at most once."""

    def __init__(
        self,
        pick: tuple[int, ...] | None,
        connect: Callable[[], socket.socket],
        on_samples: OnSamples,
        on_failed: OnFailed,
        on_end: Callable[[StreamDecoder, str | None], None],
    ) -> None:
        """`on_end` is told once, when it is over, with the code of what has failed, if anything has."""
        self._pick, self._connect = pick, connect
        self._on_samples, self._on_failed, self._on_end = on_samples, on_failed, on_end
        self._outgoing: queue.SimpleQueue[tuple[str, JsonDict, list[bytes]] | None] = queue.SimpleQueue()
        self._news = threading.Condition()
        self._pipe: Pipe | None = None
        self._last_message = time.monotonic()
        self._ending = self._over = self._closed = False
        self.pid: int | None = None  # once it has said so
        self.waiting = 0  # bytes that it has not decoded yet
        self.holding = False  # it has decoded more than may be taken now

    def start(self) -> None:
        threading.Thread(target=self._write, name="decoding", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether it has ever said anything."""
        return self.pid is not None

    def begin(self, container: str) -> None:
        """What is sent from now on is this container, from its first byte."""
        self._outgoing.put(("begin", {"container": container, "pick": self._pick}, []))

    def send(self, data: bytes) -> None:
        with self._news:
            if not self.waiting:
                self._last_message = time.monotonic()
            self.waiting += len(data)
        self._outgoing.put(("data", {}, [data]))

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was sent is decoded, as far as it can be, and taken."""
        with self._news:
            return self._news.wait_for(lambda: self._over or not self.waiting, timeout_s)

    def finish(self, timeout_s: float) -> bool:
        """Nothing more will be sent: wait for the last samples."""
        self._outgoing.put(("end", {}, []))
        with self._news:
            return self._news.wait_for(lambda: self._over, timeout_s)

    def silent(self, now: float) -> bool:
        """Whether it should have said something long ago."""
        if not self.ready:
            return now - self._last_message > START_S
        return bool(self.waiting) and not self.holding and now - self._last_message > SILENCE_S

    def kill(self) -> None:
        """End a process that hangs."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        if self._pipe is not None:
            self._pipe.close()

    def close(self) -> None:
        """What it may still decode is wanted by nobody: the process ends with its socket."""
        self._closed = True
        self._end(None)

    def _write(self) -> None:
        """Runs until there is nothing more to write to."""
        try:
            end = self._connect()
            self._pipe = Pipe(end, MAX_BYTES)
            self.pid = int(self._pipe.receive().fields["pid"])
        except (PeerClosed, OSError, KeyError, ValueError, TypeError) as why:
            self._broken(why)
        else:
            self._last_message = time.monotonic()
            threading.Thread(target=self._read, name="decoding", daemon=True).start()
            # One that has refused the audio is gone before all is written; its last words are still to be read.
            with suppress(PeerClosed):
                while not self._closed and (message := self._outgoing.get()) is not None:
                    self._pipe.send(*message)
        if self._ending and self._pipe is not None:
            self._pipe.close()

    def _read(self) -> None:
        """Runs until the process is gone."""
        assert self._pipe is not None
        try:
            while True:
                message = self._pipe.receive()
                self._last_message = time.monotonic()
                if message.kind == "samples":
                    self._take(message)
                elif message.kind == "ended":
                    return self._end(None)
                else:
                    return self._end(ClientError(checked(message.fields["code"]), message.fields["message"]))
        except (PeerClosed, KeyError, ValueError, TypeError) as why:
            self._broken(why)

    def _take(self, message: PipeMessage) -> None:
        """Have samples taken, as soon as they may be. Raises ValueError for what are none."""
        samples = [np.frombuffer(frame, np.float32) for frame in message.frames]
        if samples:
            if len(samples) != len(self._pick or (0,)) or not all(np.isfinite(its).all() for its in samples):
                raise ValueError("these are no samples of this session")
            while not self._closed and (wait_s := self._on_samples(samples)):
                self.holding = True
                time.sleep(wait_s)
            self.holding = False
            self._last_message = time.monotonic()
        with self._news:
            self.waiting = max(0, self.waiting - int(message.fields["took"]))
            self._news.notify_all()

    def _broken(self, why: Exception) -> None:
        if not (self._ending or self._closed):
            log.error("the process that decoded live audio has ended: %s", why)
        self._end(
            ClientError("INTERNAL", "the process that decoded this audio has ended; begin its container anew")
        )

    def _end(self, failure: ClientError | None) -> None:
        """Once: tell that it is over, and let go of the threads."""
        with self._news:
            if self._ending:
                return
            self._ending = True
        failed = failure is not None and not self._closed
        self._on_end(self, failure.code if failure is not None and failed else None)
        if failure is not None and failed:
            self._on_failed(failure)
        self._outgoing.put(None)
        if self._pipe is not None:
            self._pipe.close()
        with self._news:  # last: whoever waits finds all of it told
            self._over = True
            self.waiting = 0
            self._news.notify_all()
