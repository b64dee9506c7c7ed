"""What is no PCM: containers are recognized by their beginning, samples never are; WAV of any width is read."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from stream.codec import BadAudio, Decoder, Format, Resampler
from stream.containers import begins_anew, container
from stream.types import Floats

KINDS = {
    "ogg": ("ogg", "libopus", 48_000),
    "webm": ("webm", "libopus", 48_000),
    "flac": ("flac", "flac", 16_000),
    "mp3": ("mp3", "libmp3lame", 16_000),
    "aac": ("adts", "aac", 16_000),
    "mp4": ("mp4", "aac", 16_000),
}


def encoded(container_name: str, codec: str, rate: int, **options: str) -> bytes:
    """Three seconds of a tone that changes."""
    file = io.BytesIO()
    t = np.arange(3 * rate) / rate
    sound = (8000 * np.sin(2 * np.pi * (200 + 80 * t) * t)).astype(np.int16)
    with av.open(file, "w", format=container_name, options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_told_by_its_beginning_and_never_misjudged_before(kind: str) -> None:
    data = encoded(*KINDS[kind])
    verdicts = [container(data[:n]) for n in range(1, 3000)]
    assert verdicts[-1] == kind
    known = verdicts.index(kind)
    assert verdicts == ["undecided"] * known + [kind] * (len(verdicts) - known)
    assert begins_anew(data) == (None if kind in ("mp3", "aac") else kind), "MP3 and AAC have no header"


@pytest.mark.parametrize(("codec", "suffix"), [("mp2", "mp2"), ("libmp3lame", "mp3")])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_frames_of_mpeg_audio_are_recognized_without_a_tag(codec: str, suffix: str, rate: int) -> None:
    options = {"id3v2_version": "0", "write_xing": "0"} if suffix == "mp3" else {}
    data = encoded(suffix, codec, rate, **options)
    assert data[0] == 0xFF and container(data[:8000]) == "mp3"


def test_a_webm_that_lacks_its_beginning_is_no_samples() -> None:
    """As Chromium cuts it, too: after the first byte of what follows."""
    data = encoded(*KINDS["webm"], live="1")
    clusters = [at for at in range(len(data)) if data[at : at + 4] == b"\x1f\x43\xb6\x75"]
    blocks = [
        at
        for at in range(len(data) - 6)
        if data[at] == 0xA3 and data[at + 3] == 0x81 and data[at + 6] == 0x80
    ]
    assert clusters and len(blocks) > 50
    for at in [*clusters, *blocks[:-1]]:
        assert container(data[at:]) == container(data[at + 1 :]) == "webm", data[at : at + 8]
        assert begins_anew(data[at:]) is None and begins_anew(data[at + 1 :]) is None


def test_nor_is_an_mp4_that_lacks_its_beginning() -> None:
    data = encoded(*KINDS["mp4"], movflags="frag_keyframe+empty_moov", frag_duration="200000")
    moof = data.index(b"moof") - 4
    assert container(data[moof:]) == "mp4" and begins_anew(data[moof:]) is None


@pytest.mark.parametrize("subtype", ["AIFF", "AU", "CAF", "RF64", "W64"])
def test_containers_of_samples_that_only_files_come_in_are_known(subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600, np.float32), 16_000, format=subtype, subtype="PCM_16")
    assert subtype in str(container(file.getvalue()))


@pytest.mark.parametrize("loudness", [1, 3, 16, 300, 32_767])
def test_samples_pass_for_nothing_else(loudness: int) -> None:
    """Quiet samples are bytes of 0xFF and 0x00: what frames of MP3 and AAC begin with."""
    rng = np.random.default_rng(loudness)
    for _ in range(1000):
        samples = rng.integers(-loudness, loudness + 1, 1600).astype("<i2")
        assert container(samples.tobytes()) is None
    assert container(bytes(3200)) is None and container(b"\xff" * 3200) is None and container(b"") is None
    assert container(bytes(12)) is None and container(b"\xff" * 8) is None, "and are not held back for long"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "DOUBLE", "FLOAT", "PCM_16"])
@pytest.mark.parametrize("rate", [8000, 16_000, 96_000, 192_000])
def test_wav_of_any_width_and_rate_is_what_its_file_is(subtype: str, rate: int) -> None:
    rng = np.random.default_rng(rate)
    sound = (0.3 * rng.standard_normal((rate // 4, 2))).clip(-1, 0.999)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format="WAV")
    read, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
    resampler = Resampler()
    mono = read.mean(axis=1, dtype=np.float32)
    wanted = np.concatenate([resampler.push(mono, rate), resampler.finish()])
    decoder, data, parts = Decoder(Format()), file.getvalue(), []
    for at in range(0, len(data), 997):
        parts.append(decoder.decode(data[at : at + 997]))
    found: Floats = np.concatenate([*parts, decoder.finish()])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_numbers_beyond_float32_are_no_samples() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([1e300, 0.0]), 16_000, subtype="DOUBLE", format="WAV")
    with pytest.raises(BadAudio):
        Decoder(Format()).decode(file.getvalue())
