"""Compressed audio, recognized by its first bytes: so that it is refused, and never scored as if it were PCM.

Raw samples may begin with anything. So a few bytes are not enough: what follows them has to fit, too.
"""

from __future__ import annotations

from collections.abc import Callable

_MPEG_RATES = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}  # by version
_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # of MPEG 1, layer III
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def container(data: bytes) -> str | None:
    """What `data` begins as: its name for people; None for what is no compressed audio that is known here."""
    likely = _KNOWN.get(data[0], ()) if data else ()
    return next((name for name, begins in likely if begins(data)), None)


def _ogg(data: bytes) -> bool:
    """RFC 3533: version 0, and a header type of three bits; the first page has no position."""
    return data[:5] == b"OggS\0" and len(data) >= 14 and data[5] < 8


def _webm(data: bytes) -> bool:
    """RFC 8794: an EBML header, with its document type."""
    return data[:4] == b"\x1a\x45\xdf\xa3" and (b"webm" in data[:64] or b"matroska" in data[:64])


def _flac(data: bytes) -> bool:
    """RFC 9639: STREAMINFO of 34 bytes comes first."""
    return data[:4] == b"fLaC" and data[4:5] in (b"\0", b"\x80") and data[5:8] == b"\0\0\x22"


def _mp4(data: bytes) -> bool:
    """ISO/IEC 14496-12: a box `ftyp` of a few words."""
    return data[4:8] == b"ftyp" and data[:3] == b"\0\0\0" and data[8:12].isascii()


def _id3(data: bytes) -> bool:
    """ID3v2, before an MP3: sizes are of seven bits."""
    return data[:3] == b"ID3" and len(data) >= 10 and 2 <= data[3] <= 4 and max(data[6:10]) < 0x80


def _uncompressed(data: bytes) -> bool:
    """Containers of samples that only files may come in: AIFF, AU, CAF, RF64, W64."""
    form, kind = data[:4], data[8:12]
    return (
        (form == b"FORM" and kind in (b"AIFF", b"AIFC"))
        or (form == b"RF64" and kind == b"WAVE")
        or (form == b".snd" and data[4:6] == b"\0\0" and len(data) >= 24)
        or (data[:4] == b"caff" and data[8:12] == b"desc")
        or (form == b"riff" and data[24:28] == b"wave")
    )


def _amr(data: bytes) -> bool:
    """RFC 4867, 5: the magic number of its files."""
    return data[:5] == b"#!AMR" and data[5:6] in (b"\n", b"-") and len(data) > 20


def _chain(length: Callable[[bytes], int | None]) -> Callable[[bytes], bool]:
    """Three frames in a row, of which each says how long it is."""

    def begins(data: bytes) -> bool:
        at = 0
        for _ in range(3):
            step = length(data[at : at + 7])
            if step is None:
                return False
            at += step
        return True

    return begins


def _mp3_frame(head: bytes) -> int | None:
    """Bytes of an MPEG audio frame, layer III, by its header (ISO/IEC 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, kbps, rate = (head[1] >> 3) & 3, head[2] >> 4, (head[2] >> 2) & 3
    if version not in _MPEG_RATES or rate == 3 or not 0 < kbps < 15:
        return None
    first, padding = version == 3, head[2] >> 1 & 1
    return (144 if first else 72) * 1000 * _KBPS[first][kbps - 1] // _MPEG_RATES[version][rate] + padding


def _adts_frame(head: bytes) -> int | None:
    """Bytes of an AAC frame by its ADTS header (ISO/IEC 13818-7, 6.2)."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or (head[2] >> 2) & 15 > 12:
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else None


# By the first byte: nearly all samples are told apart by it alone.
_KNOWN: dict[int, tuple[tuple[str, Callable[[bytes], bool]], ...]] = {
    ord("O"): (("Ogg", _ogg),),
    0x1A: (("WebM", _webm),),
    0x00: (("MP4", _mp4),),
    ord("#"): (("AMR", _amr),),
    ord("I"): (("MP3", _id3),),
    0xFF: (("MP3", _chain(_mp3_frame)), ("AAC", _chain(_adts_frame))),
    ord("f"): (("FLAC", _flac),),
    **dict.fromkeys(b"FR.cr", (("AIFF, AU, CAF, RF64 or W64", _uncompressed),)),
}
