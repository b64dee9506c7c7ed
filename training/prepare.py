"""Clips to features, once: decode, mark where the speech is, augment, and keep what the network hears.

Features are computed by the network's own `features`, so that training and serving cannot drift apart. Of
each training clip several augmented versions are kept beside the clean one; `val` and `test` are kept clean.
The cache is one float16 array per split and version, in `training/work/`, which git ignores.
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

from stream.models.compact_net import N_FFT, CompactNet, NetConfig
from stream.types import FRAME, HOP, LABELS, SAMPLE_RATE, Floats
from training.augment import Surroundings, augment, synthetic_noise
from training.corpus import Clip

N_SYNTHETIC = 120  # clips of synthetic noise among the training clips, labelled `unknown`


@dataclass(frozen=True, eq=False)
class Version:
    """The clips of one split, as features; clip i is `frames[starts[i] : starts[i + 1]]`."""

    clips: list[Clip]
    frames: npt.NDArray[np.float16]  # (sum of T, n_raw)
    starts: npt.NDArray[np.int64]  # (n_clips + 1,)
    speech: npt.NDArray[np.int64]  # (n_clips, 2): first speech frame and the end, within the clip

    def raw(self, i: int, start: int = 0, end: int | None = None) -> npt.NDArray[np.float16]:
        """Frames [start, end) of clip i: (T, n_raw)."""
        clip = self.frames[self.starts[i] : self.starts[i + 1]]
        return clip[start:end]


def untrained(config: NetConfig) -> CompactNet:
    """The network with its mel filters set: librosa makes them here, the weights file brings them later."""
    net = CompactNet(config)
    filters = librosa.filters.mel(
        sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=config.n_mels, fmin=60, fmax=7600, norm="slaney"
    )
    net.mel.copy_(torch.from_numpy(filters.T))
    return net


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
    """Rooms and noises; of esc10 only the training clips, since the others are judged."""
    rooms = []
    for path in sorted((folder / "rir").glob("*.flac")):
        room = decode(path)[: SAMPLE_RATE // 2]
        room = room[int(np.abs(room).argmax()) :]
        rooms.append(np.asarray(room / np.sqrt(np.sum(room * room)), np.float32))
    noises = [decode(path) for path in sorted((folder / "noise").glob("*.flac"))]
    noises += [decode(clip.path) for clip in clips if clip.corpus == "esc10" and clip.split == "train"]
    return Surroundings(rooms, noises)


@torch.inference_mode()
def features(net: CompactNet, x: Floats) -> Floats:
    """float32 (T, n_raw); clips shorter than a frame are filled up with silence."""
    x = np.pad(x, (0, max(0, FRAME - len(x))))
    return np.asarray(net.features(torch.from_numpy(x)[None])[0].numpy(), np.float32)


def prepare(folder: Path, clips: list[Clip], net: CompactNet, versions: int, work: Path) -> None:
    """Write the cache: `{split}-{version}.npz`, version 0 clean. Files that exist are kept."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = [("val", 0), ("test", 0), *(("train", version) for version in range(versions + 1))]
    around = surroundings(folder, clips)
    with Progress() as progress:
        for split, version in wanted:
            target = work / f"{split}-{version}.npz"
            if target.exists():
                continue
            rng = np.random.default_rng((version, len(split)))
            rows: list[npt.NDArray[np.float16]] = []
            speech = []
            chosen = _with_noise(clips, split)
            for clip in progress.track(chosen, description=f"{split} {version}"):
                x = decode(clip.path) if clip.path.name else synthetic_noise(4 * SAMPLE_RATE, rng)
                spoken = speech_frames(x)
                if version:
                    before, x = len(x), augment(x, around, rng)
                    spoken = (spoken[0] * len(x) // before, spoken[1] * len(x) // before)
                rows.append(features(net, x).astype(np.float16))
                speech.append((spoken[0], min(spoken[1], len(rows[-1]))))
            starts = np.cumsum([0, *map(len, rows)])
            np.savez(target, frames=np.concatenate(rows), starts=starts, speech=np.array(speech))


def open_version(clips: list[Clip], split: str, version: int, work: Path) -> Version:
    """What `prepare` wrote."""
    with np.load(work / f"{split}-{version}.npz", allow_pickle=False) as kept:
        chosen = _with_noise(clips, split)
        if len(chosen) + 1 != len(kept["starts"]):
            raise ValueError(f"{work} was made from other data: remove it and prepare again")
        return Version(chosen, kept["frames"], kept["starts"], kept["speech"])


def _with_noise(clips: list[Clip], split: str) -> list[Clip]:
    chosen = [clip for clip in clips if clip.split == split]
    if split != "train":
        return chosen
    silence = Clip(Path(), "esc10", "", LABELS.index("unknown"), "train")
    return chosen + [silence] * N_SYNTHETIC
