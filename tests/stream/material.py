"""What the tests of this room are made of: WAV files by hand, cuttings, and a voice detector that can be told."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from stream.codec import Decoder, Format

few = settings(max_examples=30, deadline=None)
some = settings(max_examples=50, deadline=None)
many = settings(max_examples=100, deadline=None)

TAGS = {"pcm_s16le": (1, 16), "pcm_f32le": (3, 32), "alaw": (6, 8), "mulaw": (7, 8)}

# Where to cut, in thousandths of the whole: the same cutting fits data of any length.
cuttings = st.lists(st.integers(0, 1000), max_size=12)


def pieces(data: bytes, thousandths: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(t * len(data) // 1000 for t in thousandths), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def decode(decoder: Decoder, chunks: Iterable[bytes]) -> np.ndarray:
    """All samples, the resampler's tail included."""
    return np.concatenate([*(decoder.decode(chunk) for chunk in chunks), decoder.finish()])


def decoded(format: Format, chunks: Iterable[bytes]) -> np.ndarray:
    return decode(Decoder(format), chunks)


def chunk(name: bytes, body: bytes) -> bytes:
    """One RIFF chunk, padded to even length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def fmt(
    encoding: str = "pcm_s16le", rate: int = 16_000, channels: int = 1, extensible: bool = False
) -> bytes:
    tag, bits = TAGS[encoding]
    align = channels * bits // 8
    body = struct.pack(
        "<HHIIHH",
        0xFFFE if extensible else tag,
        channels,
        rate,
        rate * align & 0xFFFFFFFF,
        align & 0xFFFF,
        bits,
    )
    if extensible:
        guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        body += struct.pack("<HHI", 22, bits, 0) + guid
    return chunk(b"fmt ", body)


def wav(
    audio: bytes,
    encoding: str = "pcm_s16le",
    rate: int = 16_000,
    channels: int = 1,
    *,
    extensible: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    size: int | None = None,
) -> bytes:
    """`before`, `after`: whole chunks around the data; `size`: what the header says instead of the truth."""
    data = chunk(b"data", audio)
    if size is not None:
        data = b"data" + struct.pack("<I", size) + audio
    body = b"WAVE" + fmt(encoding, rate, channels, extensible) + before + data + after
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def pcm(n: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(-32768, 32768, n).astype("<i2").tobytes()


class ToldVad:
    """A voice detector for audio whose samples say what it is: a hop with any sample above zero is voiced."""

    def __init__(self, aggressiveness: int) -> None:
        pass

    def is_speech(self, pcm: bytes, rate: int, length: int) -> bool:
        assert (len(pcm), rate, length) == (320, 16_000, 160)
        return bool((np.frombuffer(pcm, "<i2") > 0).any())


def told(voiced: Iterable[bool]) -> np.ndarray:
    """Audio for `ToldVad`, a hop of 160 samples for each; every sample differs from its neighbors."""
    flags = np.repeat(np.fromiter(voiced, bool), 160)
    level = 0.1 + 0.8 * np.random.default_rng(len(flags)).random(len(flags))
    return np.where(flags, level, -level).astype(np.float32)
