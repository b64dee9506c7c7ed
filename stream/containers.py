"""Audio in containers, recognized by its first bytes: so that it is decoded, or refused, and never scored as PCM.

Raw samples may begin with anything. So a few bytes are not enough: what follows them has to fit, too. Only the
beginning of a stream is looked at so; what begins in the middle of one is something else to whom it concerns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

LOOK_BYTES = 8192  # of a stream's beginning; whoever is undecided by then is no container
# What is decoded as it comes, by its encoding's name, and its name for people.
STREAMED = {
    "webm": "WebM",
    "ogg": "Ogg",
    "flac": "FLAC",
    "mp3": "MP3",
    "aac": "AAC",
    "mp4": "MP4",
    "amr": "AMR",
}
# Containers of samples that only files may come in.
_FILES = "AIFF, AU, CAF, RF64 or W64"
# None: more bytes are needed to tell.
Verdict = bool | None

_MPEG_RATES = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}  # by version
_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),  # of MPEG 1, layer I
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # by MPEG 1 or not, and layer


def container(data: bytes) -> str | Literal["undecided"] | None:
    """What a stream that begins with `data` is: a name of STREAMED, or for people what is not read as a stream.

    None for what is no container that is known here; "undecided" when `data` is too short to say.
    """
    data = data[:LOOK_BYTES]
    undecided = False
    for name, begins in _KNOWN.get(data[0], ()) if data else ():
        verdict = begins(data)
        if verdict:
            return name
        undecided = undecided or verdict is None
    return "undecided" if undecided and len(data) < LOOK_BYTES else None


def begins_anew(data: bytes) -> str | None:
    """The container whose header stands at the start of `data`, where another one of its kind goes on: recorders
    that are started again begin so. Only headers that cannot be in the middle of a stream."""
    head = bytes(data[:64])
    if head[:4] == _EBML and (b"webm" in head or b"matroska" in head):
        return "webm"
    if head[:4] == b"OggS" and len(head) >= 22 and head[5] & 2 and head[18:22] == bytes(4):
        return "ogg"
    if _flac(head):
        return "flac"
    return "mp4" if _mp4(head) else None


_EBML = b"\x1a\x45\xdf\xa3"


def _starts(magic: bytes, more: int = 0) -> Callable[[bytes], Verdict]:
    """With these bytes, and `more` after them."""

    def begins(data: bytes) -> Verdict:
        if not magic.startswith(data[: len(magic)]):
            return False
        return True if len(data) >= len(magic) + more else None

    return begins


def _webm(data: bytes) -> Verdict:
    """RFC 8794: an EBML header, with its document type."""
    if not _EBML.startswith(data[:4]):
        return False
    return True if b"webm" in data[:64] or b"matroska" in data[:64] else (False if len(data) >= 64 else None)


def _cluster(at: int) -> Callable[[bytes], Verdict]:
    """The middle of a WebM whose beginning was lost: a cluster, whose second byte stands at `at`.

    Chromium's recorder cuts after the first byte of what follows.
    """

    def begins(data: bytes) -> Verdict:
        if not b"\x43\xb6\x75".startswith(data[at : at + 3]):
            return False
        if len(data) < at + 4:
            return None
        time = at + 3 + 9 - data[at + 3].bit_length()  # what comes first in it, after its size
        return data[time] == 0xE7 if len(data) > time else None

    return begins


def _block(at: int) -> Callable[[bytes], Verdict]:
    """Likewise a SimpleBlock of track 1 whose size stands at `at`, and after it the first byte of another or of
    a cluster (RFC 9559, 5.1.3, 10.3)."""

    def begins(data: bytes) -> Verdict:
        head = data[at : at + 6]
        if len(head) < 6:
            return None
        if head[0] & 0xC0 != 0x40 or head[2] != 0x81 or head[3] & 0x80 or head[5] != 0x80:
            return False
        end = at + 2 + ((head[0] & 0x3F) << 8 | head[1])
        return data[end] in (0x1F, 0xA3) if len(data) > end else None

    return begins


def _flac(data: bytes) -> Verdict:
    """RFC 9639: STREAMINFO of 34 bytes comes first."""
    if not b"fLaC".startswith(data[:4]):
        return False
    return data[4] in (0, 0x80) and data[5:8] == b"\0\0\x22" if len(data) >= 8 else None


def _mp4(data: bytes) -> Verdict:
    """ISO/IEC 14496-12: a box `ftyp` of a few words."""
    if data[:3] != bytes(min(3, len(data))) or not b"ftyp".startswith(data[4:8]):
        return False
    return data[8:12].isascii() if len(data) >= 12 else None


def _moof(data: bytes) -> Verdict:
    """The middle of a fragmented MP4: a box `moof`, which begins with an `mfhd`."""
    if data[:2] != bytes(min(2, len(data))) or not b"moof".startswith(data[4:8]):
        return False
    return data[12:16] == b"mfhd" if len(data) >= 16 else None


def _id3(data: bytes) -> Verdict:
    """ID3v2, before an MP3: sizes are of seven bits."""
    if not b"ID3".startswith(data[:3]):
        return False
    return 2 <= data[3] <= 4 and max(data[6:10]) < 0x80 if len(data) >= 10 else None


def _uncompressed(data: bytes) -> Verdict:
    form, kind = data[:4], data[8:12]
    if len(data) < 28:
        return None if any(magic.startswith(form) for magic in _FORMS) else False
    return (
        (form == b"FORM" and kind in (b"AIFF", b"AIFC"))
        or (form == b"RF64" and kind == b"WAVE")
        or (form == b".snd" and data[4:6] == b"\0\0")
        or (form == b"caff" and kind == b"desc")
        or (form == b"riff" and data[24:28] == b"wave")
    )


_FORMS = (b"FORM", b"RF64", b".snd", b"caff", b"riff")


def _amr(data: bytes) -> Verdict:
    """RFC 4867, 5: the magic number of its files."""
    if not b"#!AMR".startswith(data[:5]):
        return False
    return data[5:6] in (b"\n", b"-") if len(data) > 5 else None


def _chain(length: Callable[[bytes], int | None], head_bytes: int) -> Callable[[bytes], Verdict]:
    """Three frames in a row, of which each says how long it is."""

    def begins(data: bytes) -> Verdict:
        at = 0
        for _ in range(3):
            step = length(data[at : at + 7])
            if step is None:
                return None if len(data) < at + head_bytes and _may_go_on(data[at:]) else False
            at += step
        return True

    return begins


def _may_go_on(head: bytes) -> bool:
    """Whether a frame's header that is not complete may become one: eleven bits are set in each."""
    return head[:1] in (b"", b"\xff") and (len(head) < 2 or head[1] & 0xE0 == 0xE0)


