"""Features to what the voice encoder makes of them, once: steps of 50 ms, from where the speech gate would open.

The encoder is not trained here (`training/ENCODER.md`), so every version of every clip goes through it a single
time, by the network's own `listen`, and fitting sees nothing but its steps: minutes instead of hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from scipy.optimize import nnls

from stream.models.compact_net import ENCODER_BANDS, GROUP, N_FFT, CompactNet, NetConfig
from stream.types import SAMPLE_RATE
from training.corpus import Clip
from training.prepare import Version, chosen, mel_filters, open_version

ENCODER = Path(__file__).parent / "encoder.npz"
PRE_ROLL, HANG_OVER = 10, 40  # frames, as the gate's
LONGEST = 600  # frames of a clip that are heard
BATCH = 64


@dataclass(frozen=True, eq=False)
class Heard:
    """Clips as steps (n_heard each, not standardised); clip i is `steps[bounds[i, 0] : bounds[i, 1]]`."""

    clips: list[Clip]
    steps: npt.NDArray[np.float16]
    bounds: npt.NDArray[np.int64]  # (n_clips, 2)

    def of(self, i: int) -> npt.NDArray[np.float32]:
        return self.steps[slice(*self.bounds[i])].astype(np.float32)

    def only(self, rows: Iterable[int]) -> Heard:
        """Some of the clips."""
        some = sorted(rows)
        return Heard([self.clips[i] for i in some], self.steps, self.bounds[some])


def untrained(config: NetConfig) -> CompactNet:
    """The network with its filters and its encoder; the heads are random, nothing is standardised."""
    net = CompactNet(config)
    net.mel.copy_(torch.from_numpy(mel_filters(config.n_mels)))
    net.to_encoder.copy_(torch.from_numpy(encoder_map(config.n_mels)))
    with np.load(ENCODER, allow_pickle=False) as arrays:
        net.encoder.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    net.encoder.requires_grad_(False)
    return net


def encoder_map(n_mels: int) -> npt.NDArray[np.float32]:
    """(n_mels, ENCODER_BANDS): the encoder's mel bands as sums of ours, by least squares, none negative.

    The encoder was trained on windows of 400 samples without padding: hence the factor.
    """
    wanted = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=ENCODER_BANDS, norm="slaney").T
    wanted = wanted * (400 / N_FFT)
    ours = mel_filters(n_mels)
    return np.stack([nnls(ours, column)[0] for column in wanted.T], 1).astype(np.float32)


def span_of(version: Version, i: int) -> tuple[int, int]:
    """The frames of clip i that the gate would let through."""
    n_frames = int(version.bounds[i, 1] - version.bounds[i, 0])
    first, end = (int(at) for at in version.speech[i])
    start = min(max(0, first - PRE_ROLL), max(0, n_frames - 30))
    return start, min(max(end + HANG_OVER, start + 10), n_frames)


@torch.inference_mode()
def hear(net: CompactNet, version: Version) -> Heard:
    """All clips of `version`, in batches of similar lengths: what follows a clip changes nothing in it."""
    net.eval()
    whole = [span_of(version, i) for i in range(len(version.clips))]
    spans = [(start, min(end, start + LONGEST)) for start, end in whole]
    n_steps = np.array([-(-(end - start) // GROUP) for start, end in spans])
    ends = np.cumsum(n_steps)
    bounds = np.stack([ends - n_steps, ends], axis=1)
    steps = np.zeros((int(ends[-1]), net.config.n_heard), np.float16)
    order = np.argsort(n_steps, kind="stable")
    for at in range(0, len(order), BATCH):
        some = order[at : at + BATCH]
        raw = np.zeros((len(some), int(n_steps[some].max()) * GROUP, net.config.n_raw), np.float32)
        for row, i in zip(raw, some, strict=True):
            frames = version.raw(int(i), *spans[i])
            row[: len(frames)] = frames
            row[len(frames) :] = frames[-1]
        blank = torch.zeros(2, len(some), net.config.encoder)
        heard, _, _ = net.listen(torch.from_numpy(raw), torch.zeros(len(some), 2), (blank, blank))
        for row, i in zip(heard.numpy(), some, strict=True):
            steps[slice(*bounds[i])] = row[: n_steps[i]]
    return Heard(version.clips, steps, bounds)


def prepare_heard(net: CompactNet, clips: list[Clip], wanted: list[tuple[str, int]], work: Path) -> None:
    """Write `heard-{name}-{version}.npz` from what `prepare` wrote. Files that exist are kept."""
    wanted = [at for at in wanted if not _file(*at, work).exists()]
    with Progress() as progress:
        for name, version in progress.track(wanted, description="voice encoder"):
            found = hear(net, open_version(clips, name, version, work))
            partial = _file(name, version, work).with_suffix(".part")
            with partial.open("wb") as file:
                np.savez(file, steps=found.steps, bounds=found.bounds)
            partial.replace(_file(name, version, work))


def open_heard(clips: list[Clip], name: str, version: int, work: Path) -> Heard:
    """What `prepare_heard` wrote."""
    with np.load(_file(name, version, work), allow_pickle=False) as kept:
        return Heard(chosen(clips, name), kept["steps"], kept["bounds"])


def _file(name: str, version: int, work: Path) -> Path:
    return work / f"heard-{name}-{version}.npz"
