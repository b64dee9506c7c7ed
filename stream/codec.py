"""Bytes as they come from a client → float32 samples at 16 kHz, mono.

PCM16, float32, G.711 µ-law and A-law, and WAV of these or of 8, 24, 32 bits or float64; 8 to 192 kHz; 1 or 2
channels: mixed down, or each by itself. Other containers are told apart by `stream.source`.
A chunk may end anywhere, in the middle of a sample or of a header: what is left over waits for the next one.
A chunk that is refused leaves the decoder as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import soxr

from stream.containers import STREAMED
from stream.types import SAMPLE_RATE, Floats
from stream.wav import BadWav, Bytes, UnsupportedWav, is_wav, may_be_wav, read_header

# auto, and those of STREAMED: as the stream begins (`stream.source`); raw samples are PCM16 then.
ENCODINGS = ("auto", "pcm_s16le", "pcm_f32le", "mulaw", "alaw", "wav", *STREAMED)
RATES = range(8_000, 192_001)
MAX_WAVS = 100  # in one chunk; each may need a resampler of its own
_BYTES = {
    "pcm_s16le": 2,
    "pcm_f32le": 4,
    "mulaw": 1,
    "alaw": 1,
    "pcm_u8": 1,
    "pcm_s24le": 3,
    "pcm_s32le": 4,
    "pcm_f64le": 8,  # in WAV files
}


class BadAudio(ValueError):
    """The bytes are not what was declared."""


class UnsupportedEncoding(ValueError):
    """An encoding, sample rate or channel count that is not read here."""


@dataclass(frozen=True)
class Format:
    """How the bytes of a session spell its samples."""

    encoding: str = "pcm_s16le"
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS and self.encoding not in _BYTES:
            raise UnsupportedEncoding(
                f"encoding {self.encoding[:40]!r} is not known; send one of: {', '.join(ENCODINGS)}"
            )
        if self.sample_rate not in RATES:
            raise UnsupportedEncoding(
                f"sample rate {self.sample_rate} Hz is out of range; send {RATES[0]} to {RATES[-1]} Hz"
            )
        if self.channels not in (1, 2):
            raise UnsupportedEncoding(f"{self.channels} channels; send 1 or 2")

    @property
    def of_samples(self) -> Format:
        """How samples are spelled where they come as they are."""
        known = self.encoding in _BYTES or self.encoding == "wav"
        return self if known else replace(self, encoding="pcm_s16le")

    @property
    def bytes_per_frame(self) -> int:
        """Of one sample of every channel. What a WAV holds, only the format in its header knows."""
        return _BYTES[self.encoding] * self.channels


@dataclass(frozen=True)
class _Position:
    """Where in the byte stream the decoder stands."""

    format: Format
    carry: bytes = b""  # the first bytes of a sample, or of a header, that is not complete yet
    in_header: bool = False  # a WAV may begin here; it must when WAV was declared
    in_wav: bool = False  # the format is that of a WAV's header, and no client's word changes it
    left: int | None = None  # bytes of audio until the current WAV ends; None: no end known
    trailer: int = 0  # bytes of the current WAV that follow its audio
    skip: int = 0  # such bytes that are still to come


@dataclass(frozen=True, eq=False)
class ParsedChunk:
    """A chunk cut into stretches of whole sample frames of one format each: measured, and not yet decoded."""

    _parts: list[tuple[Format, Bytes]]
    _after: _Position  # where the decoder stands once it has taken it in

    @property
    def seconds(self) -> float:
        """How much audio it holds."""
        return sum(len(raw) / (format.bytes_per_frame * format.sample_rate) for format, raw in self._parts)


class Resampler:
    """Samples at any rate → 16 kHz, piece by piece. How they are cut into pieces does not matter."""

    def __init__(self) -> None:
        self._stream: soxr.ResampleStream | None = None
        self._rate = SAMPLE_RATE  # what the stream reads; 16 kHz needs none

    def push(self, mono: Floats, rate: int) -> Floats:
        """Samples (n,) at `rate` Hz → those at 16 kHz that they complete. A new rate ends the old stream."""
        held = np.empty(0, np.float32)
        if rate != self._rate:
            held, self._rate = self.finish(), rate
        if rate == SAMPLE_RATE:
            return mono if not len(held) else np.concatenate([held, mono])
        if self._stream is None:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        return np.concatenate([held, self._stream.resample_chunk(mono)])

    def finish(self) -> Floats:
        """What is still held back, since it waits for samples that will not come."""
        if self._stream is None:
            return np.empty(0, np.float32)
        stream, self._stream = self._stream, None
        tail: Floats = stream.resample_chunk(np.empty(0, np.float32), last=True)
        return tail


class Decoder:
    """One session's bytes → samples: of the channels mixed down to one, or of each channel in `pick`.

    `pick` None: the mix. Otherwise the channels to score, 0 left, 1 right; what is in the others goes no further
    than its bytes. A chunk is parsed, and then decoded unless its length says otherwise.
    """

    def __init__(self, declared: Format, pick: tuple[int, ...] | None = None) -> None:
        self._declared = declared.of_samples
        self._pick = pick
        self._position = self._beginning()
        self._resamplers = [Resampler() for _ in pick or (0,)]
        self.received_s = 0.0  # audio received, counted before resampling

    def decode(self, data: bytes, sample_rate: int | None = None) -> Floats:
        """`parse` and `decode_each` in one: the first channel's samples (n,) at 16 kHz, n may be 0."""
        return self.decode_each(self.parse(data, sample_rate))[0]

    def decode_each(self, chunk: ParsedChunk) -> list[Floats]:
        """Take in what was parsed last: samples (n,) at 16 kHz that it completes, as many for each channel.

        Raises BadAudio for samples that are no numbers; then the decoder is as it was.
        """
        decoded = [(_samples(format, raw, self._pick), format.sample_rate) for format, raw in chunk._parts]
        self._position = chunk._after
        self.received_s += sum(len(channels[0]) / rate for channels, rate in decoded)
        return [
            _joined([resampler.push(channels[i], rate) for channels, rate in decoded if len(channels[i])])
            for i, resampler in enumerate(self._resamplers)
        ]

    def finish(self) -> Floats:
        """What the first channel's resampler still holds back. The next chunk starts it afresh."""
        return self.finish_each()[0]

    def finish_each(self) -> list[Floats]:
        """The last samples of each channel: float32 (n,), which the resamplers held back."""
        return [resampler.finish() for resampler in self._resamplers]

    @property
    def leftover_bytes(self) -> int:
        """Bytes that wait for the rest of their sample."""
        return len(self._position.carry)

    @property
    def resting(self) -> tuple[int, bytes] | None:
        """Where another decoder can go on: the sample rate, and what is left over; None within a WAV."""
        at = self._position
        return None if at.in_header or at.in_wav or at.skip else (at.format.sample_rate, at.carry)

    def go_on(self, sample_rate: int, carry: bytes) -> None:
        """From where another decoder rested, which had been declared the same."""
        self._position = _Position(replace(self._declared, sample_rate=sample_rate), carry)

    def parse(self, data: bytes, sample_rate: int | None = None) -> ParsedChunk:
        """Cut what was left over and `data` into stretches of whole sample frames, without decoding any.

        `sample_rate`: of `data`, if not the declared one. Changes nothing. Raises BadAudio, UnsupportedEncoding.
        """
        position = self._position
        if is_wav(data):
            position = _Position(position.format, in_header=True, in_wav=True)
        elif sample_rate not in (None, position.format.sample_rate) and not position.in_wav:
            position = replace(position, format=replace(position.format, sample_rate=sample_rate))
        rest: Bytes = memoryview(position.carry + data)
        parts: list[tuple[Format, Bytes]] = []
        while rest:
            if position.skip:
                n = min(position.skip, len(rest))
                position, rest = replace(position, skip=position.skip - n), rest[n:]
                continue
            if position.in_header:
                position, start = self._read_header(position, rest)
                if start is None:
                    break
                rest = rest[start:]
                continue
            n = len(rest) if position.left is None else min(position.left, len(rest))
            whole = n - n % position.format.bytes_per_frame
            parts.append((position.format, rest[:whole]))
            if position.left is None or n < position.left:
                if position.left is not None:
                    position = replace(position, left=position.left - whole)
                rest = rest[whole:]
                break
            if len(parts) > MAX_WAVS:
                raise BadAudio(f"the chunk holds more than {MAX_WAVS} WAV recordings; send fewer at a time")
            # The WAV is over: what follows is another one, or what was declared.
            position, rest = self._beginning(skip=position.trailer), rest[n:]
        return ParsedChunk(
            parts, position if rest == position.carry else replace(position, carry=bytes(rest))
        )

    def _beginning(self, skip: int = 0) -> _Position:
        wav = self._declared.encoding == "wav"
        return _Position(self._declared, in_header=True, in_wav=wav, skip=skip)

    def _read_header(self, position: _Position, rest: Bytes) -> tuple[_Position, int | None]:
        """The position after the header at the start of `rest`, and where its audio starts (None: incomplete)."""
        if self._declared.encoding != "wav" and not may_be_wav(rest):
            return replace(position, in_header=False), 0
        try:
            header = read_header(rest)
        except UnsupportedWav as wrong:
            raise UnsupportedEncoding(str(wrong)) from None
        except BadWav as wrong:
            raise BadAudio(str(wrong)) from None
        if header is None:
            return position, None
        wav = Format(header.encoding, header.sample_rate, header.channels)
        if self._pick is not None and wav.channels < 2:
            raise UnsupportedEncoding("this session has two channels, but the WAV holds one")
        position = _Position(wav, in_wav=True, left=header.data_bytes, trailer=header.trailer_bytes)
        return position, header.data_start


