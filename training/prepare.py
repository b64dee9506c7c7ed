"""Clips to features, once: decode, mark where the speech is, augment, and keep what the network hears.

Features are computed by the network's own `features`, so that training and serving cannot drift apart. Of each
clip of `train` and `val` several augmented versions are kept beside the clean one; `test` is kept clean. Among
them are sounds made here (`training.sounds`), other ones in each version. Beside each version lies what the
teacher says of the same voice before anything happened to it on its way. The cache is float16, in
`training/cache/`, which git ignores.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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

from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import N_FFT
from stream.types import FRAME, HOP, SAMPLE_RATE, Floats
from training.augment import Surroundings, add_noise, augment, paced
from training.corpus import UNKNOWN, TrainingClip, judged
from training.sounds import synthetic
from training.teacher import Teacher

MEL_HZ = (60.0, 7600.0)
POOL = "pool"  # the clips of train and val together, and N_SYNTHETIC sounds labeled `unknown`
N_SYNTHETIC = 500
BY_PHONE = 6  # every sixth version comes by telephone altogether
N_VOICES = 500  # clips that babble is made of
PRE_ROLL, HANG_OVER = 10, 40  # frames, as the speech gate's
LONGEST = 600  # frames of a clip that are heard


@dataclass(frozen=True, eq=False)
class Version:
    """Clips as features; clip i is `frames[bounds[i, 0] : bounds[i, 1]]`."""

    clips: list[TrainingClip]
    frames: npt.NDArray[np.float16]  # (sum of T, n_raw)
    bounds: npt.NDArray[np.int64]  # (n_clips, 2)
    speech: npt.NDArray[np.int64]  # (n_clips, 2): first speech frame and the end, within the clip
    taught: npt.NDArray[np.float16]  # (sum of steps, the teacher's width), of the clips' spans
    taught_bounds: npt.NDArray[np.int64]  # (n_clips, 2)

    def span(self, i: int) -> tuple[int, int]:
        """The frames of clip i that are heard."""
        return span_of((int(self.speech[i, 0]), int(self.speech[i, 1])), int(np.diff(self.bounds[i])[0]))

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


def surroundings(folder: Path, clips: list[TrainingClip]) -> Surroundings:
    """Rooms, noises and voices; nothing of split `test`."""
    rooms = []
    for path in sorted((folder / "rir").glob("*.flac")):
        room = decode(path)[: SAMPLE_RATE // 2]
        room = room[int(np.abs(room).argmax()) :]
        rooms.append(np.asarray(room / np.sqrt(np.sum(room * room)), np.float32))
    noises = [decode(path) for path in sorted((folder / "noise").glob("*.flac"))]
    noises += [decode(clip.path) for clip in clips if clip.label == UNKNOWN and clip.split == "train"]
    speech = judged(clips)
    spoken = [clip for clip in clips if clip.corpus in speech and clip.split == "train"]
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(spoken), min(N_VOICES, len(spoken)), replace=False)
    voices = [np.asarray(decode(spoken[i].path) * 32767, np.int16) for i in chosen]
    return Surroundings(rooms, noises, voices)


@torch.inference_mode()
def features(net: CompactNet, x: Floats) -> Floats:
    """float32 (T, n_raw); clips shorter than a frame are filled up with silence."""
    x = np.pad(x, (0, max(0, FRAME - len(x))))
    return np.asarray(net.features(torch.from_numpy(x)[None])[0].numpy(), np.float32)


def span_of(spoken: tuple[int, int], n_frames: int) -> tuple[int, int]:
    """The frames [start, end) of a clip of `n_frames` that the gate would let through, LONGEST at most."""
    first, end = spoken
    start = min(max(0, first - PRE_ROLL), max(0, n_frames - 30))
    return start, min(max(end + HANG_OVER, start + 10), n_frames, start + LONGEST)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One version of one clip."""

    frames: npt.NDArray[np.float16]  # (T, n_raw)
    taught: npt.NDArray[np.float16]  # (steps of its span, the teacher's width)
    speech: tuple[int, int]


