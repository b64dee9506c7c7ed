"""Bytes as they come from a client → float32 samples at 16 kHz, mono.

PCM16, float32, G.711 µ-law and A-law, and WAV of any of these; 8 to 48 kHz; 1 or 2 channels (mixed down).
A chunk may end anywhere, in the middle of a sample or of a header: what is left over waits for the next one.
A chunk that is refused leaves the decoder as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import soxr

from stream.types import SAMPLE_RATE, Floats
from stream.wav import BadWav, UnsupportedWav, is_wav, read_header

ENCODINGS = ("pcm_s16le", "pcm_f32le", "mulaw", "alaw", "wav")
RATES = range(8_000, 48_001)
_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


class BadAudio(ValueError):
    """The bytes are not what was declared."""


class UnsupportedEncoding(ValueError):
    """An encoding, sample rate or channel count that is not read here."""


@dataclass(frozen=True)
class Format:
    encoding: str = "pcm_s16le"
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UnsupportedEncoding(
                f"encoding {self.encoding!r} is not known; send one of: {', '.join(ENCODINGS)}"
            )
        if self.sample_rate not in RATES:
            raise UnsupportedEncoding(
                f"sample rate {self.sample_rate} Hz is out of range; send {RATES[0]} to {RATES[-1]} Hz"
            )
        if self.channels not in (1, 2):
            raise UnsupportedEncoding(f"{self.channels} channels; send 1 or 2")

    @property
    def bytes_per_frame(self) -> int:
        """Of one sample of every channel; of a WAV whose header is still to come, a guess."""
        return _BYTES.get(self.encoding, 2) * self.channels


@dataclass(frozen=True)
class _Place:
    """Where in the byte stream the decoder stands."""

    format: Format
    carry: bytes = b""  # the first bytes of a sample, or of a header, that is not complete yet
    in_header: bool = False
    left: int | None = None  # bytes of audio until the current WAV ends; None: no end known


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
    """One session's bytes → samples. `decode` may raise BadAudio or UnsupportedEncoding."""

    def __init__(self, declared: Format) -> None:
        self._declared = declared
        self._place = _Place(declared, in_header=declared.encoding == "wav")
        self._resampler = Resampler()
        self.received_ms = 0.0  # audio received, counted before resampling

    def decode(self, data: bytes, sample_rate: int | None = None) -> Floats:
        """Samples (n,) at 16 kHz that `data` completes, n may be 0. `sample_rate`: if not the declared one."""
        place = self._place
        if sample_rate is not None and sample_rate != place.format.sample_rate and not is_wav(data):
            place = replace(place, format=replace(place.format, sample_rate=sample_rate))
        place, body = self._find_audio(place, data)
        mono, place = _samples(place, body)
        rate = place.format.sample_rate
        if place.left == 0:  # the WAV is over: what follows is another one, or what was declared
            place = _Place(self._declared, in_header=self._declared.encoding == "wav")
        self._place = place
        self.received_ms += 1000 * len(mono) / rate
        return self._resampler.push(mono, rate)

    def finish(self) -> Floats:
        """What the resampler still holds back. The next chunk starts it afresh."""
        return self._resampler.finish()

    def seconds_of(self, data: bytes, sample_rate: int | None = None) -> float:
        """How much audio `data` is about to bring, as far as can be told before it is decoded."""
        format = self._place.format
        if is_wav(data):
            try:
                header = read_header(data)
            except BadWav:
                header = None  # `decode` says what is wrong with it
            if header is not None and header.channels:
                wav = _BYTES[header.encoding] * header.channels * max(1, header.sample_rate)
                return (len(data) - header.data_start) / wav
        rate = format.sample_rate if sample_rate is None else max(1, sample_rate)
        return len(data) / (format.bytes_per_frame * rate)

    @property
    def leftover_bytes(self) -> int:
        """Bytes that wait for the rest of their sample."""
        return len(self._place.carry)

    def _find_audio(self, place: _Place, data: bytes) -> tuple[_Place, bytes]:
        """Strip what is not audio: read a header where one stands, cut what follows a WAV's end."""
        if not place.in_header and is_wav(data):
            place = _Place(place.format, in_header=True)
        if place.in_header:
            seen = place.carry + data
            try:
                header = read_header(seen)
            except UnsupportedWav as wrong:
                raise UnsupportedEncoding(str(wrong)) from None
            except BadWav as wrong:
                raise BadAudio(str(wrong)) from None
            if header is None:
                return replace(place, carry=seen), b""
            wav = Format(header.encoding, header.sample_rate, header.channels)
            place, data = _Place(wav, left=header.data_bytes), seen[header.data_start :]
        if place.left is not None:
            data = data[: place.left]
            place = replace(place, left=place.left - len(data))
        return place, data


def _samples(place: _Place, body: bytes) -> tuple[Floats, _Place]:
    """Whole sample frames of `carry + body` as mono float32 (n,); the rest goes to the new carry."""
    if place.in_header:
        return np.empty(0, np.float32), place
    body = place.carry + body
    whole = len(body) - len(body) % place.format.bytes_per_frame
    raw, place = body[:whole], replace(place, carry=body[whole:])
    encoding, channels = place.format.encoding, place.format.channels
    if encoding == "pcm_s16le":
        samples = np.frombuffer(raw, "<i2").astype(np.float32) * np.float32(1 / 32768)
    elif encoding == "pcm_f32le":
        samples = np.frombuffer(raw, "<f4").astype(np.float32)
        if not np.isfinite(samples).all():
            raise BadAudio("the chunk holds samples that are not finite numbers (NaN or infinity)")
        np.clip(samples, -1, 1, out=samples)
    else:
        samples = _G711[encoding][np.frombuffer(raw, np.uint8)]
    if channels > 1:
        samples = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return samples, place


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
