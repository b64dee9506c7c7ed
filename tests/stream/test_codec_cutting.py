"""How bytes are cut into chunks never changes a sample."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stream.codec import Decoder, Format
from tests.stream.material import chunk, cuttings, decode, decoded, few, fmt, many, pcm, pieces, wav

PCM = Format()
WAV = Format("wav")
INT16 = np.float32(1 / 32768)


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2") * INT16


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])
@given(data=st.binary(max_size=400), cutting=cuttings)
@few
def test_raw_audio_may_be_cut_anywhere(encoding: str, channels: int, data: bytes, cutting: list[int]) -> None:
    if encoding == "pcm_f32le":
        data = (np.frombuffer(data[: len(data) // 4 * 4], "<i4") / 2**31).astype("<f4").tobytes() + b"\0\1"
    assume(data[:1] != b"R")  # it may be the beginning of a WAV: up to 11 bytes wait for the next chunk
    format = Format(encoding, channels=channels)
    whole = decoded(format, [data])
    assert len(whole) == len(data) // format.bytes_per_frame
    assert np.array_equal(decoded(format, pieces(data, cutting)), whole)
    assert np.array_equal(decoded(format, [data[i : i + 1] for i in range(len(data))]), whole)


def test_pcm16_means_what_it_says() -> None:
    data = np.array([0, 1, -1, 32767, -32768], "<i2").tobytes()
    assert decoded(PCM, [data]).tolist() == [0, 1 / 32768, -1 / 32768, 32767 / 32768, -1]


def test_float_beyond_full_scale_is_clipped() -> None:
    data = np.array([0.25, -7, 1e30], "<f4").tobytes()
    assert decoded(Format("pcm_f32le"), [data]).tolist() == [0.25, -1, 1]


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_every_g711_code_is_what_libsndfile_reads(encoding: str, subtype: str) -> None:
    codes = bytes(range(256))
    oracle, _ = soundfile.read(
        io.BytesIO(codes), samplerate=8000, channels=1, format="RAW", subtype=subtype, dtype="float32"
    )
    assert np.array_equal(Decoder(Format(encoding)).decode(codes), oracle)


@given(data=st.binary(min_size=8, max_size=400))
@few
def test_stereo_is_the_mean_of_both_channels(data: bytes) -> None:
    pairs = np.frombuffer(data[: len(data) // 4 * 4], "<i2").reshape(-1, 2).astype(np.float64)
    assert np.array_equal(decoded(Format(channels=2), [data]), (pairs.sum(axis=1) / 65536).astype(np.float32))


AUDIO = pcm(300)
ODD = pcm(150)[:299]  # an odd number of bytes, as 8-bit audio may have: padded
LIST = chunk(b"LIST", b"INFOISFT\x05\0\0\0odd!\0")
WAVS = {
    "plain": (wav(AUDIO), floats(AUDIO)),
    "tags before": (wav(AUDIO, before=LIST + chunk(b"fact", b"\1\2\3\4")), floats(AUDIO)),
    "tags after": (wav(AUDIO, after=LIST + LIST), floats(AUDIO)),
    "extensible": (wav(AUDIO, extensible=True), floats(AUDIO)),
    "size 0": (wav(AUDIO, size=0), floats(AUDIO)),
    "size 2**32 - 1": (wav(AUDIO, size=0xFFFFFFFF), floats(AUDIO)),
    "size 2**31 - 1": (wav(AUDIO, size=0x7FFFFFFF), floats(AUDIO)),
    "stereo": (wav(AUDIO, channels=2), decoded(Format(channels=2), [AUDIO])),
    "u-law, padded": (wav(ODD, "mulaw", after=LIST), decoded(Format("mulaw"), [ODD])),
    "A-law, extensible": (wav(ODD, "alaw", extensible=True), decoded(Format("alaw"), [ODD])),
    "float": (wav(floats(AUDIO).astype("<f4").tobytes(), "pcm_f32le"), floats(AUDIO)),
}


DECLARED = (WAV, PCM, Format("mulaw", 8000))


@pytest.mark.parametrize("kind", WAVS)
def test_a_wav_reads_alike_whole_and_byte_by_byte_whatever_was_declared(kind: str) -> None:
    data, samples = WAVS[kind]
    for declared in DECLARED:
        assert np.array_equal(decoded(declared, [data]), samples)
        assert np.array_equal(decoded(declared, [data[i : i + 1] for i in range(len(data))]), samples)


@given(kind=st.sampled_from(list(WAVS)), declared=st.sampled_from(DECLARED), cutting=cuttings)
@many
def test_a_wav_may_be_cut_anywhere_even_in_its_header(
    kind: str, declared: Format, cutting: list[int]
) -> None:
    data, samples = WAVS[kind]
    assert np.array_equal(decoded(declared, pieces(data, cutting)), samples)


@given(cutting=cuttings)
@example(cutting=[])
@few
def test_wavs_may_follow_one_another(cutting: list[int]) -> None:
    files = [WAVS[kind] for kind in ("tags after", "u-law, padded", "stereo", "extensible", "size 0")]
    data = b"".join(file for file, _ in files)
    expected = np.concatenate([samples for _, samples in files])
    for declared in (WAV, PCM):
        assert np.array_equal(decoded(declared, pieces(data, cutting)), expected)


@given(cutting=cuttings)
@few
def test_wavs_of_several_rates_may_follow_one_another(cutting: list[int]) -> None:
    data = wav(pcm(900), rate=8000) + wav(pcm(900, 1), rate=8000) + wav(pcm(900, 2), rate=48_000) + wav(AUDIO)
    whole = decoded(WAV, [data])
    assert len(whole) == 2 * 1800 + 300 + 300
    assert np.array_equal(decoded(WAV, pieces(data, cutting)), whole)


@given(cutting=cuttings)
@few
def test_what_was_declared_goes_on_after_a_wav(cutting: list[int]) -> None:
    more = pcm(100, 3)
    got = decoded(PCM, pieces(wav(ODD, "mulaw", after=LIST) + more, cutting))
    assert np.array_equal(got, np.concatenate([WAVS["u-law, padded"][1], floats(more)]))


def test_a_chunk_that_begins_with_a_header_is_a_wav_even_in_the_middle_of_something_else() -> None:
    half_a_header, half_a_wav = wav(AUDIO)[:30], wav(AUDIO)[:99]
    for start in (AUDIO + b"\1", half_a_header, half_a_wav):
        for declared in (WAV, PCM):
            decoder = Decoder(declared)
            if start[:4] == b"RIFF" or declared is PCM:
                decoder.decode(start)
            assert np.array_equal(decoder.decode(wav(ODD, "alaw")), WAVS["A-law, extensible"][1])


def test_a_wavs_header_knows_its_rate_better_than_the_client() -> None:
    file = wav(AUDIO, rate=8000)
    for declared in (WAV, PCM):
        for cut in (3, 20, 100):
            decoder = Decoder(declared)
            first = decoder.decode(file[:cut])
            rest = decoder.decode(file[cut:], sample_rate=16_000)
            got = np.concatenate([first, rest, decoder.finish()])
            assert np.array_equal(got, decoded(WAV, [file])) and len(got) == 600


def test_a_header_may_have_64_kilobytes_and_no_more_however_it_is_cut() -> None:
    for filling, fits in ((65536 - 12 - 24 - 8 - 8, True), (65536 - 12 - 24 - 8 - 6, False)):
        file = wav(AUDIO, before=chunk(b"junk", bytes(filling)))
        for cutting in ([], [10], [500, 990], list(range(0, 1000, 9))):
            decoder = Decoder(WAV)
            try:
                got = decode(decoder, pieces(file, cutting))
            except ValueError:
                got = None
            assert (got is not None) == fits
            assert got is None or np.array_equal(got, floats(AUDIO))


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW", "ALAW"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_libsndfile_writes_is_what_it_reads(kind: str, subtype: str, channels: int) -> None:
    file = io.BytesIO()
    samples = np.random.default_rng(1).uniform(-1, 1, (801, channels))
    soundfile.write(file, samples, 16_000, format=kind, subtype=subtype)
    oracle, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    assert np.allclose(decoded(WAV, [file.getvalue()]), oracle.mean(axis=1), rtol=0, atol=1e-7)


def test_the_demo_recording_reads_as_libsndfile_reads_it(demo_wav: Path, demo_samples: np.ndarray) -> None:
    data = demo_wav.read_bytes()
    assert np.array_equal(decoded(PCM, [data[i : i + 3201] for i in range(0, len(data), 3201)]), demo_samples)


def test_incomplete_samples_are_counted_and_headers_are_no_audio() -> None:
    decoder = Decoder(WAV)
    decoder.decode(b"RIFF" + struct.pack("<I", 0) + b"WAVE" + fmt())
    assert decoder.received_s == 0
    decoder.decode(b"data" + bytes(4) + bytes(321))
    assert decoder.received_s == 0.01
    assert decoder.leftover_bytes == 1
