"""Any rate becomes 16 kHz: of the right length, at the right level, without aliases, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from stream.codec import Decoder, Format
from tests.stream.material import cuttings, decode, decoded, few, pcm, pieces

RATES = (8_000, 11_025, 22_050, 44_100, 48_000)


def tone(hz: float, rate: int, seconds: float = 2) -> bytes:
    phase = 2 * np.pi * hz * np.arange(int(seconds * rate)) / rate
    return (16384 * np.sin(phase)).astype("<i2").tobytes()


def middle(samples: np.ndarray) -> np.ndarray:
    """Without the edges, where a filter has not settled."""
    return samples[4000:-4000]


@pytest.mark.parametrize("rate", RATES)
@given(cutting=cuttings)
@few
def test_resampled_audio_is_bit_identical_however_it_is_cut(rate: int, cutting: list[int]) -> None:
    data = pcm(rate // 4)
    whole = decoded(Format(sample_rate=rate), [data])
    assert np.array_equal(decoded(Format(sample_rate=rate), pieces(data, cutting)), whole)


def test_resampled_audio_is_bit_identical_byte_by_byte() -> None:
    data = pcm(2000)
    for rate in (8_000, 44_100):
        whole = decoded(Format(sample_rate=rate), [data])
        assert np.array_equal(
            decoded(Format(sample_rate=rate), [data[i : i + 1] for i in range(4000)]), whole
        )


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_length_its_pitch_and_its_level(rate: int) -> None:
    samples = decoded(Format(sample_rate=rate), [tone(1000, rate)])
    assert len(samples) == 32_000
    assert samples.dtype == np.float32 and samples.flags.c_contiguous
    steady = middle(samples)
    spectrum = np.abs(np.fft.rfft(steady * np.hanning(len(steady))))
    assert spectrum.argmax() * 16_000 / len(steady) == pytest.approx(1000, abs=1)
    assert np.sqrt(np.mean(steady**2)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


def test_a_tone_keeps_its_place_in_time() -> None:
    data = np.zeros(48_000, "<i2")
    data[24_000] = 32767  # a click after half a second
    assert decoded(Format(sample_rate=48_000), [data.tobytes()]).argmax() == 8000


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_16_khz_cannot_hold_leaves_no_alias(rate: int) -> None:
    steady = middle(decoded(Format(sample_rate=rate), [tone(9000, rate)]))
    assert np.abs(steady).max() < 0.5 * 10 ** (-60 / 20)


def test_a_rate_that_changes_in_the_middle_keeps_every_sample_in_order() -> None:
    decoder = Decoder(Format())
    low, high = tone(1000, 8_000), tone(1000, 48_000)
    chunks = [
        decoder.decode(tone(1000, 16_000)),
        decoder.decode(low[:8001], sample_rate=8_000),
        decoder.decode(low[8001:], sample_rate=8_000),
        decoder.decode(high, sample_rate=48_000),
        decoder.decode(tone(1000, 16_000), sample_rate=16_000),
    ]
    samples = np.concatenate([*chunks, decoder.finish()])
    expected = [decoded(Format(sample_rate=r), [tone(1000, r)]) for r in (16_000, 8_000, 48_000, 16_000)]
    assert np.array_equal(samples, np.concatenate(expected))
    assert decoder.received_s == pytest.approx(8)


def test_after_finish_the_next_chunk_starts_afresh() -> None:
    decoder = Decoder(Format(sample_rate=48_000))
    first = decode(decoder, [tone(1000, 48_000)])
    assert np.array_equal(decode(decoder, [tone(1000, 48_000)]), first)
    assert len(decoder.finish()) == 0


@pytest.mark.parametrize("rate", RATES)
def test_audio_is_held_back_for_an_eighth_of_a_second_at_most(rate: int) -> None:
    """The filter needs some audio to look ahead, and works in blocks; this is what it adds to the latency."""
    decoder, got = Decoder(Format(sample_rate=rate)), 0
    for n in range(1, 101):
        got += len(decoder.decode(pcm(rate // 50)))
        assert n * 20 - got / 16 < 125
