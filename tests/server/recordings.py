"""Recordings as people send them, in every format, and as attackers do."""

from __future__ import annotations

import io
import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import av
import numpy as np

FORMATS: dict[str, tuple[str, str, int, str]] = {  # name → container, codec, rate, channels
    "pcm16.wav": ("wav", "pcm_s16le", 16_000, "mono"),
    "pcm24.wav": ("wav", "pcm_s24le", 44_100, "stereo"),
    "pcm8.wav": ("wav", "pcm_u8", 8_000, "mono"),
    "float.wav": ("wav", "pcm_f32le", 48_000, "5.1"),
    "double.wav": ("wav", "pcm_f64le", 96_000, "mono"),
    "mulaw.wav": ("wav", "pcm_mulaw", 8_000, "mono"),
    "alaw.wav": ("wav", "pcm_alaw", 8_000, "mono"),
    "adpcm.wav": ("wav", "adpcm_ms", 16_000, "mono"),
    "a.mp3": ("mp3", "libmp3lame", 44_100, "stereo"),
    "a.m4a": ("mp4", "aac", 44_100, "stereo"),
    "a.aac": ("adts", "aac", 22_050, "mono"),
    "a.3gp": ("3gp", "aac", 16_000, "mono"),
    "a.flac": ("flac", "flac", 44_100, "mono"),
    "a.opus": ("ogg", "libopus", 48_000, "mono"),
    "a.webm": ("webm", "libopus", 48_000, "stereo"),
    "a.mka": ("matroska", "pcm_s16le", 16_000, "mono"),
    "a.amr": ("amr", "libopencore_amrnb", 8_000, "mono"),
    "a.aiff": ("aiff", "pcm_s16be", 16_000, "mono"),
    "a.au": ("au", "pcm_s16be", 16_000, "mono"),
    "a.caf": ("caf", "pcm_s16le", 16_000, "mono"),
    "a.w64": ("w64", "pcm_s16le", 16_000, "mono"),
}


def encoded(samples: np.ndarray, container: str, codec: str, rate: int, layout: str = "mono") -> bytes:
    """Float32 samples at 16 kHz as a file of that kind."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        convert = av.AudioResampler(
            format=stream.format, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size or 1024
        )
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        sound.sample_rate = 16_000
        for frame in [*convert.resample(sound), *convert.resample(None)]:
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def made(name: str, samples: np.ndarray) -> bytes:
    return encoded(samples, *FORMATS[name])


def wav(pcm: bytes, rate: int = 16_000, channels: int = 1, bits: int = 16, size: int | None = None) -> bytes:
    """A WAV whose header claims what it is told to; `size` in place of the data's own."""
    size = len(pcm) if size is None else size
    align = channels * bits // 8 & 0xFFFF
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    head = b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16)
    return head + fmt + b"data" + struct.pack("<I", size) + pcm


def au(channels: int, rate: int = 16_000) -> bytes:
    return b".snd" + struct.pack(">IIIII", 24, 32_000, 3, rate, channels) + bytes(32_000)


def caf(channels: int, rate: float = 16_000.0) -> bytes:
    """CAF counts its channels in 32 bits."""
    desc = struct.pack(">d4sIIIII", rate, b"lpcm", 0, 2 * channels & 0xFFFFFFFF, 1, channels, 16)
    return (
        b"caff\0\1\0\0desc"
        + struct.pack(">q", 32)
        + desc
        + b"data"
        + struct.pack(">qI", 32_004, 0)
        + bytes(32_000)
    )


def video_only() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    return file.getvalue()


