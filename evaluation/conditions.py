"""What may happen to a clip before the server hears it: nothing, a telephone line, noise. Samples in, samples out.
A conversation changes nothing in the clip, but what the session has heard before it: `source`.

Clean: as the product reads the file. Telephone: 300 to 3400 Hz at 8 kHz through 8-bit µ-law (ITU-T G.711) and
the product's own decoder. For the line the speech is brought to its nominal level, -26 dBov, and back afterwards,
so that a quiet recording is not punished for being quiet. Noise: half of the clips get pink noise, half get babble
of other voices of the same data, at a given signal-to-noise ratio; nothing but the data's own clips and a random
generator is needed. Clips labeled `unknown` get pink noise only: babble would put speech into them. What a clip
gets depends on its name and the seed (babble also on which clips it may be made of).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from evaluation.dataset import Clip
from server.files.find import BLOCK_S, UnreadableFile
from stream.codec import Decoder, Format, Resampler
from stream.types import HOP, LABELS, SAMPLE_RATE, Floats

CONVERSATION = "conversation"  # clean clips of one voice, one behind the other (`source.conversations`)
CONDITIONS = ("clean", "telephone", "noise", CONVERSATION)
LINE_RATE = SAMPLE_RATE // 2
LINE_HZ = (300.0, 3400.0)
LINE_LEVEL = 10 ** (-26 / 20)  # nominal speech level on a line, of full scale
TAPS = 257  # of the line's filter: edges about 100 Hz wide
ACTIVE = 1e-3  # hops within 30 dB of the loudest count as active
VOICES = 5  # speak at once in babble
POOL = 40  # clips that babble is made of
UNKNOWN = LABELS.index("unknown")


def read(path: Path) -> Floats:
    """A recording as the product hears it: float32 (n,), mono, 16 kHz. Raises UnreadableFile."""
    try:
        with soundfile.SoundFile(path) as file:
            resampler, rate = Resampler(), file.samplerate
            pieces = []
            for block in file.blocks(rate * BLOCK_S, dtype="float32", always_2d=True):
                mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
                pieces.append(resampler.push(np.ascontiguousarray(mono), rate))
            pieces.append(resampler.finish())
    except (soundfile.SoundFileError, OSError) as broken:
        raise UnreadableFile(f"{path}: {broken}") from None
    samples = np.concatenate(pieces)
    if not len(samples):
        raise UnreadableFile(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise UnreadableFile(f"{path}: holds samples that are not finite numbers")
    return samples


def active_level(x: Floats) -> float:
    """RMS over the hops of 10 ms within 30 dB of the loudest: a plain stand-in for ITU-T P.56. 0 for silence."""
    hops = x[: max(1, len(x) // HOP) * HOP]
    power = np.square(hops, dtype=np.float64).reshape(-1, min(HOP, len(hops))).mean(axis=1)
    return float(np.sqrt(power[power >= ACTIVE * power.max()].mean()))


def telephone(x: Floats) -> Floats:
    """x (n,) at 16 kHz as it comes out of a µ-law line, at its own level."""
    gain = LINE_LEVEL / (active_level(x) or LINE_LEVEL)
    narrow = soxr.resample(x * gain, SAMPLE_RATE, LINE_RATE)
    low, high = (2 * f / LINE_RATE for f in LINE_HZ)
    at = np.arange(TAPS) - TAPS // 2
    taps = np.hamming(TAPS) * (high * np.sinc(high * at) - low * np.sinc(low * at))
    line = np.convolve(narrow, taps)[TAPS // 2 :][: len(narrow)]
    decoder = Decoder(Format("mulaw", LINE_RATE))
    heard = np.concatenate([decoder.decode(mulaw(line).tobytes()), decoder.finish()])
    return np.ascontiguousarray(heard / gain, np.float32)


def mulaw(x: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Samples in [-1, 1] → G.711 µ-law codes, the inverse of the codec's table."""
    magnitude = np.minimum(np.abs(x) * 32768, 32635) + 0x84
    exponent = np.clip(np.floor(np.log2(magnitude)).astype(np.int32) - 7, 0, 7)
    mantissa = (magnitude / (1 << (exponent + 3))).astype(np.int32) & 15
    code = np.where(x < 0, 0x80, 0) | exponent << 4 | mantissa
    return np.asarray(~code.astype(np.uint8))


def pink(n: int, rng: np.random.Generator) -> Floats:
    """n samples of 1/f noise, RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    x = np.fft.irfft(spectrum, n)
    return np.asarray(x / (np.sqrt(np.mean(x * x)) + 1e-12), np.float32)


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise `snr_db` below the active level of the speech; `pool`: what babble is made of, at active level 1."""

    snr_db: float
    seed: int
    pool: list[tuple[Clip, Floats]]

    @classmethod
    def of(cls, clips: list[Clip], snr_db: float, seed: int) -> Noise:
        """With up to POOL clips of speech, voices taking turns. Reads them."""
        voices: dict[tuple[str, str], list[Clip]] = defaultdict(list)
        for clip in sorted(clips, key=lambda clip: digest(clip, seed)):
            if clip.label != UNKNOWN:
                voices[clip.corpus, clip.speaker].append(clip)
        turns = [(turn, voice) for voice, group in voices.items() for turn in range(len(group))]
        pool = []
        for turn, voice in sorted(turns, key=lambda at: at[0])[:POOL]:
            try:
                x = read(voices[voice][turn].path)
            except UnreadableFile:
                continue  # counted and listed where the clip's own turn comes
            if level := active_level(x):
                pool.append((voices[voice][turn], np.asarray(x / level, np.float32)))
        return cls(snr_db, seed, pool)

    def add(self, clip: Clip, x: Floats) -> Floats:
        """x (n,) with its noise."""
        rng = np.random.default_rng(digest(clip, self.seed))
        babble = rng.random() < 0.5
        others = [voice for other, voice in self.pool if _differ(clip, other)]
        if babble and clip.label != UNKNOWN and len(others) > 1:
            chosen = rng.choice(len(others), min(VOICES, len(others)), replace=False)
            parts = [np.roll(others[i], -int(rng.integers(len(others[i])))) for i in chosen]
            noise = np.sum([np.resize(part, len(x)) for part in parts], axis=0)
        else:
            noise = pink(len(x), rng)
        scale = active_level(x) * 10 ** (-self.snr_db / 20) / (active_level(noise) or 1)
        return np.asarray(x + scale * noise, np.float32)


def digest(clip: Clip, seed: int) -> int:
    """A number for this clip alone, whatever else is evaluated."""
    return zlib.crc32(f"{seed}/{clip.corpus}/{clip.name}".encode())


def _differ(clip: Clip, other: Clip) -> bool:
    """Whether they are two voices, as far as is known."""
    if clip.speaker or other.speaker:
        return (clip.corpus, clip.speaker) != (other.corpus, other.speaker)
    return (clip.corpus, clip.name) != (other.corpus, other.name)