def prepare(
    folder: Path, clips: list[TrainingClip], net: CompactNet, versions: int, work: Path, threads: int
) -> None:
    """Write the cache: `{name}-{version}.npz`, version 0 clean. Files that exist are kept."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = [("test", 0), *((POOL, version) for version in range(versions + 1))]
    wanted = [(name, version) for name, version in wanted if not (work / f"{name}-{version}.npz").exists()]
    if not wanted:
        return
    around, teacher = surroundings(folder, clips), Teacher()
    with Progress() as progress, ThreadPoolExecutor(threads) as pool:
        for name, version in wanted:

            def make(
                job: tuple[int, TrainingClip],
                version: int = version,
                seeds: tuple[int, int] = (version, len(name)),
            ) -> Prepared:
                return prepared(
                    job[1], version, around, net, teacher, np.random.default_rng((*seeds, job[0]))
                )

            some = chosen(clips, name)
            made = pool.map(make, enumerate(some))
            rows = list(progress.track(made, total=len(some), description=f"{name} {version}"))
            target = work / f"{name}-{version}.npz"
            partial = target.with_suffix(".part")
            with partial.open("wb") as file:
                np.savez(
                    file,
                    frames=np.concatenate([row.frames for row in rows]),
                    bounds=bounds_of([len(row.frames) for row in rows]),
                    speech=np.array([row.speech for row in rows]),
                    taught=np.concatenate([row.taught for row in rows]),
                    taught_bounds=bounds_of([len(row.taught) for row in rows]),
                )
            partial.replace(target)


def bounds_of(lengths: list[int]) -> npt.NDArray[np.int64]:
    """Where pieces of these lengths begin and end when laid one behind the other: (n, 2)."""
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1)


def prepared(
    clip: TrainingClip,
    version: int,
    around: Surroundings,
    net: CompactNet,
    teacher: Teacher,
    rng: np.random.Generator,
) -> Prepared:
    """Features of what a microphone would give; the teacher hears the voice itself."""
    voice, heard, spoken = _heard(clip, version, around, rng)
    frames = features(net, heard)
    spoken = spoken[0], min(spoken[1], len(frames))
    start, end = span_of(spoken, len(frames))
    taught = teacher.steps(voice[start * HOP : (end - 1) * HOP + FRAME])
    return Prepared(frames.astype(np.float16), taught.astype(np.float16), spoken)


def _heard(
    clip: TrainingClip, version: int, around: Surroundings, rng: np.random.Generator
) -> tuple[Floats, Floats, tuple[int, int]]:
    """Samples of one version of a clip, before and after its journey, and where its speech is."""
    if not clip.path.name:
        x = synthetic(int(rng.uniform(1.5, 4) * SAMPLE_RATE), around.voices, rng)
        return x, x, (0, len(x) // HOP)
    x = decode(clip.path)
    spoken = speech_frames(x)
    if not version:
        return x, x, spoken
    before = len(x)
    if clip.label == UNKNOWN:
        x = soxr.resample(x, SAMPLE_RATE, SAMPLE_RATE * rng.uniform(0.6, 1.6), quality="MQ")
        if rng.random() < 0.3:
            x = add_noise(x, around.noises[rng.integers(len(around.noises))], rng.uniform(-5, 10), rng)
    x = paced(x, rng)
    heard = augment(x, around, rng, phone=1.0 if version % BY_PHONE == 0 else 0.35)
    return x, heard, (spoken[0] * len(x) // before, spoken[1] * len(x) // before)


def open_version(clips: list[TrainingClip], name: str, version: int, work: Path) -> Version:
    """What `prepare` wrote."""
    with np.load(work / f"{name}-{version}.npz", allow_pickle=False) as kept:
        mine = chosen(clips, name)
        if len(mine) != len(kept["bounds"]):
            raise ValueError(f"{work} was made from other data: remove it and prepare again")
        arrays = {name: kept[name] for name in kept.files}
    return Version(clips=mine, **arrays)


def chosen(clips: list[TrainingClip], name: str) -> list[TrainingClip]:
    """The clips of a cache: a split, or POOL."""
    if name != POOL:
        return [clip for clip in clips if clip.split == name]
    made = TrainingClip(Path(), "esc10", "", UNKNOWN, "train")
    return [clip for clip in clips if clip.split in ("train", "val")] + [made] * N_SYNTHETIC
