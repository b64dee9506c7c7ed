"""What a telephone and noise do to a clip, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.conditions import UNKNOWN, Noise, active_level, mulaw, pink, read, telephone
from evaluation.dataset import Clip
from server.files.find import UnreadableFile
from stream.codec import Decoder, Format
from stream.types import HOP, SAMPLE_RATE, Floats


def tone(hertz: float, level: float = 0.1, seconds: float = 1.0) -> Floats:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(level * np.sqrt(2) * np.sin(2 * np.pi * hertz * t), np.float32)


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio + 1e-12))


def middle(x: Floats) -> Floats:
    return x[SAMPLE_RATE // 4 : -SAMPLE_RATE // 4]


def rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize("level", [0.001, 0.1])
def test_telephone_passes_its_band_at_any_level(level: float) -> None:
    for hertz in (400, 1000, 3000):
        x = tone(hertz, level)
        heard = telephone(x)
        assert abs(len(heard) - len(x)) < HOP
        assert abs(decibels(rms(middle(heard)) / level)) < 1
        n = len(middle(heard))
        spectrum = np.abs(np.fft.rfft(middle(heard) * np.hanning(n))) ** 2
        near = round(hertz * n / SAMPLE_RATE)
        noise = spectrum.sum() - spectrum[near - 5 : near + 6].sum()
        assert 10 * np.log10(spectrum.sum() / noise) > 30, "8-bit µ-law leaves 38 dB or so"


@pytest.mark.parametrize("hertz", [60, 150, 3800, 6000])
def test_telephone_stops_the_rest(hertz: float) -> None:
    speech = tone(1000, 0.1)  # sets the line's level
    both = telephone(speech + tone(hertz, 0.05))
    n = len(middle(both))
    spectrum = np.abs(np.fft.rfft(middle(both) * np.hanning(n)))
    at, reference = (spectrum[round(f * n / SAMPLE_RATE)] for f in (hertz, 1000))
    assert decibels(at / reference) < -30


def test_mulaw_is_the_inverse_of_the_decoder() -> None:
    codes = np.arange(256, dtype=np.uint8)
    table = np.concatenate([Decoder(Format("mulaw")).decode(codes.tobytes())]).astype(np.float64)
    again = Decoder(Format("mulaw")).decode(mulaw(table).tobytes())
    assert (again == table.astype(np.float32)).all()
    # Between its values it is off by half a step at most: a 32nd of the magnitude with its bias of 132.
    x = np.random.default_rng(0).uniform(-1, 1, 5000) ** 3
    heard = Decoder(Format("mulaw")).decode(mulaw(x).tobytes())
    assert (np.abs(heard - x) <= (np.abs(x) + 132 / 32768) / 32 + 1e-7).all()


def test_silence_stays_silence() -> None:
    for n in (10, 100, 16_000):
        assert not np.abs(telephone(np.zeros(n, np.float32))).max(initial=0) > 1e-3
    assert active_level(np.zeros(10, np.float32)) == 0


def test_active_level_leaves_pauses_out() -> None:
    x = np.concatenate([tone(500, 0.2), np.zeros(3 * SAMPLE_RATE, np.float32)])
    assert active_level(x) == pytest.approx(0.2, rel=0.01)


def test_pink_falls_three_decibels_per_octave() -> None:
    power = np.abs(np.fft.rfft(pink(1 << 16, np.random.default_rng(0)))) ** 2
    octaves = [power[1 << k : 2 << k].sum() for k in range(8, 14)]
    assert np.ptp(10 * np.log10(octaves)) < 1


def clip(name: str, speaker: str = "a", label: int = 0, corpus: str = "test") -> Clip:
    return Clip(Path(name), name, corpus, "", speaker, label, "")


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory, demo_samples: Floats) -> Noise:
    folder, clips = tmp_path_factory.mktemp("voices"), []
    for i in range(6):
        path = folder / f"{i}.wav"
        soundfile.write(path, demo_samples[3 * i * SAMPLE_RATE :][: 3 * SAMPLE_RATE], SAMPLE_RATE)
        clips.append(replace(clip(f"{i}.wav", speaker="abc"[i % 3]), path=path))
    return Noise.of(clips, 10.0, 0)


def test_noise_has_the_level_asked_for_and_both_kinds(noise: Noise, demo_samples: Floats) -> None:
    x, kinds = demo_samples[: 4 * SAMPLE_RATE], []
    hiss = replace(noise, pool=[])
    for i in range(12):
        added = noise.add(clip(f"clip {i}", "z"), x) - x
        assert decibels(active_level(x) / active_level(added)) == pytest.approx(10, abs=0.1)
        kinds.append(bool((hiss.add(clip(f"clip {i}", "z"), x) - x == added).all()))
    assert 2 <= sum(kinds) <= 10


def test_noise_depends_on_clip_and_seed_alone(noise: Noise, demo_samples: Floats) -> None:
    x = demo_samples[: 2 * SAMPLE_RATE]
    first = noise.add(clip("one", "z"), x)
    noise.add(clip("two", "z"), x)
    assert (noise.add(clip("one", "z"), x) == first).all()
    assert (noise.add(clip("two", "z"), x) != first).any()
    assert (replace(noise, seed=1).add(clip("one", "z"), x) != first).any()


def test_babble_never_holds_the_own_voice_nor_noise(noise: Noise, demo_samples: Floats) -> None:
    x = demo_samples[: 2 * SAMPLE_RATE]
    mine = replace(noise, pool=[(c, v) for c, v in noise.pool if c.speaker == "a"])
    empty = replace(noise, pool=[])
    for i in range(8):
        assert (mine.add(clip(f"{i}", "a"), x) == empty.add(clip(f"{i}", "a"), x)).all()
        rain = clip(f"{i}", "", UNKNOWN)
        assert (noise.add(rain, x) == empty.add(rain, x)).all(), "no speech is put into what is not speech"
    pool = Noise.of([replace(c, label=UNKNOWN) for c, _ in noise.pool], 10.0, 0).pool
    assert pool == []


def test_reading(tmp_path: Path, demo_samples: Floats) -> None:
    x = demo_samples[: 2 * SAMPLE_RATE]
    stereo = np.stack([x, x], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, SAMPLE_RATE, subtype="FLOAT")
    assert (read(tmp_path / "stereo.wav") == x).all()
    soundfile.write(tmp_path / "fast.flac", np.repeat(x, 3), 3 * SAMPLE_RATE)
    assert abs(len(read(tmp_path / "fast.flac")) - len(x)) < 10
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF and nothing else")
    for name, why in (
        ("nan", "finite"),
        ("empty", "no samples"),
        ("broken", "broken.wav"),
        ("absent", "absent"),
    ):
        with pytest.raises(UnreadableFile, match=why):
            read(tmp_path / f"{name}.wav")
