"""Features through the encoder, once: steps of 100 ms, from where the speech gate would open.

The encoder is done learning (`training.distil`), so every version of every clip goes through it a single time, by
the network's own `encode`, and fitting sees nothing but its steps: minutes instead of hours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress

from stream.models.compact.invariance import pack_weights
from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import GROUP, NetConfig
from stream.types import ceil_div
from training.corpus import TrainingClip
from training.distil import transplant
from training.prepare import Version, bounds_of, chosen, mel_filters, open_version
from training.teacher import Teacher

BATCH = 64


@dataclass(frozen=True, eq=False)
class EncodedClips:
    """Clips as steps (n_encoded each, not standardized); clip i is `steps[bounds[i, 0] : bounds[i, 1]]`."""

    clips: list[TrainingClip]
    steps: npt.NDArray[np.float16]
    bounds: npt.NDArray[np.int64]  # (n_clips, 2)

    def of(self, i: int) -> npt.NDArray[np.float32]:
        return self.steps[slice(*self.bounds[i])].astype(np.float32)

    def only(self, rows: Iterable[int]) -> EncodedClips:
        """Some of the clips."""
        some = sorted(rows)
        return EncodedClips([self.clips[i] for i in some], self.steps, self.bounds[some])


def untrained(config: NetConfig) -> CompactNet:
    """The network with its filters and the teacher's encoder; the heads are random, nothing is standardized."""
    net = CompactNet(config)
    net.features.mel.copy_(torch.from_numpy(mel_filters(config.n_mels)))
    transplant(net.encoder, Teacher())
    return net


@torch.inference_mode()
def encode(net: CompactNet, version: Version) -> EncodedClips:
    """All clips of `version`, in batches of similar lengths: what follows a clip changes nothing in it."""
    net.eval()
    spans = [version.span(i) for i in range(len(version.clips))]
    n_steps = np.array([ceil_div(end - start, GROUP) for start, end in spans])
    bounds = bounds_of(list(n_steps))
    steps = np.zeros((int(bounds[-1, 1]), net.config.n_encoded), np.float16)
    order = np.argsort(n_steps, kind="stable")
    for at in range(0, len(order), BATCH):
        some = order[at : at + BATCH]
        raw = np.zeros((len(some), int(n_steps[some].max()) * GROUP, net.config.n_raw), np.float32)
        for row, i in zip(raw, some, strict=True):
            frames = version.raw(int(i), *spans[i])
            row[: len(frames)] = frames
            row[len(frames) :] = frames[-1]
        blank = torch.zeros(len(some), sum(net.config.encoder.cache_sizes))
        encoded, _, _ = net.encode(torch.from_numpy(raw), torch.zeros(len(some), 2), blank)
        for row, i in zip(encoded[:, :, -1].numpy(), some, strict=True):
            steps[slice(*bounds[i])] = row[: n_steps[i]]
    return EncodedClips(version.clips, steps, bounds)


def prepare_encoded(
    net: CompactNet, clips: list[TrainingClip], wanted: list[tuple[str, int]], work: Path
) -> None:
    """Write `heard-{name}-{version}.npz` from what `prepare` wrote. Files that exist are kept."""
    wanted = [at for at in wanted if not _file(*at, work).exists()]
    net = copy.deepcopy(net)
    pack_weights(net, "auto")  # as it will be served
    with Progress() as progress:
        for name, version in progress.track(wanted, description="encoder"):
            found = encode(net, open_version(clips, name, version, work))
            partial = _file(name, version, work).with_suffix(".part")
            with partial.open("wb") as file:
                np.savez(file, steps=found.steps, bounds=found.bounds)
            partial.replace(_file(name, version, work))


def open_encoded(clips: list[TrainingClip], name: str, version: int, work: Path) -> EncodedClips:
    """What `prepare_encoded` wrote."""
    with np.load(_file(name, version, work), allow_pickle=False) as kept:
        return EncodedClips(chosen(clips, name), kept["steps"], kept["bounds"])


def _file(name: str, version: int, work: Path) -> Path:
    return work / f"heard-{name}-{version}.npz"
