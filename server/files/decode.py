"""Any recording → mono float32 blocks of about a second, in constant memory.

FFmpeg's libraries read the file (through PyAV; docs/decisions/0011), from an open file and never by a name: it may
open nothing else, and tries only what `server.decoding.ffmpeg` lists. What a header claims is believed only
within limits. A recording that breaks off before its declared end is refused, not quietly heard in part.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from server.decoding.ffmpeg import best_audio, broken, channels_of, checked_rate, frames, open_container
from server.errors import ClientError
from stream.types import Floats

_ENDINGS = (
    ".wav .w64 .mp3 .m4a .mp4 .aac .3gp .flac .ogg .oga .opus .webm .weba .mka .amr .aif .aiff .au .caf"
)
SUFFIXES = frozenset(_ENDINGS.split())
_EXACT = {"mov", "flac", "matroska", "aiff", "au"}  # containers whose declared length is no estimate
_ENDLESS = 0x7FFFF000  # writers that do not know the length of a WAV yet write 0 or about 2**31 / 2**32
_GENTLE_S = 0.25  # by how much a header may be wrong about the length
_STARTS: tuple[bytes, ...] = (b"RIFF", b"RF64", b"riff", b"fLaC", b"OggS", b"ID3", b"FORM", b"caff", b".snd")
_STARTS += (b"#!AMR", b"\x1aE\xdf\xa3", b"\xff\xf1", b"\xff\xf9", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")


@dataclass(frozen=True)
class DecodeLimits:
    """What a recording may be."""

    max_s: float = float("inf")
    max_channels: int = 32


@dataclass(frozen=True)
class MediaInfo:
    """What the header says. `duration_s` is None where it says nothing, and an estimate unless `exact`."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    duration_s: float | None
    exact: bool


@dataclass(frozen=True, eq=False)
class AudioBlock:
    """Mono samples (n,) in [-1, 1] at `rate` Hz."""

    samples: Floats
    rate: int


class Audio:
    """An open recording. `blocks` can be read once."""

    def __init__(
        self, container: InputContainer, stream: AudioStream, about: MediaInfo, limits: DecodeLimits
    ) -> None:
        self._container, self._stream, self._limits = container, stream, limits
        self.about = about
        self._read: dict[int, int] = {}  # samples decoded so far, by their rate

    @property
    def read_s(self) -> float:
        """Seconds decoded so far."""
        return sum(n / rate for rate, n in self._read.items())

    def blocks(self) -> Iterator[AudioBlock]:
        """All of it. Raises ClientError BAD_AUDIO, NO_AUDIO, FILE_TOO_LARGE or UNSUPPORTED_MEDIA."""
        parts: list[Floats] = []
        held, rate = 0, 0
        for frame in frames(self._container, self._stream, lambda: self.read_s):
            if frame.sample_rate != rate and parts:
                yield AudioBlock(np.concatenate(parts), rate)
                parts, held = [], 0
            rate = checked_rate(frame.sample_rate)
            parts.append(self._mono(frame))
            held += frame.samples
            self._read[rate] = self._read.get(rate, 0) + frame.samples
            if self.read_s > self._limits.max_s:
                raise _too_long(self._limits)
            if held >= rate:
                yield AudioBlock(np.concatenate(parts), rate)
                parts, held = [], 0
        if parts:
            yield AudioBlock(np.concatenate(parts), rate)
        self._check_length()

    def _mono(self, frame: AudioFrame) -> Floats:
        channels = frame.layout.nb_channels
        if not 0 < channels <= self._limits.max_channels:
            raise _too_many(channels, self._limits)
        heard = channels_of(frame)
        mono: Floats = heard[0] if channels == 1 else heard.mean(axis=0, dtype=np.float32)
        return mono

    def _check_length(self) -> None:
        if not self.read_s:
            raise ClientError("NO_AUDIO", "the recording holds no samples")
        declared = self.about.duration_s
        if declared is None or not self.about.exact:
            return
        if self.read_s < declared - max(_GENTLE_S, 0.01 * declared):
            raise broken(
                f"it ends after {self.read_s:.1f} s of the {declared:.1f} s that its header declares: cut off?"
            )


class _Readable:
    """A file as FFmpeg is given it: a place that cannot be, as headers name them, is an answer and no exception.

    PyAV keeps an exception for later, where it is a fault of the disk like any other, or writes it to the log.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell, self.seekable = file.read, file.tell, file.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new place; a negative number, which FFmpeg takes for an error's, where there is no such place."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # a disk has no part in this
            return -errno.EINVAL


@contextmanager
def opened(file: BinaryIO, limits: DecodeLimits) -> Iterator[Audio]:
    """The recording in `file`, which is seekable. Raises ClientError."""
    head = file.read(1 << 12)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if not size:
        raise ClientError("NO_AUDIO", "the file is empty")
    _check_riff(head, size)
    exact = _counts_its_frames(file, head)
    likely = head.startswith(_STARTS) or head[4:8] == b"ftyp"
    container = open_container(_Readable(file), likely=likely)
    with container:
        yield _audio(container, limits, exact)


def _audio(container: InputContainer, limits: DecodeLimits, exact: bool) -> Audio:
    stream, context = best_audio(container)
    if context.channels > limits.max_channels:
        raise _too_many(context.channels, limits)
    rate = checked_rate(context.sample_rate)
    duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    if duration is None and container.duration and not container.streams.video:
        duration = container.duration / av.time_base
    name = container.format.name.split(",")[0]
    declared = duration if duration is not None and duration > 0 else None
    if declared is not None and declared > limits.max_s and (exact or name in _EXACT):
        raise _too_long(limits)
    about = MediaInfo(
        container=name,
        codec=context.name,
        sample_rate=rate,
        channels=context.channels,
        duration_s=declared,
        exact=exact or name in _EXACT,
    )
    return Audio(container, stream, about, limits)


def _check_riff(head: bytes, size: int) -> None:
    """A WAV that is shorter than it says; FFmpeg would take it as it is."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, at)
        if name == b"data":
            missing = at + 8 + length - size
            if 0 < length < _ENDLESS and missing > max(1, length // 100):
                raise broken(f"{missing} of the {length} bytes of audio that its header declares are missing")
            return
        at += 8 + length + length % 2


def _counts_its_frames(file: BinaryIO, head: bytes) -> bool:
    """Whether an MP3 says how many frames it has, behind its ID3 tag; without that its length is an estimate."""
    start = 0
    if head[:3] == b"ID3" and len(head) > 10:
        start = 10 + sum(part << shift for part, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(200)
    file.seek(0)
    return frame[:1] == b"\xff" and (b"Xing" in frame or b"Info" in frame)


def _too_many(channels: int, limits: DecodeLimits) -> ClientError:
    return ClientError(
        "UNSUPPORTED_MEDIA", f"{channels} channels; at most {limits.max_channels} are supported"
    )


def _too_long(limits: DecodeLimits) -> ClientError:
    return ClientError("FILE_TOO_LARGE", f"longer than {limits.max_s:g} s; cut it up (files.max_audio_s)")
