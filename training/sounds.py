"""Sounds that are not speech, made here: what a model must call `unknown` when the speech gate lets it through.

Speech gates open on anything with voiced-like frames: music, tones, barks, sirens, many voices at once. A few
hundred recordings cannot hold them all, so every kind here is drawn anew from a seeded generator. Samples are
float32 at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy  # whose parts are imported when they are used: `signal` takes a second

from stream.types import SAMPLE_RATE, Floats
from training.augment import babble, colored

Rng = np.random.Generator
DTMF = ((697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0, 1633.0))


def synthetic(n: int, voices: list[npt.NDArray[np.int16]], rng: Rng) -> Floats:
    """n samples of one kind of sound, over a little hiss, at any level."""
    if voices and rng.random() < 0.18:
        x = babble(n, voices, int(rng.integers(5, 13)), rng)
    elif voices and rng.random() < 0.12:
        x = too_short(n, voices[rng.integers(len(voices))], rng)
    else:
        x = KINDS[rng.integers(len(KINDS))](n, rng)
    x = x / (np.abs(x).max() + 1e-9) + 10 ** (rng.uniform(-70, -25) / 20) * colored(n, 1, rng)
    loud = x * 10 ** (rng.uniform(-45, -1) / 20) / (np.abs(x).max() + 1e-9)
    return np.asarray(np.rint(loud * 32768) / 32768, np.float32)


def hiss(n: int, rng: Rng) -> Floats:
    """An idle microphone: noise of any color, often breathing slowly."""
    x = colored(n, rng.uniform(-0.5, 2.2), rng)
    return np.asarray(x * _sway(n, rng, 0.2, 3), np.float32) if rng.random() < 0.6 else x


def hum(n: int, rng: Rng) -> Floats:
    """Mains, fans and engines: a low buzz that may drift."""
    f0 = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(30, 250)])
    return _harmonics(f0 * _wander(n, rng, 0.03), rng, int(rng.integers(3, 30))) + rng.uniform(
        0, 0.5
    ) * colored(n, 1, rng)


def music(n: int, rng: Rng) -> Floats:
    """Chords and a tune on some scale, with rhythm, vibrato and a drum."""
    beat = int(SAMPLE_RATE * rng.uniform(0.12, 0.6))
    root, x = rng.uniform(80, 400), np.zeros(n, np.float32)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    for start in range(0, n, beat):
        length = min(n - start, int(beat * rng.uniform(0.6, 3)))
        for step in rng.choice(scale, int(rng.integers(1, 4)), replace=False):
            f0 = np.full(length, root * 2 ** (step / 12))
            f0 *= 1 + rng.uniform(0, 0.02) * np.sin(2 * np.pi * rng.uniform(4, 7) * _time(length))
            fade = np.exp(-_time(length) * rng.uniform(0.5, 12)) * np.minimum(1, _time(length) * 80)
            x[start : start + length] += _harmonics(f0, rng, int(rng.integers(1, 14))) * fade
        if rng.random() < 0.4:
            drum = colored(min(n - start, 2400), rng.uniform(0, 2), rng)
            x[start : start + len(drum)] += 1.5 * drum * np.exp(-_time(len(drum)) * 40)
    return x


def beeps(n: int, rng: Rng) -> Floats:
    """Keys of a telephone, ringing and engaged tones, alarms: one or two tones, on and off."""
    on, off = rng.uniform(0.05, 1.2), rng.uniform(0.03, 1.0)
    if rng.random() < 0.4:
        pairs = np.array([[rng.choice(DTMF[0]), rng.choice(DTMF[1])] for _ in range(64)])
    else:
        pairs = np.tile(rng.choice([425.0, 440.0, 480.0, 620.0, rng.uniform(300, 3000)], 2), (64, 1))
    which = (_time(n) / (on + off)).astype(int) % 64
    sounding = _time(n) % (on + off) < on
    x = sum(np.sin(2 * np.pi * np.cumsum(pairs[which, side]) / SAMPLE_RATE) for side in (0, 1))
    return np.asarray(x * sounding, np.float32)


def siren(n: int, rng: Rng) -> Floats:
    """Gliding tones: sirens, whistling, birds, howls."""
    low, high = np.sort(np.exp(rng.uniform(np.log(150), np.log(4000), 2)))
    rate = np.exp(rng.uniform(np.log(0.3), np.log(15)))
    glide = 0.5 + 0.5 * scipy.signal.sawtooth(
        2 * np.pi * rate * _time(n) * _wander(n, rng, 0.1), rng.uniform(0, 1)
    )
    x = _harmonics(low * (high / low) ** glide, rng, int(rng.integers(1, 8)))
    return np.asarray(x * _gaps(n, rng), np.float32) if rng.random() < 0.6 else x


def barks(n: int, rng: Rng) -> Floats:
    """Short bursts, half tone and half noise: dogs, coughs, crows, hammers."""
    x = np.zeros(n, np.float32)
    at = int(rng.uniform(0, 0.5) * SAMPLE_RATE)
    f0, length = np.exp(rng.uniform(np.log(120), np.log(1200))), rng.uniform(0.05, 0.45)
    tone, sharp = rng.uniform(0, 1), rng.uniform(2, 15)
    while at < n:
        m = min(n - at, int(length * rng.uniform(0.7, 1.3) * SAMPLE_RATE))
        bend = 1 + rng.uniform(-0.4, 0.4) * _time(m) / length
        burst = tone * _harmonics(f0 * bend, rng, 12) + (1 - tone) * colored(m, rng.uniform(0, 1.5), rng)
        x[at : at + m] += burst * np.exp(-_time(m) * sharp) * np.minimum(1, _time(m) * 100)
        at += m + int(rng.uniform(0.05, 1.0) * SAMPLE_RATE)
    return x


def clicks(n: int, rng: Rng) -> Floats:
    """Keyboards, clocks, crackling: many short knocks, each ringing a little."""
    x = np.zeros(n, np.float32)
    rate = np.exp(rng.uniform(np.log(1.5), np.log(60)))
    regular = rng.random() < 0.3
    at = 0.0
    while (start := int(at * SAMPLE_RATE)) < n:
        x[start] += rng.uniform(0.2, 1)
        at += 1 / rate if regular else rng.exponential(1 / rate)
    ring = np.sin(2 * np.pi * rng.uniform(200, 5000) * _time(800)) + colored(800, 0, rng)
    return np.asarray(
        scipy.signal.oaconvolve(x, ring * np.exp(-_time(800) * rng.uniform(80, 900)))[:n], np.float32
    )


def breath(n: int, rng: Rng) -> Floats:
    """Breathing, rustling, wind and waves: bands of noise that swell and fade."""
    low = rng.uniform(100, 1500)
    band = scipy.signal.butter(2, [low, low * rng.uniform(1.5, 4)], "bandpass", fs=SAMPLE_RATE, output="sos")
    x = scipy.signal.sosfilt(band, rng.standard_normal(n))
    return np.asarray(x * _sway(n, rng, 0.3, 8), np.float32)


def too_short(n: int, voice: npt.NDArray[np.int16], rng: Rng) -> Floats:
    """A scrap of speech of less than a third of a second between silences: too little to tell anything."""
    length = int(rng.uniform(0.06, 0.28) * SAMPLE_RATE)
    x = np.zeros(n, np.float32)
    start = int(rng.integers(max(1, len(voice) - length)))
    scrap = voice[start : start + length].astype(np.float32)
    scrap *= np.hanning(len(scrap)) ** 0.3
    at = int(rng.uniform(0.02, 0.25) * SAMPLE_RATE)
    x[at : at + len(scrap)] = scrap[: n - at]
    return x


KINDS: tuple[Callable[[int, Rng], Floats], ...] = (
    hiss, hum, music, music, beeps, siren, siren, barks, barks, clicks, breath,
)  # fmt: skip


def _time(n: int) -> npt.NDArray[np.float64]:
    return np.arange(n) / SAMPLE_RATE


def _wander(n: int, rng: Rng, depth: float) -> npt.NDArray[np.float64]:
    """A slow random factor around 1, (n,)."""
    points = rng.normal(1, depth, max(2, n // 4000 + 2))
    return np.maximum(np.interp(np.arange(n), np.linspace(0, n, len(points)), points), 0.1)


def _sway(n: int, rng: Rng, slow: float, quick: float) -> npt.NDArray[np.float64]:
    """A swelling and fading envelope, (n,)."""
    swing = np.sin(2 * np.pi * rng.uniform(slow, quick) * _time(n) * _wander(n, rng, 0.1) + rng.uniform(0, 6))
    return np.asarray((0.5 + 0.5 * swing) ** rng.uniform(0.5, 3))


def _gaps(n: int, rng: Rng) -> npt.NDArray[np.float64]:
    """On and off at random, with soft edges, (n,)."""
    on = np.repeat(rng.random(n // 1600 + 1) < rng.uniform(0.3, 0.9), 1600)[:n].astype(float)
    return np.asarray(scipy.signal.oaconvolve(on, np.hanning(400) / 200, mode="same"))


def _harmonics(f0: npt.NDArray[np.float64], rng: Rng, how_many: int) -> Floats:
    """A tone of pitch f0 (n,) with `how_many` partials, none above half the sampling rate."""
    phase = 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    x, fall = np.zeros(len(f0)), rng.uniform(0.3, 2)
    for k in range(1, how_many + 1):
        x += np.where(k * f0 < 7500, rng.uniform(0.3, 1) / k**fall, 0) * np.sin(k * phase)
    return np.asarray(x, np.float32)
