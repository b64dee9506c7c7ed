"""What is refused: only ever as BadAudio or UnsupportedEncoding, and the decoder is then as it was."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.codec import ENCODINGS, MAX_WAVS, BadAudio, Decoder, Format, UnsupportedEncoding
from tests.stream.material import chunk, fmt, pcm, some, wav

AUDIO = pcm(100)
REFUSED = (BadAudio, UnsupportedEncoding)

formats = st.builds(
    Format,
    st.sampled_from(ENCODINGS),
    st.sampled_from([8000, 16_000, 44_100, 48_000]),
    st.sampled_from([1, 2]),
)
rates = st.one_of(st.none(), st.integers(-1, 100_000), st.integers())
# Bytes that look like a WAV for a while break more than noise does.
nearly_wav = st.tuples(st.integers(0, 100), st.integers(0, 60), st.binary(max_size=12)).map(
    lambda t: wav(AUDIO)[: t[0]] + t[2] + wav(AUDIO)[t[0] + t[1] :]
)
junk = st.one_of(st.binary(max_size=60), nearly_wav)


def header(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def changed_fmt(offset: int, packed: bytes) -> bytes:
    body = bytearray(fmt())
    body[8 + offset : 8 + offset + len(packed)] = packed
    return header(bytes(body) + b"data" + struct.pack("<I", 200) + AUDIO)


BAD = {
    "not RIFF": (b"FORM" + bytes(60), BadAudio),
    "one wrong byte": (b"X", BadAudio),
    "RIFF of something else": (b"RIFF\0\0\0\0AVI ", BadAudio),
    "big-endian": (b"RIFX" + bytes(60), BadAudio),
    "data before fmt": (header(chunk(b"data", AUDIO)), BadAudio),
    "fmt too short": (header(chunk(b"fmt ", bytes(14)) + chunk(b"data", AUDIO)), BadAudio),
    "header without end": (header(chunk(b"junk", bytes(70_000)) + fmt() + chunk(b"data", AUDIO)), BadAudio),
    "20 bits": (changed_fmt(14, struct.pack("<H", 20)), UnsupportedEncoding),
    "ADPCM": (changed_fmt(0, struct.pack("<H", 2)), UnsupportedEncoding),
    "MP3 in WAV": (changed_fmt(0, struct.pack("<H", 0x55)), UnsupportedEncoding),
    "extensible of nothing": (changed_fmt(0, struct.pack("<H", 0xFFFE)), UnsupportedEncoding),
    "no channels": (changed_fmt(2, struct.pack("<H", 0)), UnsupportedEncoding),
    "six channels": (changed_fmt(2, struct.pack("<H", 6)), UnsupportedEncoding),
    "65535 channels": (changed_fmt(2, struct.pack("<H", 65535)), UnsupportedEncoding),
    "rate 0": (changed_fmt(4, struct.pack("<I", 0)), UnsupportedEncoding),
    "rate 200000": (changed_fmt(4, struct.pack("<I", 200_000)), UnsupportedEncoding),
    "rate 2**32 - 1": (changed_fmt(4, b"\xff" * 4), UnsupportedEncoding),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_wav_is_refused_and_a_good_one_is_read_afterwards(kind: str) -> None:
    data, error = BAD[kind]
    decoder = Decoder(Format("wav"))
    for _ in range(2):
        with pytest.raises(error):
            decoder.parse(data)
    assert len(decoder.decode(wav(AUDIO))) == 100


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_and_leave_no_trace(bad: float) -> None:
    good = np.linspace(-1, 1, 10).astype("<f4").tobytes()
    decoder = Decoder(Format("pcm_f32le", 48_000))
    clean = Decoder(Format("pcm_f32le", 48_000))
    first = [decoder.decode(good + b"\1"), clean.decode(good + b"\1")]
    with pytest.raises(BadAudio, match="NaN"):
        decoder.decode(good[1:4] + struct.pack("<f", bad))
    assert decoder.received_s == clean.received_s
    second = [decoder.decode(good[1:] * 200), clean.decode(good[1:] * 200)]
    assert np.array_equal(first[0], first[1]) and np.array_equal(second[0], second[1])
    assert np.array_equal(decoder.finish(), clean.finish())


@pytest.mark.parametrize(
    ("encoding", "rate", "channels"),
    [
        ("opus", 16_000, 1),
        ("", 16_000, 1),
        ("pcm_s16le", 7999, 1),
        ("pcm_s16le", 192_001, 1),
        ("pcm_s16le", 0, 1),
        ("pcm_s16le", 16_000, 0),
        ("alaw", 8000, 3),
    ],
)
def test_formats_that_are_not_read_are_refused_by_name(encoding: str, rate: int, channels: int) -> None:
    with pytest.raises(UnsupportedEncoding, match="send"):
        Format(encoding, rate, channels)


def test_a_rate_that_is_not_read_is_refused_and_the_old_one_stays() -> None:
    decoder = Decoder(Format())
    for rate in (0, -1, 7999, 10**9):
        with pytest.raises(UnsupportedEncoding):
            decoder.parse(AUDIO, sample_rate=rate)
    assert len(decoder.decode(AUDIO)) == 100


def test_a_chunk_may_hold_many_recordings_but_not_any_number() -> None:
    decoder = Decoder(Format("wav"))
    assert len(decoder.decode(wav(b"\1\0") * MAX_WAVS)) == MAX_WAVS
    with pytest.raises(BadAudio, match="recordings"):
        decoder.decode(wav(b"\1\0") * (MAX_WAVS + 1))
    assert len(decoder.decode(wav(AUDIO))) == 100


@given(formats, st.lists(st.tuples(junk, rates), max_size=6))
@some
def test_junk_is_read_or_refused_and_never_anything_else(
    format: Format, chunks: list[tuple[bytes, int | None]]
) -> None:
    decoder = Decoder(format)
    for data, rate in chunks:
        before = decoder.received_s
        try:
            chunk = decoder.parse(data, rate)
            (samples,) = decoder.decode_each(chunk)
        except REFUSED:
            assert decoder.received_s == before
        else:
            assert samples.dtype == np.float32 and samples.ndim == 1
            assert np.isfinite(samples).all() and (np.abs(samples) <= 3).all()  # resampled steps ring
            assert decoder.received_s - before == pytest.approx(chunk.seconds)
    decoder.finish()


@given(formats, st.lists(st.tuples(junk, rates, st.booleans()), max_size=6))
@some
def test_a_refused_chunk_might_as_well_not_have_been_sent(
    format: Format, chunks: list[tuple[bytes, int | None, bool]]
) -> None:
    """A decoder that also gets what is refused, and one that gets the rest only, say the same."""
    brave, careful = Decoder(format), Decoder(format)
    for data, rate, look in chunks:
        try:
            if look:
                brave.parse(data, rate)
            samples = brave.decode(data, rate)
        except REFUSED:
            continue
        assert np.array_equal(samples, careful.decode(data, rate))
    assert np.array_equal(brave.finish(), careful.finish())
    assert brave.leftover_bytes == careful.leftover_bytes


@given(formats, st.lists(junk, max_size=4))
@some
def test_seconds_are_known_before_they_are_decoded(format: Format, chunks: list[bytes]) -> None:
    """Limits on the length of a chunk rest on this: a header in an earlier chunk must not deceive."""
    decoder = Decoder(format)
    decoder.decode(wav(b"", "mulaw", 8000)[:-5])
    decoder.decode(b"\0" * 0)
    assert decoder.parse(b"a\0\0\0\0" + bytes(8000)).seconds == 1
    for data in chunks:
        with contextlib.suppress(*REFUSED):
            assert decoder.parse(data).seconds >= 0