def _mpeg_frame(head: bytes) -> int | None:
    """Bytes of an MPEG audio frame, layer I to III, by its header (ISO/IEC 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, kbps, rate = (head[1] >> 3) & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, (head[2] >> 2) & 3
    if version not in _MPEG_RATES or layer == 4 or rate == 3 or not 0 < kbps < 15:
        return None
    first, padding = version == 3, head[2] >> 1 & 1
    bits = 1000 * _KBPS[first, layer][kbps - 1]
    if layer == 1:
        return 4 * (12 * bits // _MPEG_RATES[version][rate] + padding)
    return (144 if first or layer == 2 else 72) * bits // _MPEG_RATES[version][rate] + padding


def _adts_frame(head: bytes) -> int | None:
    """Bytes of an AAC frame by its ADTS header (ISO/IEC 13818-7, 6.2)."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or (head[2] >> 2) & 15 > 12:
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else None


_CUT = ("webm", _block(0))
# By the first byte: nearly all samples are told apart by it alone.
_KNOWN: dict[int, tuple[tuple[str, Callable[[bytes], Verdict]], ...]] = {
    **dict.fromkeys(range(0x40, 0x50), (_CUT,)),
    ord("O"): (("ogg", _starts(b"OggS\0", 1)), _CUT),  # RFC 3533
    0x1A: (("webm", _webm),),
    0x1F: (("webm", _cluster(1)),),
    0x43: (("webm", _cluster(0)), _CUT),
    0xA3: (("webm", _block(1)),),
    0x00: (("mp4", _mp4), ("mp4", _moof)),
    ord("#"): (("amr", _amr),),
    ord("I"): (("mp3", _id3), _CUT),
    0xFF: (("mp3", _chain(_mpeg_frame, 4)), ("aac", _chain(_adts_frame, 7))),
    ord("f"): (("flac", _flac),),
    **dict.fromkeys(b"FR.cr", ((_FILES, _uncompressed), _CUT)),
}
