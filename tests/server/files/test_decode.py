"""Decoding: every format gives the sound that went in, and nothing hostile gives anything but an error."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr

from server.errors import ClientError
from server.files.decode import SUFFIXES, Audio, DecodeLimits, opened
from tests.server import recordings
from tests.server.recordings import FORMATS, NOISE, Hostile, encoded, hostile, made, mutated, wav

LOSSLESS = ("pcm16.wav", "a.mka", "a.aiff", "a.au", "a.caf", "a.w64")


def heard(data: bytes, limits: DecodeLimits = DecodeLimits()) -> tuple[Audio, np.ndarray]:  # noqa: B008
    """The recording and its samples at its own rate."""
    with opened(io.BytesIO(data), limits) as audio:
        blocks = list(audio.blocks())
        return audio, np.concatenate([block.samples for block in blocks])


def refusal(data: bytes, limits: DecodeLimits = DecodeLimits()) -> str:  # noqa: B008
    with pytest.raises(ClientError) as refused:
        heard(data, limits)
    assert refused.value.message.strip()
    return refused.value.code


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_at_its_rate_and_channels_gives_the_sound_that_went_in(
    name: str, demo_samples: np.ndarray
) -> None:
    speech = demo_samples[: 16_000 * 4]
    audio, samples = heard(made(name, speech))
    assert Path(name).suffix in SUFFIXES
    assert audio.about.sample_rate == FORMATS[name][2]
    assert audio.read_s == pytest.approx(4, abs=0.15)
    assert samples.dtype == np.float32 and np.abs(samples).max() <= 1
    here = soxr.resample(samples, audio.about.sample_rate, 16_000)
    if name in LOSSLESS:
        np.testing.assert_allclose(here, np.trunc(speech * 32767) / 32768, atol=1e-6)
        return
    # Codecs change and shift the sound a little: compare its loudness every 10 ms, up to 0.1 s apart.
    n = min(len(here), len(speech)) // 160 * 160
    a, b = (np.sqrt(np.square(x[:n].reshape(-1, 160)).mean(axis=1)) for x in (here, speech))
    likeness = max(np.corrcoef(a[lag:], b[: len(b) - lag])[0, 1] for lag in range(10))
    assert likeness > 0.95


def test_channels_are_mixed_and_blocks_are_of_a_second(demo_samples: np.ndarray) -> None:
    left, right = demo_samples[:32_000], demo_samples[32_000:64_000]
    pcm = (np.stack([left, right], axis=1) * 32767).astype("<i2")
    with opened(io.BytesIO(wav(pcm.tobytes(), channels=2)), DecodeLimits()) as audio:
        blocks = list(audio.blocks())
    assert audio.about.channels == 2
    assert all(block.rate == 16_000 and len(block.samples) < 20_000 for block in blocks)
    mixed = np.concatenate([block.samples for block in blocks])
    np.testing.assert_allclose(mixed, pcm.mean(axis=1) / 32768, atol=1e-6)


def test_loud_samples_are_clipped_as_live_ones_are() -> None:
    loud = wav(np.array([3, -3, 0.5, 0] * 4000, "<f4").tobytes(), bits=32)
    _, samples = heard(loud.replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\3\0", 1))
    assert set(samples.tolist()) == {1.0, -1.0, 0.5, 0.0}


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_recorder_that_did_not_know_the_length_is_believed(size: int, demo_pcm: bytes) -> None:
    audio, samples = heard(wav(demo_pcm[:64_000], size=size))
    assert len(samples) == 32_000
    assert audio.read_s == 2


def test_the_name_says_nothing_and_the_content_all(demo_samples: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "really.wav"
    path.write_bytes(made("a.mp3", demo_samples[:32_000]))
    with path.open("rb") as file, opened(file, DecodeLimits()) as audio:
        assert audio.about.container == "mp3"


@pytest.mark.parametrize(
    "case", list(hostile(np.sin(np.arange(48_000) / 20).astype(np.float32))), ids=lambda c: c.what
)
def test_what_is_no_recording_is_refused_with_words(case: Hostile) -> None:
    assert refusal(case.data) in case.codes


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_recording_is_heard_or_refused_with_words(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the disk, where a place before the beginning is an error of the system's."""
    chance, path = random.Random(name), tmp_path / name
    whole = made(name, np.sin(np.arange(8_000) / 20).astype(np.float32))
    for number in range(60):
        path.write_bytes(mutated(whole, chance))
        with path.open("rb") as file:
            try:
                with opened(file, DecodeLimits(max_s=600)) as audio:
                    assert sum(len(block.samples) for block in audio.blocks())
            except ClientError as refused:
                assert refused.code in NOISE and refused.message.strip(), number
    assert not capfd.readouterr().err, "nothing is written into the server's log"


def test_a_format_that_could_open_other_files_is_not_even_tried(tmp_path: Path, demo_wav: Path) -> None:
    """FFmpeg itself would play this list."""
    list_of_files = f"ffconcat version 1.0\nfile '{demo_wav}'\n".encode()
    assert refusal(list_of_files) == "UNSUPPORTED_MEDIA"


def test_length_is_limited_by_the_header_and_by_what_is_decoded(demo_samples: np.ndarray) -> None:
    speech = demo_samples[:64_000]
    assert refusal(made("a.flac", speech), DecodeLimits(max_s=3)) == "FILE_TOO_LARGE"
    assert refusal(encoded(speech, "adts", "aac", 16_000), DecodeLimits(max_s=3)) == "FILE_TOO_LARGE"
    assert refusal(recordings.long_silence(120), DecodeLimits(max_s=60)) == "FILE_TOO_LARGE"


def test_channels_are_limited() -> None:
    pcm = bytes(64_000)
    assert heard(wav(pcm, channels=8))[0].about.channels == 8
    assert refusal(wav(pcm, channels=8), DecodeLimits(max_channels=7)) == "UNSUPPORTED_MEDIA"


@pytest.mark.slow
def test_hours_are_decoded_in_constant_memory(tmp_path: Path) -> None:
    """In a process of its own: half an hour of FLAC, then three hours, take the same memory."""
    code = (
        "import resource, sys; from server.files.decode import DecodeLimits, opened\n"
        "with open(sys.argv[1], 'rb') as file, opened(file, DecodeLimits()) as audio:\n"
        "    n = sum(len(block.samples) for block in audio.blocks())\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    used = []
    for hours in (0.5, 3):
        path = tmp_path / f"{hours}.flac"
        path.write_bytes(recordings.long_silence(round(3600 * hours)))
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=100
        )
        n, megabytes = map(int, done.stdout.split())
        assert n == 3600 * hours * 16_000
        used.append(megabytes)
    assert used[1] - used[0] < 20, used
