"""Reading a WAV header from a stream that may break off anywhere, even inside the header.

The standard library's `wave` wants a whole file; a socket delivers pieces. Format: RIFF/WAVE as in
Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" and `WAVEFORMATEXTENSIBLE`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

Bytes = bytes | memoryview

MAX_HEADER = 64 * 1024  # metadata chunks may stand before the data; more than this is no microphone

_ENCODINGS = {
    (1, 8): "pcm_u8",
    (1, 16): "pcm_s16le",
    (1, 24): "pcm_s24le",
    (1, 32): "pcm_s32le",
    (3, 32): "pcm_f32le",
    (3, 64): "pcm_f64le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
_EXTENSIBLE = 0xFFFE
_ENDLESS = 0x7FFFF000  # recorders that do not know the length yet write 0 or about 2**31 / 2**32


class BadWav(ValueError):
    """The bytes are no WAV header that can be read."""


class UnsupportedWav(BadWav):
    """A WAV header that is right, of samples that are not read here."""


@dataclass(frozen=True)
class WavHeader:
    """What a RIFF header says of the audio after it."""

    encoding: str
    sample_rate: int
    channels: int
    data_start: int  # offset of the first byte of audio
    data_bytes: int | None  # None: until the stream ends
    trailer_bytes: int  # what follows the audio and still belongs to this WAV: tags, padding


def is_wav(data: Bytes) -> bool:
    """Whether `data` begins as a WAV file; needs its first 12 bytes."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def may_be_wav(data: Bytes) -> bool:
    """Whether `data` is the beginning of a WAV, as far as it goes: one byte may be enough to say no."""
    return b"RIFF".startswith(bytes(data[:4])) and b"WAVE".startswith(bytes(data[8:12]))


def read_header(data: Bytes) -> WavHeader | None:
    """Read the header at the start of `data`; None when more bytes are needed. Raises BadWav."""
    if not may_be_wav(data):
        raise BadWav("the audio was declared as WAV but does not begin with a RIFF/WAVE header")
    fmt: tuple[str, int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            if fmt is None:
                raise BadWav("the WAV header has no 'fmt ' chunk before its data")
            if at + 8 > MAX_HEADER:
                break
            if size == 0 or size >= _ENDLESS:
                return WavHeader(*fmt, data_start=at + 8, data_bytes=None, trailer_bytes=0)
            return WavHeader(*fmt, at + 8, size, _trailer(data, at + 8 + size))
        if name == b"fmt " and at + 8 + size <= len(data):
            fmt = _read_format(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2  # chunks are padded to even length
    if len(data) > MAX_HEADER:
        raise BadWav(f"no audio within the first {MAX_HEADER} bytes of the WAV header")
    return None


def _trailer(data: Bytes, data_end: int) -> int:
    """Bytes between the end of the audio and the end of the file that the RIFF header speaks of."""
    (size,) = struct.unpack_from("<I", data, 4)
    if 0 < size < _ENDLESS:
        return max(0, 8 + int(size) - data_end)
    return data_end % 2  # its writer did not know: then only the padding of chunks to even length


def _read_format(body: Bytes) -> tuple[str, int, int]:
    if len(body) < 16:
        raise BadWav("the WAV header's 'fmt ' chunk is too short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)
    if (tag, bits) not in _ENCODINGS:
        raise UnsupportedWav(
            f"WAV format {tag} with {bits} bits is not read; send PCM of 8 to 32 bits, float, A-law or u-law"
        )
    return _ENCODINGS[tag, bits], rate, channels
