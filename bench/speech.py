"""Real speech, cut into chunks ready to send. No network.

Clips of speakers that the model has not been trained on (splits `val` and `test`) are joined with short
pauses into one long ring of samples, decoded and encoded once; each client reads the ring from its own
place. Where the corpora are absent, the recordings shipped in `demo/` take their place.
"""

from __future__ import annotations

import base64
import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 16_000
ROOT = Path(__file__).resolve().parent.parent
CORPORA = ("emodb", "ravdess", "nemo", "rakshak")
LOUDNESS = 10 ** (-26 / 20)  # each clip is brought to -26 dBFS: the corpora differ by 40 dB
FLOOR = 10 ** (-75 / 20)  # pauses carry a faint noise: no microphone gives digital silence

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class SpokenChunks:
    """A ring of equal chunks, as the bytes to put on the wire: raw, or as base64 text."""

    chunks: tuple[bytes, ...]
    chunk_samples: int
    source: str  # for people: where the speech comes from


def default_data() -> Path | None:
    """The corpora: the folder that EMOTION_DATA names; None where it is not set."""
    folder = os.environ.get("EMOTION_DATA")
    return Path(folder) if folder else None


def load(
    data: Path | None, *, seconds: float, chunk_ms: int, encoding: str, binary: bool, seed: int = 0
) -> SpokenChunks:
    """About `seconds` of speech with pauses of 0.3 to 1.2 s, the same for the same seed."""
    samples, source = _ring(data, seconds, np.random.default_rng(seed))
    size = RATE * chunk_ms // 1000
    encode = _ENCODERS[encoding]
    raw = [encode(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size)]
    return SpokenChunks(tuple(raw if binary else map(base64.b64encode, raw)), size, source)


def _ring(data: Path | None, seconds: float, rng: np.random.Generator) -> tuple[Samples, str]:
    clips = _held_out(data)
    if clips:
        source = f"{{n}} clips of {', '.join(CORPORA)} (speakers of val and test)"
    else:
        clips = sorted((ROOT / "demo").glob("*.wav"))
        where = f"no corpora at {data}" if data else "EMOTION_DATA is not set"
        source = f"{where}: {{n}} pieces of the shipped demo recordings"
    if not clips:
        raise FileNotFoundError(
            "no speech to send: EMOTION_DATA names no corpora, and there is no demo/*.wav"
        )
    parts: list[Samples] = []
    total = used = 0
    while total < seconds * RATE:
        for index in rng.permutation(len(clips)):
            pause = rng.normal(0, FLOOR, int(rng.uniform(0.3, 1.2) * RATE))
            parts += [_decode(clips[index]), _pcm16(pause)]
            total += len(parts[-2]) + len(parts[-1])
            used += 1
            if total >= seconds * RATE:
                break
    return np.concatenate(parts), source.format(n=used)


def _held_out(data: Path | None) -> list[Path]:
    if data is None:
        return []
    manifest = data / "manifest.csv"
    if not manifest.exists():
        return []
    with manifest.open(newline="", encoding="utf-8") as rows:
        wanted = [r for r in csv.DictReader(rows) if r["corpus"] in CORPORA and r["split"] in ("val", "test")]
    return [path for path in (data / r["path"] for r in wanted) if path.exists()]


def _decode(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    if rate != RATE:
        raise ValueError(f"{path}: {rate} Hz; the benchmark expects {RATE} Hz")
    mono = samples.mean(axis=1)
    loudness = float(np.sqrt(np.mean(mono**2))) if len(mono) else 0.0
    return _pcm16(mono * (LOUDNESS / loudness) if loudness else mono)


def _pcm16(samples: npt.NDArray[np.float64]) -> Samples:
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2")


def _mulaw(samples: Samples) -> bytes:
    """G.711 mu-law, by the rule of the standard's reference coder."""
    wide = samples.astype(np.int32)
    sign = np.where(wide < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(wide), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    coded: bytes = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()
    return coded


_ENCODERS: dict[str, Callable[[Samples], bytes]] = {
    "pcm_s16le": lambda samples: _bytes(samples),
    "pcm_f32le": lambda samples: _bytes((samples / 32768).astype("<f4")),
    "mulaw": _mulaw,
}
ENCODINGS = tuple(_ENCODERS)


def _bytes(array: npt.NDArray[Any]) -> bytes:
    raw: bytes = array.tobytes()
    return raw
