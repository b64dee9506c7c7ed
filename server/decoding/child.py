"""What decodes one session's containers: a process that `forker` has forked, shut in before the first byte comes.

FFmpeg reads the bytes as they arrive, never ahead of them and never back; what it makes of them goes to the server
at 16 kHz, a message for each that came. A decoder that crashes ends this process, and nothing more.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from av.audio.frame import AudioFrame

from server.decoding import sandbox
from server.decoding.ffmpeg import best_audio, channels_of, checked_rate, frames, open_container
from server.decoding.pipe import BLOCK, PeerClosed, Pipe
from server.errors import ClientError, Code
from stream.codec import Resampler
from stream.types import Floats, JsonDict

MEMORY = 512 << 20  # bytes of address space; half of it is Python and its libraries
MAX_CHANNELS = 8
# Of a processor's time: at first, and for each second of audio. Opus takes 2 ms of it.
CPU_S, CPU_SHARE = 3.0, 0.25
# A header is believed at once: what looks further ahead would wait for audio that is still to be spoken.
_LIVE = {"probesize": "2048", "analyzeduration": "0"}
_FORMATS = {"webm": "matroska", "mp4": "mov"}  # FFmpeg's names, where they are others
# FFmpeg looks back in the beginnings of these, and finds there no more than one read has given it.
_BEGINNING_BYTES = {"mp3": 2048, "mp4": 2048}
# What a file is refused as, as it is called of a stream.
_CODES: dict[Code, Code] = {"UNSUPPORTED_MEDIA": "UNSUPPORTED_ENCODING", "NO_AUDIO": "UNSUPPORTED_ENCODING"}


def run(end: socket.socket) -> None:
    """Decode what comes over `end` until it ends. To be called in a fresh process with one thread."""
    sandbox.limit(0, MEMORY)
    sandbox.enter()
    sandbox.no_more_threads()
    pipe = Pipe(end)
    with suppress(PeerClosed):
        pipe.send("ready", {"pid": os.getpid()})
        try:
            output = _Output(pipe)
            feed = _Feed(pipe, output)
            while feed.next_container():
                for frame in _opened(feed, output):
                    output.push(frame, feed.pick)
                    output.check_cpu()
                output.finish()
            output.send()
            pipe.send("ended", {})
        except ClientError as refused:
            output.send()
            pipe.send("failed", {"code": _CODES.get(refused.code, refused.code), "message": refused.message})


def _opened(feed: _Feed, output: _Output) -> Iterator[AudioFrame]:
    """The frames of the container that begins now, as they become known. Raises ClientError."""
    format = _FORMATS.get(feed.container, feed.container)
    container = open_container(feed, format, _LIVE)
    began_s = output.seconds
    with container:
        stream, _ = best_audio(container)
        try:
            yield from frames(container, stream, lambda: output.seconds)
        except ClientError as wrong:
            if wrong.code != "BAD_AUDIO" or feed.container != "mp4" or output.seconds > began_s:
                raise
            why = "this MP4 is not written to be read as it comes (fragmented)"
            raise ClientError("UNSUPPORTED_ENCODING", f"{why}; send it as a file") from None


class _Output:
    """Decoded frames → messages of samples for the server, which are sent before FFmpeg gets more bytes."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._resamplers: list[Resampler] = []
        self._held: list[list[Floats]] = []  # for each frame, its channels
        self._n_held = 0
        self.seconds = 0.0  # decoded so far

    def push(self, frame: AudioFrame, pick: list[int] | None) -> None:
        """Raises ClientError for what no session can be."""
        rate, channels = checked_rate(frame.sample_rate), frame.layout.nb_channels
        if not 0 < channels <= MAX_CHANNELS:
            words = f"{channels} channels; at most {MAX_CHANNELS} are supported"
            raise ClientError("UNSUPPORTED_ENCODING", words)
        if pick is not None and channels < 2:
            raise ClientError(
                "UNSUPPORTED_ENCODING", "this session has two channels, but the audio holds one"
            )
        samples = channels_of(frame)
        mixed = samples.mean(axis=0, dtype=np.float32) if channels > 1 else samples[0]
        wanted = [mixed] if pick is None else [np.ascontiguousarray(samples[i]) for i in pick]
        self._resamplers = self._resamplers or [Resampler() for _ in wanted]
        self.seconds += frame.samples / rate
        self._hold([r.push(its, rate) for r, its in zip(self._resamplers, wanted, strict=True)])
        if self._n_held >= BLOCK:
            self.send()

    def finish(self) -> None:
        """A container is over: what its resamplers hold back."""
        self._hold([resampler.finish() for resampler in self._resamplers])

    def send(self, took: int = 0) -> None:
        """All that has been decoded; `took`: bytes that need not be waited for any more. Raises PeerClosed."""
        joined = [np.concatenate(parts) for parts in zip(*self._held, strict=True)]
        self._held, self._n_held = [], 0
        n = len(joined[0]) if joined else 0
        for at in range(0, n, BLOCK):
            self._pipe.send("samples", {"took": 0}, [its[at : at + BLOCK].tobytes() for its in joined])
        if took:
            self._pipe.send("samples", {"took": took})

    def check_cpu(self) -> None:
        if time.process_time() > CPU_S + CPU_SHARE * self.seconds:
            raise ClientError("BAD_AUDIO", "decoding it takes more computing than live audio may")

    def _hold(self, channels: list[Floats]) -> None:
        if channels and len(channels[0]):
            self._held.append(channels)
            self._n_held += len(channels[0])


class _Feed:
    """The server's messages as the file that FFmpeg reads: each container ends where the next one begins."""

    def __init__(self, pipe: Pipe, output: _Output) -> None:
        self._pipe, self._output = pipe, output
        self._data = memoryview(b"")
        self._took = 0
        self._next: JsonDict | None = None  # the container after this one
        self._over = False
        self.container = ""
        self.pick: list[int] | None = None

    def next_container(self) -> bool:
        """Go on to the next one; what is left of this one is passed over. False: none is to come any more."""
        while self._next is None and not self._over:
            self._receive()
        self._data = memoryview(b"")
        if self._next is None:
            return False
        self.container, self.pick, self._next = self._next["container"], self._next["pick"], None
        self._gather(_BEGINNING_BYTES.get(self.container, 0))
        return True

    def read(self, n: int) -> bytes:
        """Up to `n` bytes, as soon as there are any; none at the container's end."""
        while not self._data:
            if self._next is not None or self._over:
                return b""
            self._receive()
        piece, self._data = self._data[:n], self._data[n:]
        return bytes(piece)

    def _gather(self, n: int) -> None:
        """Have `n` bytes at hand, or all of a container that is shorter."""
        pieces = [bytes(self._data)]
        while sum(map(len, pieces)) < n and self._next is None and not self._over:
            self._receive()
            pieces.append(bytes(self._data))
            self._data = memoryview(b"")
        self._data = memoryview(b"".join(pieces))

    def _receive(self) -> None:
        """The next message; all that those before it held has been decoded, as far as it can be."""
        took, self._took = self._took, 0
        self._output.send(took)
        message = self._pipe.receive()
        if message.kind == "data":
            self._output.check_cpu()
            sandbox.allow_cpu(2 * CPU_S)
            self._data = memoryview(message.frames[0])
            self._took = len(self._data)
        elif message.kind == "begin":
            self._next = message.fields
        else:
            self._over = True
