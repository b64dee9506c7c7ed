"""Intake: a session's bytes on their way to samples.

What is raw, the codec decodes at once; a container is passed on to a process, and its samples come later.
It belongs to a LiveSession, which calls it with its lock held, but for `settle` and `finish`.
"""

from __future__ import annotations

from dataclasses import replace

from server.config import LimitsSection
from server.decoding.pool import Decoders
from server.decoding.process import OnFailed, OnSamples, StreamDecoder
from server.errors import ClientError
from server.live.requests import AudioMessage
from server.live.trail import Resting
from server.rate_limit import TokenBucket
from stream.codec import BadAudio, Decoder, Format, UnsupportedEncoding
from stream.containers import STREAMED
from stream.source import Sorted, StreamSource
from stream.types import SAMPLE_RATE, Floats

WAITING_BYTES = 256_000  # that a decoder may not have got to yet; beside a chunk that comes when none waits
# Out of what a session may send ahead of real time: bytes, so that those which hold no audio are bounded, too, and
# a beginning, so that nobody has processes started as fast as messages come.
BYTES_PER_S = 1_536_000  # no audio has more: 192 kHz, two channels of 32 bits
BEGINNING_S = 1.0


class Intake:
    """`on_samples` and `on_failed` are called from another thread, without the session's lock."""

    def __init__(
        self,
        declared: Format,
        pick: tuple[int, ...] | None,
        limits: LimitsSection,
        decoders: Decoders,
        on_samples: OnSamples,
        on_failed: OnFailed,
        now: float,
    ) -> None:
        self._source = StreamSource(declared.encoding)
        self._codec = Decoder(declared, pick)
        self._pick, self._limits, self._decoders = pick, limits, decoders
        self._on_samples, self._on_failed = on_samples, on_failed
        self._bucket = TokenBucket(limits.refill_rate, limits.max_ahead_s, now)
        self._decoder: StreamDecoder | None = None
        self._failure: ClientError | None = None  # of the container that came last
        self._decoded_s = 0.0

    @property
    def received_s(self) -> float:
        """Audio received; of a container, what has been decoded of it."""
        return self._codec.received_s + self._decoded_s

    @property
    def leftover_bytes(self) -> int:
        """Bytes that wait for the rest of their sample, or to be decoded."""
        undecoded = self._decoder.waiting if self._decoder is not None else 0
        return self._codec.leftover_bytes + len(self._source.head) + undecoded

    @property
    def resting(self) -> Resting | None:
        """Where another intake can go on; None within a container or a WAV."""
        at = self._codec.resting if self._source.kind == "samples" else None
        return None if at is None else Resting(*at)

    def go_on(self, resting: Resting) -> None:
        """From where another one rested."""
        self._source = replace(self._source, kind="samples")
        self._codec.go_on(resting.sample_rate, resting.carry)

    def take(self, message: AudioMessage, next_seq: int, now: float) -> list[Floats]:
        """Samples (n,) of each channel; none of what is passed on. Raises ClientError; then nothing was taken."""
        chunk = self._source.sort(message.data(self._limits.max_chunk_bytes))
        samples: list[Floats] = []
        if chunk.kind == "refused":
            self._source = chunk.after
            raise self._failure or _refused(chunk.after)
        if chunk.kind in ("samples", "held"):  # of what is held, the sample rate is read
            samples = self._decoded(chunk.data, message.sample_rate, next_seq, now)
        elif chunk.kind == "container":
            self._pass_on(chunk, next_seq, now)
        self._source = chunk.after
        return samples

    def finish_each(self) -> list[Floats]:
        """The last samples of each channel, which the codec held back."""
        return self._codec.finish_each()

    def admit(self, samples: list[Floats], now: float) -> float:
        """Whether what was decoded elsewhere may be taken now: 0 if so, else in how many seconds to ask again."""
        seconds = len(samples[0]) / SAMPLE_RATE
        cost = min(seconds, self._limits.max_ahead_s)
        if not self._bucket.take(cost, now):
            return self._bucket.wait_s(cost)
        self._decoded_s += seconds
        return 0.0

    def failed(self, failure: ClientError) -> None:
        """The decoder has come to an end: the rest of its container is refused as it was."""
        self._decoder, self._failure = None, failure
        self._source = self._source.broken()

    def settle(self, timeout_s: float) -> bool:
        """Wait until what was passed on is decoded, as far as it can be, and taken."""
        decoder = self._decoder
        return decoder is None or decoder.settle(timeout_s)

    def finish(self, timeout_s: float) -> bool:
        """Nothing more will come: wait for the last samples of what was passed on."""
        decoder = self._decoder
        return decoder is None or decoder.finish(timeout_s)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _decoded(self, data: bytes, sample_rate: int | None, next_seq: int, now: float) -> list[Floats]:
        limits = self._limits
        try:
            chunk = self._codec.parse(data, sample_rate)
            if chunk.seconds > limits.max_chunk_s:
                raise ClientError(
                    "CHUNK_TOO_LARGE",
                    f"the chunk holds {chunk.seconds:.1f} s of audio;"
                    f" send at most {limits.max_chunk_s:g} s at a time",
                )
            if not self._bucket.take(chunk.seconds, now):
                raise self._too_far_ahead(next_seq)
            return self._codec.decode_each(chunk)
        except UnsupportedEncoding as wrong:
            raise ClientError("UNSUPPORTED_ENCODING", str(wrong)) from None
        except BadAudio as wrong:
            raise ClientError("BAD_AUDIO", str(wrong)) from None

    def _pass_on(self, chunk: Sorted, next_seq: int, now: float) -> None:
        decoder, size = self._decoder, len(chunk.data)
        if decoder is not None:
            too_much = decoder.waiting and decoder.waiting + size > WAITING_BYTES
            if decoder.holding or too_much:
                raise self._too_far_ahead(next_seq)
        beginning_s = BEGINNING_S if chunk.begins else 0.0
        if not self._bucket.take(min(beginning_s + size / BYTES_PER_S, self._limits.max_ahead_s), now):
            raise self._too_far_ahead(next_seq)
        if decoder is None:
            decoder = self._decoder = self._decoders.open(self._pick, self._on_samples, self._on_failed)
        if chunk.begins:
            self._failure = None
            decoder.begin(chunk.begins)
        decoder.send(chunk.data)

    def _too_far_ahead(self, next_seq: int) -> ClientError:
        ahead = f"more than {self._limits.max_ahead_s:g} s ahead of real time"
        return ClientError("RATE_LIMITED", f"{ahead}; resend this chunk a little later", next_seq)


def _refused(source: StreamSource) -> ClientError:
    if source.refused not in STREAMED.values():
        return ClientError("UNSUPPORTED_ENCODING", source.advice)
    return ClientError(
        "UNSUPPORTED_ENCODING",
        f"this is audio in a container ({source.refused}); start the session with encoding: auto to have it read",
    )
