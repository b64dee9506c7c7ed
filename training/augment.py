"""What may happen to a voice on its way to the server: rooms, noise, telephones, other voices.

Waveform in, waveform out, float32 at 16 kHz, any length; a seeded generator decides. The label survives all
of it: speed stays within what people do to their own voice. Spectral colour and masking are cheaper on
features and are done there (`training.batches`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from scipy import signal

from stream.types import SAMPLE_RATE, Floats

PHONE = signal.butter(4, [300, 3400], "bandpass", fs=SAMPLE_RATE, output="sos")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Impulse responses (unit energy, direct sound first) and noises, float32 at 16 kHz."""

    rooms: list[Floats]
    noises: list[Floats]


def augment(x: Floats, around: Surroundings, rng: np.random.Generator) -> Floats:
    """One random journey of the clip x (N,). The length changes with the speed."""
    if rng.random() < 0.75:
        x = soxr.resample(x, SAMPLE_RATE, SAMPLE_RATE * rng.uniform(0.87, 1.15), quality="MQ")
    if around.rooms and rng.random() < 0.4:
        room = around.rooms[rng.integers(len(around.rooms))]
        wet = signal.fftconvolve(x, room)[: len(x)]
        x = x + rng.uniform(0.2, 1.0) * (wet - x)
    if around.noises and rng.random() < 0.5:
        x = add_noise(x, around.noises[rng.integers(len(around.noises))], rng.uniform(3, 30), rng)
    if rng.random() < 0.25:
        x = telephone(x, rng)
    if rng.random() < 0.3:
        # A quiet recording loses its tail in the 16-bit grid.
        gain = 10 ** (rng.uniform(-45, 0) / 20) / (float(np.abs(x).max()) + 1e-9)
        x = np.rint(x * gain * 32768) / 32768
    return np.ascontiguousarray(x, np.float32)


def add_noise(x: Floats, noise: Floats, snr_db: float, rng: np.random.Generator) -> Floats:
    """x with a random stretch of `noise` (repeated as needed) under it, `snr_db` below its mean power."""
    start = int(rng.integers(len(noise)))
    noise = np.resize(np.roll(noise, -start), len(x))
    power = float(np.mean(noise * noise)) + 1e-12
    scale = np.sqrt(float(np.mean(x * x)) / power) * 10 ** (-snr_db / 20)
    return np.asarray(x + scale * noise, np.float32)


def telephone(x: Floats, rng: np.random.Generator) -> Floats:
    """300 to 3400 Hz; half of the time through 8-bit µ-law at a random level."""
    x = signal.sosfilt(PHONE, x).astype(np.float32)
    if rng.random() < 0.5:
        return x
    peak = (float(np.abs(x).max()) + 1e-9) / rng.uniform(0.1, 0.9)
    folded = np.sign(x) * np.log1p(255 * np.abs(x) / peak) / np.log(256)
    folded = np.rint(folded * 127) / 127
    return np.asarray(np.sign(folded) * np.expm1(np.abs(folded) * np.log(256)) / 255 * peak, np.float32)


def synthetic_noise(n: int, rng: np.random.Generator) -> Floats:
    """What an idle microphone gives, n samples: hiss of any colour, hum, or the least of 16 bits."""
    white = rng.standard_normal(n)
    kind = rng.integers(4)
    if kind == 0:
        x = white
    elif kind == 1:
        x = signal.lfilter([1.0], [1.0, -rng.uniform(0.7, 0.99)], white)
    elif kind == 2:
        tone = rng.choice([50.0, 60.0, 100.0, 120.0]) * (2 * np.pi / SAMPLE_RATE) * np.arange(n)
        x = np.sin(tone) + 0.4 * np.sin(2 * tone) + 0.3 * np.sin(3 * tone) + rng.uniform(0.01, 0.5) * white
    else:
        x = np.rint(white * rng.uniform(0.2, 2)) / 32768
        return x.astype(np.float32)
    level = 10 ** (rng.uniform(-60, -15) / 20)
    return (x * level / (np.std(x) + 1e-9)).astype(np.float32)
