"""What may happen to a voice on its way to the server: rooms, noise, telephones, other voices.

Waveform in, waveform out, float32 at 16 kHz, any length; a seeded generator decides. The label survives all
of it: speed stays within what people do to their own voice. Spectral color and masking are cheaper on
features and are done there (`training.batches`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # whose parts are imported when they are used: `signal` takes a second
import soxr

from stream.types import HOP, SAMPLE_RATE, Floats

LINE_RATE = SAMPLE_RATE // 2
BLOCK = 160  # samples of 8 kHz that share a step size in a codec's stand-in: 20 ms


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Impulse responses (unit energy, direct sound first), noises, and `voices` for babble: samples at 16 kHz."""

    rooms: list[Floats]
    noises: list[Floats]
    voices: list[npt.NDArray[np.int16]]


def paced(x: Floats, rng: np.random.Generator) -> Floats:
    """The clip x (N,) faster and higher, slower and lower, or as it was."""
    if rng.random() < 0.75:
        x = soxr.resample(x, SAMPLE_RATE, SAMPLE_RATE * rng.uniform(0.85, 1.17), quality="MQ")
    return x


def augment(x: Floats, around: Surroundings, rng: np.random.Generator, phone: float = 0.35) -> Floats:
    """One random journey of the clip x (N,), a share `phone` of them by telephone; none changes the length."""
    if around.rooms and rng.random() < 0.35:
        room = around.rooms[rng.integers(len(around.rooms))]
        wet = scipy.signal.oaconvolve(x, room)[: len(x)]
        x = x + rng.uniform(0.2, 1.0) * (wet - x)
    if rng.random() < 0.6:
        x = add_noise(x, some_noise(len(x), around, rng), rng.uniform(0, 25), rng)
    if rng.random() < phone:
        x = telephone(x, rng)
    if rng.random() < 0.25:
        # A quiet recording loses its tail in the 16-bit grid.
        gain = 10 ** (rng.uniform(-45, 0) / 20) / (float(np.abs(x).max()) + 1e-9)
        x = np.rint(x * gain * 32768) / 32768
    return np.ascontiguousarray(x, np.float32)


def some_noise(n: int, around: Surroundings, rng: np.random.Generator) -> Floats:
    """About n samples of a recorded noise, of colored hiss, or of many voices."""
    kind = rng.random()
    if kind < 0.4 and around.noises:
        return around.noises[rng.integers(len(around.noises))]
    if kind < 0.65 and around.voices:
        return babble(n, around.voices, int(rng.integers(3, 9)), rng)
    return colored(n, rng.uniform(-0.3, 1.3), rng)


def colored(n: int, tilt: float, rng: np.random.Generator) -> Floats:
    """Noise with a power of 1 / f ** tilt, RMS 1: 0 is white, 1 pink."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum *= np.maximum(1, np.arange(len(spectrum))) ** (-tilt / 2)
    x = np.fft.irfft(spectrum, n)
    return np.asarray(x / (np.sqrt(np.mean(x * x)) + 1e-12), np.float32)


def babble(n: int, voices: list[npt.NDArray[np.int16]], how_many: int, rng: np.random.Generator) -> Floats:
    """n samples of `how_many` voices at once, all as loud."""
    total = np.zeros(n, np.float32)
    for i in rng.integers(len(voices), size=how_many):
        voice = voices[i].astype(np.float32)
        voice = np.resize(np.roll(voice, -int(rng.integers(len(voice)))), n)
        total += voice / (active_level(voice) + 1e-6)
    return total


def active_level(x: Floats) -> float:
    """RMS over the hops of 10 ms that are within 30 dB of the loudest."""
    if len(x) < HOP:
        return float(np.sqrt(np.mean(x * x)))
    power = np.square(x[: len(x) // HOP * HOP]).reshape(-1, HOP).mean(axis=1)
    return float(np.sqrt(power[power >= 1e-3 * power.max()].mean()))


def add_noise(x: Floats, noise: Floats, snr_db: float, rng: np.random.Generator) -> Floats:
    """x with a random stretch of `noise` (repeated as needed) under it, `snr_db` below its active level."""
    start = int(rng.integers(len(noise)))
    noise = np.resize(np.roll(noise, -start), len(x))
    scale = active_level(x) / (active_level(noise) + 1e-9) * 10 ** (-snr_db / 20)
    return np.asarray(x + scale * noise, np.float32)


def telephone(x: Floats, rng: np.random.Generator) -> Floats:
    """Down to 8 kHz and back: a steep high-pass, sometimes a low-pass, a codec, at some level of the line.

    The level of the voice is kept, so that what went through a line and what did not are of one loudness.
    """
    gain = 10 ** (rng.uniform(-38, -14) / 20) / (active_level(x) + 1e-9)
    line = soxr.resample(x * gain, SAMPLE_RATE, LINE_RATE, quality="MQ")
    low = rng.uniform(80, 350) if rng.random() < 0.5 else rng.uniform(250, 350)
    order = int(rng.integers(4, 13))
    band = scipy.signal.butter(order, low, "highpass", fs=LINE_RATE, output="sos")
    line = scipy.signal.sosfilt(band, line)
    if rng.random() < 0.7:
        high = scipy.signal.butter(8, rng.uniform(2800, 3700), "lowpass", fs=LINE_RATE, output="sos")
        line = scipy.signal.sosfilt(high, line)
    line = np.clip(line, -1, 1)
    codec = rng.random()
    if codec < 0.35:  # µ-law
        folded = np.rint(np.log1p(255 * np.abs(line)) / np.log(256) * 127) / 127
        line = np.sign(line) * np.expm1(folded * np.log(256)) / 255
    elif codec < 0.6:  # A-law
        small = np.abs(line) < 1 / 87.6
        above = 1 + np.log(np.maximum(87.6 * np.abs(line), 1))
        folded = np.where(small, 87.6 * np.abs(line), above) / (1 + np.log(87.6))
        folded = np.rint(folded * 127) / 127 * (1 + np.log(87.6))
        line = np.sign(line) * np.where(folded < 1, folded, np.exp(folded - 1)) / 87.6
    elif codec < 0.8:  # few bits per block, as the codecs of mobile telephones
        blocks = np.pad(line, (0, -len(line) % BLOCK)).reshape(-1, BLOCK)
        step = np.abs(blocks).max(axis=1, keepdims=True) / 2 ** rng.integers(3, 6) + 1e-6
        line = (np.rint(blocks / step) * step).reshape(-1)[: len(line)]
    back = soxr.resample(line, LINE_RATE, SAMPLE_RATE, quality="MQ")
    return np.asarray(back / gain, np.float32)
