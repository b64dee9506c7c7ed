"""Clips to features, once: decode, mark where the speech is, augment, and keep what the network hears.

Features are computed by the network's own `features`, so that training and serving cannot drift apart. Of each
clip of `train` and `val` several augmented versions are kept beside the clean one; `test` is kept clean. Among
them are sounds made here (`training.sounds`), other ones in each version. The cache is one float16 array per
version, in `training/cache/`, which git ignores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
import webrtcvad
from rich.progress import Progress

from stream.models.compact_net import N_FFT, CompactNet
from stream.types import FRAME, HOP, LABELS, SAMPLE_RATE, Floats
from training.augment import Surroundings, add_noise, augment
from training.corpus import JUDGED, Clip
from training.sounds import synthetic

MEL_HZ = (60.0, 7600.0)
POOL = "pool"  # the clips of train and val together, and N_SYNTHETIC sounds labelled `unknown`
N_SYNTHETIC = 500
BY_PHONE = 6  # every sixth version comes by telephone altogether
N_VOICES = 500  # clips that babble is made of
UNKNOWN = LABELS.index("unknown")


@dataclass(frozen=True, eq=False)
class Version:
    """Clips as features; clip i is `frames[bounds[i, 0] : bounds[i, 1]]`."""

    clips: list[Clip]
    frames: npt.NDArray[np.float16]  # (sum of T, n_raw)
    bounds: npt.NDArray[np.int64]  # (n_clips, 2)
    speech: npt.NDArray[np.int64]  # (n_clips, 2): first speech frame and the end, within the clip

    def raw(self, i: int, start: int = 0, end: int | None = None) -> npt.NDArray[np.float16]:
        """Frames [start, end) of clip i: (T, n_raw)."""
        return self.frames[slice(*self.bounds[i])][start:end]


def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """librosa's, (n_bins, n_mels)."""
    filters = librosa.filters.mel(
        sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels, fmin=MEL_HZ[0], fmax=MEL_HZ[1], norm="slaney"
    )
    return np.asarray(filters.T, np.float32)


def decode(path: Path) -> Floats:
    """A recording as float32 (N,), mono, 16 kHz."""
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = x.mean(axis=1)
    return np.asarray(mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE), np.float32)


def speech_frames(x: Floats) -> tuple[int, int]:
    """Where the voice starts and ends, in frames; the whole clip where none is found.

    Levelled first: the detector misses recordings at -40 dB, and the gate's job is not the model's.
    """
    vad = webrtcvad.Vad(2)
    loud = np.clip(x * (0.5 / (np.abs(x).max() + 1e-6)) * 32768, -32768, 32767).astype("<i2")
    hops = loud[: len(loud) // HOP * HOP].reshape(-1, HOP)
    voiced = np.array([vad.is_speech(hop.tobytes(), SAMPLE_RATE) for hop in hops], np.int64)
    runs = np.flatnonzero(np.convolve(voiced, np.ones(6, np.int64), "valid") == 6)
    n_frames = max(1, (len(x) - FRAME) // HOP + 1)
    if len(runs) == 0:
        return 0, n_frames
    return int(runs[0]), min(int(runs[-1]) + 6, n_frames)


def surroundings(folder: Path, clips: list[Clip]) -> Surroundings:
    """Rooms, noises and voices; nothing of split `test`."""
    rooms = []
    for path in sorted((folder / "rir").glob("*.flac")):
        room = decode(path)[: SAMPLE_RATE // 2]
        room = room[int(np.abs(room).argmax()) :]
        rooms.append(np.asarray(room / np.sqrt(np.sum(room * room)), np.float32))
    noises = [decode(path) for path in sorted((folder / "noise").glob("*.flac"))]
    noises += [decode(clip.path) for clip in clips if clip.corpus == "esc10" and clip.split == "train"]
    spoken = [clip for clip in clips if clip.corpus in JUDGED and clip.split == "train"]
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(spoken), min(N_VOICES, len(spoken)), replace=False)
    voices = [np.asarray(decode(spoken[i].path) * 32767, np.int16) for i in chosen]
    return Surroundings(rooms, noises, voices)


@torch.inference_mode()
def features(net: CompactNet, x: Floats) -> Floats:
    """float32 (T, n_raw); clips shorter than a frame are filled up with silence."""
    x = np.pad(x, (0, max(0, FRAME - len(x))))
    return np.asarray(net.features(torch.from_numpy(x)[None])[0].numpy(), np.float32)


def prepare(folder: Path, clips: list[Clip], net: CompactNet, versions: int, work: Path) -> None:
    """Write the cache: `{name}-{version}.npz`, version 0 clean. Files that exist are kept."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = [("test", 0), *((POOL, version) for version in range(versions + 1))]
    wanted = [(name, version) for name, version in wanted if not (work / f"{name}-{version}.npz").exists()]
    around = surroundings(folder, clips) if wanted else None
    with Progress() as progress:
        for name, version in wanted:
            assert around is not None
            rng = np.random.default_rng((version, len(name)))
            rows: list[npt.NDArray[np.float16]] = []
            speech = []
            for clip in progress.track(chosen(clips, name), description=f"{name} {version}"):
                x, spoken = _heard(clip, version, around, rng)
                rows.append(features(net, x).astype(np.float16))
                speech.append((spoken[0], min(spoken[1], len(rows[-1]))))
            ends = np.cumsum([len(row) for row in rows])
            bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
            target = work / f"{name}-{version}.npz"
            partial = target.with_suffix(".part")
            with partial.open("wb") as file:
                np.savez(file, frames=np.concatenate(rows), bounds=bounds, speech=np.array(speech))
            partial.replace(target)


def _heard(
    clip: Clip, version: int, around: Surroundings, rng: np.random.Generator
) -> tuple[Floats, tuple[int, int]]:
    """Samples of one version of a clip, and where its speech is."""
    if not clip.path.name:
        x = synthetic(int(rng.uniform(1.5, 4) * SAMPLE_RATE), around.voices, rng)
        return x, (0, len(x) // HOP)
    x = decode(clip.path)
    spoken = speech_frames(x)
    if not version:
        return x, spoken
    before = len(x)
    if clip.label == UNKNOWN:
        x = soxr.resample(x, SAMPLE_RATE, SAMPLE_RATE * rng.uniform(0.6, 1.6), quality="MQ")
        if rng.random() < 0.3:
            x = add_noise(x, around.noises[rng.integers(len(around.noises))], rng.uniform(-5, 10), rng)
    x = augment(x, around, rng, phone=1.0 if version % BY_PHONE == 0 else 0.35)
    return x, (spoken[0] * len(x) // before, spoken[1] * len(x) // before)


def open_version(clips: list[Clip], name: str, version: int, work: Path) -> Version:
    """What `prepare` wrote."""
    with np.load(work / f"{name}-{version}.npz", allow_pickle=False) as kept:
        mine = chosen(clips, name)
        if len(mine) != len(kept["bounds"]):
            raise ValueError(f"{work} was made from other data: remove it and prepare again")
        return Version(mine, kept["frames"], kept["bounds"], kept["speech"])


def chosen(clips: list[Clip], name: str) -> list[Clip]:
    """The clips of a cache: a split, or POOL."""
    if name != POOL:
        return [clip for clip in clips if clip.split == name]
    made = Clip(Path(), "esc10", "", UNKNOWN, "train")
    return [clip for clip in clips if clip.split in ("train", "val")] + [made] * N_SYNTHETIC
