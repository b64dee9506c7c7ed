"""The processes that decode live containers, from the server's side: forked when needed, bounded, watched."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time

from server import process_env, system
from server.counts import SharedCounts
from server.decoding.pipe import PeerClosed
from server.decoding.process import OnFailed, OnSamples, StreamDecoder
from server.errors import ClientError
from server.metrics import Metrics
from server.paths import HOME

log = logging.getLogger("decoding")


class Decoders:
    """`open` gives a session its decoder. Every method may be called from any thread."""

    def __init__(self, most: int, metrics: Metrics, counts: SharedCounts | None = None) -> None:
        """`most`: decoders that run at a time, in all workers that `counts` knows."""
        self._most, self._metrics, self._counts = most, metrics, counts or SharedCounts.alone()
        self._lock = threading.Lock()
        self._running: set[StreamDecoder] = set()
        self._forker: subprocess.Popen[bytes] | None = None
        self._hand: socket.socket | None = None  # what the forker is given goes through here
        metrics.decoders.set_function(lambda: float(len(self._running)))

    def open(self, pick: tuple[int, ...] | None, on_samples: OnSamples, on_failed: OnFailed) -> StreamDecoder:
        """A decoder of its own for one session, `pick` as of `stream.codec.Decoder`. Raises ClientError."""
        if not system.HANDS_OVER_FILES:
            raise ClientError("UNSUPPORTED_ENCODING", "this server cannot decode containers; send PCM or WAV")
        with self._lock:
            if not self._counts.take("decoders", len(self._running), 1, self._most):
                raise ClientError(
                    "TOO_MANY_SESSIONS",
                    f"all {self._most} decoders of audio in containers are taken; send PCM, or try again later",
                )
            decoder = StreamDecoder(pick, self._connect, on_samples, on_failed, self._left)
            self._running.add(decoder)
        decoder.start()
        return decoder

    def reap(self) -> None:
        """End decoders that have fallen silent. To be called about once a second."""
        now = time.monotonic()
        for decoder in list(self._running):
            if decoder.silent(now):
                log.error("a decoder of live audio has fallen silent, and is ended")
                decoder.kill()
                if not decoder.ready:
                    self._end_forker()

    def close(self) -> None:
        """End all of them."""
        for decoder in list(self._running):
            decoder.close()
        self._end_forker()

    def _connect(self) -> socket.socket:
        """A socket whose other end a new process has, or will have soon. Raises PeerClosed."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            if self._forker is None or self._forker.poll() is not None:
                self._start_forker()
            assert self._hand is not None
            try:
                socket.send_fds(self._hand, [b"."], [theirs.fileno()])
            except OSError as gone:
                ours.close()
                raise PeerClosed(str(gone)) from None
        return ours

    def _start_forker(self) -> None:
        if self._hand is not None:
            self._hand.close()
        self._hand, hand = socket.socketpair()
        with hand:
            self._forker = subprocess.Popen(
                [sys.executable, "-m", "server.decoding.forker", str(hand.fileno())],
                cwd=HOME,
                stdin=subprocess.DEVNULL,
                pass_fds=[hand.fileno()],
                env=process_env.of_file_process(),
            )

    def _end_forker(self) -> None:
        with self._lock:
            forker, hand = self._forker, self._hand
            self._forker = self._hand = None
        if forker is not None and hand is not None:
            hand.close()
            forker.kill()
            forker.wait()

    def _left(self, decoder: StreamDecoder, failure: str | None) -> None:
        """It runs no more; `failure`: the code of what ended it before its time."""
        with self._lock:
            self._running.discard(decoder)
            self._counts.publish("decoders", len(self._running))
        if failure is not None:
            self._metrics.decoding_failures.labels(failure).inc()
