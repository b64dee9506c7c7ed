"""Two channels, each heard by itself: the same samples as if each had come alone, however the bytes are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.codec import Decoder, Format, UnsupportedEncoding
from tests.stream.material import chunk, cuttings, decoded, few, pcm, pieces, wav

SIZES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


def each(declared: Format, chunks: list[bytes], pick: tuple[int, ...] = (0, 1)) -> list[np.ndarray]:
    decoder = Decoder(declared, pick)
    got = [decoder.decode_each(decoder.parse(piece)) for piece in chunks] + [decoder.finish_each()]
    return [np.concatenate(parts) for parts in zip(*got, strict=True)]


def interleaved(left: bytes, right: bytes, size: int) -> bytes:
    a, b = (np.frombuffer(side, np.uint8).reshape(-1, size) for side in (left, right))
    return np.stack([a, b], axis=1).tobytes()


def sides(encoding: str, n: int) -> tuple[bytes, bytes]:
    if encoding == "pcm_f32le":
        noise = np.random.default_rng(n).uniform(-1, 1, (2, n)).astype("<f4")
        return noise[0].tobytes(), noise[1].tobytes()
    size = SIZES[encoding]
    return pcm(n * size // 2 + 1, 1)[: n * size], pcm(n * size // 2 + 1, 2)[: n * size]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("encoding", SIZES)
@given(n=st.integers(0, 3000), cutting=cuttings, leftover=st.integers(0, 7))
@few
def test_each_channel_is_as_if_it_came_alone(
    encoding: str, rate: int, n: int, cutting: list[int], leftover: int
) -> None:
    left, right = sides(encoding, n)
    size = SIZES[encoding]
    both = interleaved(left, right, size)
    both += b"\0" * (leftover % (2 * size))  # the stream breaks off within a sample of both
    format = Format(encoding, rate, 2)
    got = each(format, pieces(both, cutting))
    alone = Format(encoding, rate)
    assert len(got[0]) == len(got[1])
    assert np.array_equal(got[0], decoded(alone, [left]))
    assert np.array_equal(got[1], decoded(alone, [right]))
    (only,) = each(format, pieces(both, cutting), pick=(1,))
    assert np.array_equal(only, got[1])


@given(cutting=cuttings)
@few
def test_a_stereo_wav_gives_both_whatever_was_declared(cutting: list[int]) -> None:
    left, right = sides("pcm_s16le", 500)
    file = wav(interleaved(left, right, 2), rate=8_000, channels=2, before=chunk(b"LIST", b"odd"))
    for declared in (Format("wav", channels=2), Format(channels=2), Format("mulaw", 8_000, 2)):
        got = each(declared, pieces(file, cutting))
        assert np.array_equal(got[0], decoded(Format(sample_rate=8_000), [left]))
        assert np.array_equal(got[1], decoded(Format(sample_rate=8_000), [right]))


def test_a_wav_of_one_channel_does_not_say_whose_it_is_and_leaves_no_trace() -> None:
    decoder = Decoder(Format(channels=2), (0, 1))
    with pytest.raises(UnsupportedEncoding, match="two channels"):
        decoder.parse(wav(pcm(100)))
    left, right = sides("pcm_s16le", 100)
    got = decoder.decode_each(decoder.parse(interleaved(left, right, 2)))
    assert [len(x) for x in got] == [100, 100]
    assert decoder.leftover_bytes == 0


def test_audio_is_counted_once_for_both() -> None:
    decoder = Decoder(Format(channels=2), (0, 1))
    decoder.decode_each(decoder.parse(bytes(4 * 16_000)))
    assert decoder.received_s == 1
    assert decoder.parse(bytes(4 * 8_000)).seconds == 0.5
