"""Samples → the bytes that a session takes. NumPy is not needed; its arrays are understood."""

from __future__ import annotations

import array
import sys
from collections.abc import Iterator, Sequence
from typing import Any

SAMPLE_BYTES = {
    "pcm_s16le": 2,
    "pcm_f32le": 4,
    "mulaw": 1,
    "alaw": 1,
    "wav": 2,
}  # of WAV a guess, as that for containers: 2
MAX_CHUNK_S = 1  # longer audio is cut: servers limit the length of a chunk

Audio = bytes | bytearray | memoryview | Sequence[float] | Any
"""Bytes that are encoded already; or samples: a NumPy array (int16, or float from -1 to 1; two columns for two
channels), or a sequence of floats."""


class Format:
    """What a session's audio is: turns audio into bytes, and bytes into milliseconds."""

    def __init__(self, encoding: str, sample_rate: int, channels: int) -> None:
        self.encoding, self.channels = encoding, channels
        self.sample_bytes = SAMPLE_BYTES.get(encoding, 2) * channels  # bytes
        self.bytes_per_ms = self.sample_bytes * sample_rate / 1000
        self._max_chunk = self.sample_bytes * sample_rate * MAX_CHUNK_S

    @property
    def can_join(self) -> bool:
        """Whether two chunks in a row are the same as one: not where each may have a header."""
        return self.encoding in SAMPLE_BYTES and self.encoding != "wav"

    def split(self, data: bytes) -> Iterator[bytes]:
        """`data` in pieces that one message may hold; whole where each piece of it would need a header."""
        step = self._max_chunk if self.encoding != "wav" else max(1, len(data))
        return (data[at : at + step] for at in range(0, len(data), step))

    def to_bytes(self, audio: Audio) -> bytes:
        """Raises TypeError for what is no audio of this session."""
        if isinstance(audio, bytes | bytearray | memoryview):
            return bytes(audio)
        if isinstance(audio, str):
            raise TypeError("text is no audio")
        if self.encoding not in ("pcm_s16le", "pcm_f32le"):
            raise TypeError(f"a session of {self.encoding} takes bytes, not samples")
        return self._of_array(audio) if hasattr(audio, "dtype") else self._of_floats(audio)

    def _of_array(self, samples: Any) -> bytes:
        columns = samples.shape[1] if samples.ndim == 2 else self.channels
        if samples.ndim > 2 or columns != self.channels:
            raise TypeError(f"an array of shape {samples.shape} for {self.channels} channels")
        if samples.dtype.kind == "i" and samples.dtype.itemsize == 2 and self.encoding == "pcm_s16le":
            return bytes(samples.astype("<i2").tobytes())
        if samples.dtype.kind != "f":
            raise TypeError(f"an array of {samples.dtype} for a session of {self.encoding}")
        if self.encoding == "pcm_f32le":
            return bytes(samples.astype("<f4").tobytes())
        return bytes((samples.astype("<f8") * 32768).round().clip(-32768, 32767).astype("<i2").tobytes())

    def _of_floats(self, samples: Sequence[float]) -> bytes:
        packed: array.array[Any]
        if self.encoding == "pcm_f32le":
            packed = array.array("f", samples)
        else:
            packed = array.array("h", (max(-32768, min(32767, round(x * 32768))) for x in samples))
        if sys.byteorder == "big":
            packed.byteswap()
        return packed.tobytes()