def _joined(parts: list[Floats]) -> Floats:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _samples(format: Format, raw: Bytes, pick: tuple[int, ...] | None) -> list[Floats]:
    """Whole sample frames as float32 (n,): the mix alone, or each of the channels picked."""
    encoding, channels = format.encoding, format.channels
    if encoding == "pcm_s16le":
        samples = np.frombuffer(raw, "<i2").astype(np.float32) * np.float32(1 / 32768)
    elif encoding in _WIDTHS:
        samples = _WIDTHS[encoding](raw)
    elif encoding in ("pcm_f32le", "pcm_f64le"):
        with np.errstate(over="ignore"):  # infinite then, and refused
            samples = np.frombuffer(raw, "<f4" if encoding == "pcm_f32le" else "<f8").astype(np.float32)
        if not np.isfinite(samples).all():
            raise BadAudio("the chunk holds samples that are not finite numbers (NaN or infinity)")
        np.clip(samples, -1, 1, out=samples)
    else:
        samples = _G711[encoding][np.frombuffer(raw, np.uint8)]
    if pick is not None:
        table = samples.reshape(-1, channels)
        return [np.ascontiguousarray(table[:, channel]) for channel in pick]
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return [samples]


def _of_24_bits(raw: Bytes) -> Floats:
    """In the upper three bytes of 32 bits, the sign comes along."""
    wide = np.zeros((len(raw) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
    scaled: Floats = wide.view("<i4")[:, 0].astype(np.float32) * np.float32(1 / 2**31)
    return scaled


_WIDTHS: dict[str, Callable[[Bytes], Floats]] = {
    "pcm_u8": lambda raw: (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) * np.float32(1 / 128),
    "pcm_s24le": _of_24_bits,
    "pcm_s32le": lambda raw: np.frombuffer(raw, "<i4").astype(np.float32) * np.float32(1 / 2**31),
}


def _mulaw_table() -> Floats:
    """ITU-T G.711 µ-law, 14-bit, as float32 in [-1, 1)."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> Floats:
    """ITU-T G.711 A-law, 13-bit, as float32 in [-1, 1)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(
        exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0)
    )
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


_G711 = {"mulaw": _mulaw_table(), "alaw": _alaw_table()}