@cache
def long_silence(seconds: int) -> bytes:
    """Hours in a few hundred kilobytes: what a decompression bomb is to audio."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as output:
        stream: Any = output.add_stream("flac", rate=16_000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
        block.sample_rate = 16_000
        for second in range(seconds):
            block.pts = 16_000 * second
            output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    return file.getvalue()


@dataclass(frozen=True)
class Hostile:
    """An upload that must be refused, and the codes that would be right. Its bytes are made when asked for."""

    what: str
    make: Callable[[], bytes]
    codes: tuple[str, ...]

    @property
    def data(self) -> bytes:
        return self.make()


REFUSED = ("UNSUPPORTED_MEDIA", "BAD_AUDIO", "NO_AUDIO")
NOISE = (*REFUSED, "FILE_TOO_LARGE")  # chance may write a header of years


def hostile(samples: np.ndarray) -> Iterator[Hostile]:
    """Some 180 files that are no recordings, or say what is not so. Always the same ones."""
    speech = samples[:48_000]
    pcm = (speech * 32767).astype("<i2").tobytes()
    yield Hostile("nothing", bytes, ("NO_AUDIO",))
    yield Hostile("video without sound", video_only, ("NO_AUDIO",))
    yield Hostile("a header and no samples", partial(wav, b""), REFUSED)
    for text in (
        "hello",
        "RIFF",
        "RIFF but no more",
        "ID3",
        "OggS",
        "fLaC",
        "<html>",
        "{}",
        "\x00" * 5000,
        "MZ",
        "%PDF",
    ):
        yield Hostile(f"text {text[:10]!r}", text.encode, REFUSED)
    for name, text in _playlists():
        yield Hostile(name, text.encode, ("UNSUPPORTED_MEDIA",))
    for channels in (0, 33, 255, 1000, 65_535):
        yield Hostile(f"WAV of {channels} channels", partial(wav, pcm, channels=channels), REFUSED)
    for channels in (0, 300, 10**6, 10**9, 2**32 - 1):
        yield Hostile(f"AU of {channels} channels", partial(au, channels), REFUSED)
        yield Hostile(f"CAF of {channels} channels", partial(caf, channels), REFUSED)
    for rate in (0, 1, 1999, 10**6, 2**31, 2**32 - 1):
        yield Hostile(f"WAV of {rate} Hz", partial(wav, pcm, rate=rate), REFUSED)
        yield Hostile(f"AU of {rate} Hz", partial(au, 1, rate), REFUSED)
    for exact in (0.0, -1.0, 1e300, float("nan"), float("inf")):
        yield Hostile(f"CAF of {exact} Hz", partial(caf, 1, exact), REFUSED)
    for bits in (0, 65_535):
        yield Hostile(f"WAV of {bits} bits", partial(wav, pcm, bits=bits), REFUSED)
    for size in (len(pcm) * 2, 10**8, 2**31 - 10**7):
        yield Hostile(f"WAV that declares {size} bytes", partial(wav, pcm, size=size), ("BAD_AUDIO",))
    yield Hostile("not a number", _not_a_number, ("BAD_AUDIO",))
    whole = cache(partial(made, samples=speech))
    for name in ("pcm24.wav", "float.wav", "a.flac", "a.m4a", "a.aiff", "a.au", "a.mp3", "a.webm"):
        for part in (0.3, 0.6, 0.9):
            yield Hostile(f"{part:.0%} of {name}", partial(_beginning, whole, name, part), REFUSED)
    for name in FORMATS:
        yield Hostile(f"the first bytes of {name}", partial(_beginning, whole, name, 24), REFUSED)
    for name in ("a.flac", "a.m4a", "a.webm", "a.mp3", "a.opus"):
        changed = partial(_changed, whole, name)
        yield Hostile(f"{name} with a third of its bytes changed", changed, REFUSED)
    for number in range(60):
        yield Hostile(f"noise {number}", partial(_noise, number), NOISE)


def _not_a_number() -> bytes:
    broken = np.full(16_000, np.nan, "<f4").tobytes()
    return wav(broken, bits=32).replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\3\0", 1)


def _beginning(whole: Callable[[str], bytes], name: str, part: float) -> bytes:
    """A share of it, or so many bytes."""
    data = whole(name)
    return data[: int(part * len(data)) if part < 1 else int(part)]


def _changed(whole: Callable[[str], bytes], name: str) -> bytes:
    data, chance = bytearray(whole(name)), random.Random(name)
    for _ in range(len(data) // 3):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _noise(number: int) -> bytes:
    """Chance, behind nothing or what some format begins with."""
    chance = random.Random(number)
    start = chance.choice(
        (
            b"",
            b"RIFF\x00\x10\x00\x00WAVE",
            b"fLaC\0\0\0\x22",
            b"OggS\0\2",
            b"\0\0\0\x20ftypM4A ",
            b"\x1aE\xdf\xa3",
        )
    )
    return start + chance.randbytes(chance.choice((10, 1000, 20_000)))


_EXTREMES = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """A recording with a few bytes changed or left out, mostly in its header: extreme sizes, places and counts."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(min(len(data), chance.choice((64, 256, len(data)))))
        size, extreme = chance.choice((1, 4, 8)), chance.choice(_EXTREMES)
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + size] = (extreme[:1] + extreme[1:] * 8)[: size - 1] + extreme[-1:]
            case 2:
                del data[at : at + size]
    return bytes(data)


def _playlists() -> list[tuple[str, str]]:
    """Formats that make FFmpeg open other files or addresses."""
    path = os.path.abspath(__file__)  # noqa: PTH100
    return [
        ("HLS", f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{path}\n#EXT-X-ENDLIST\n"),
        ("HLS of an address", "#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/x.wav\n"),
        ("concat", f"ffconcat version 1.0\nfile '{path}'\n"),
        ("DASH", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>'),
        (
            "IMF",
            '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
        ),
        ("SDP", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
        ("PLS", f"[playlist]\nFile1={path}\nNumberOfEntries=1\n"),
        ("subtitle", "1\n00:00:01,000 --> 00:00:02,000\nhello\n"),
    ]
