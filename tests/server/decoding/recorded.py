"""Recordings in containers, as streams of bytes, made by FFmpeg itself (through PyAV)."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import av
import numpy as np

from stream.codec import Resampler

UNREADABLE = ("encrypted", "mp4 as a file")  # of KINDS
# name → FFmpeg's container, its codec, sample rate, options, and whether the writer may go back in the file.
KINDS: dict[str, tuple[str, str, int, dict[str, str], bool]] = {
    "webm": ("webm", "libopus", 48_000, {"live": "1"}, False),
    "ogg": ("ogg", "libopus", 48_000, {}, False),
    "flac": ("flac", "flac", 16_000, {}, False),
    "mp3": ("mp3", "libmp3lame", 44_100, {}, False),
    "mp2": ("mp2", "mp2", 48_000, {}, False),
    "aac": ("adts", "aac", 44_100, {}, False),
    "amr": ("amr", "libopencore_amrnb", 8_000, {}, False),
    "mp4": (
        "mp4",
        "aac",
        48_000,
        {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"},
        False,
    ),
    "encrypted": (
        "mp4",
        "aac",
        48_000,
        {
            "movflags": "frag_keyframe+empty_moov+default_base_moof",
            "frag_duration": "200000",
            "encryption_scheme": "cenc-aes-ctr",
            "encryption_key": "1" * 32,
            "encryption_kid": "2" * 32,
        },
        False,
    ),
    "mp4 as a file": ("mp4", "aac", 48_000, {}, True),
}


class _OneWay:
    """A file that cannot go back, as a socket."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(bytes(data))
        return len(data)


def recorded(samples: np.ndarray, kind: str, layout: str = "mono") -> bytes:
    """Samples at 16 kHz, float32 (n,) or (n, 2), in a container of KINDS."""
    name, codec, rate, options, seekable = KINDS[kind]
    file: Any = io.BytesIO() if seekable else _OneWay()
    pcm = np.rint(np.atleast_2d(samples.T) * 32767).astype(np.int16)
    source = "mono" if len(pcm) == 1 else "stereo"
    with av.open(file, "w", format=name, options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout=layout)
        if codec == "libopus":
            stream.bit_rate = 64_000
        packed = np.ascontiguousarray(pcm.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=source)
        frame.rate = 16_000
        size = 0 if codec == "libopus" else stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, layout, rate, size or 960)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue() if seekable else b"".join(file.parts)


def video_alone() -> bytes:
    """Two seconds of pictures in a WebM."""
    file: Any = _OneWay()
    with av.open(file, "w", format="webm", options={"live": "1"}) as out:
        stream: Any = out.add_stream("libvpx", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 9 * i, np.uint8))))
        out.mux(stream.encode(None))
    return b"".join(file.parts)


def decoded(data: bytes) -> np.ndarray:
    """All of it at once, by FFmpeg: float32 (n, channels) at 16 kHz, resampled by the product's own rule."""
    one_way: Any = SimpleNamespace(read=io.BytesIO(data).read)  # seeking, it would cut an MP3's padding off
    with av.open(one_way) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    channels = len(frames[0].layout.channels)
    parts = [f.to_ndarray() if f.format.is_planar else f.to_ndarray().reshape(-1, channels).T for f in frames]
    sound = np.concatenate(parts, axis=1)
    if sound.dtype.kind == "i":
        sound = sound / np.float32(1 << (8 * sound.dtype.itemsize - 1))
    voices = []
    for voice in sound.astype(np.float32).clip(-1, 1):
        resampler = Resampler()
        voices.append(np.concatenate([resampler.push(voice, rate), resampler.finish()]))
    return np.stack(voices, axis=1)
