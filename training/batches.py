"""Random training batches: which clips, which stretch of each, and what is done to their features.

Corpora and labels are sampled evenly, so that neither size nor the recording tells the label. A stretch
starts and ends as the speech gate would have it, give or take, or anywhere inside the speech; half of the
time the session has already heard another clip of the same voice, as sessions do.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stream.models.compact_net import NetConfig
from stream.types import N_LABELS, Floats
from training.corpus import labels_of
from training.prepare import Version

SHARES = {"emodb": 0.24, "ravdess": 0.26, "nemo": 0.30, "rakshak": 0.12, "esc10": 0.08}
LONGEST = 400  # frames of a stretch, 4 s
SHORTEST = 30


@dataclass(frozen=True, eq=False)
class Batch:
    """`raw` (B, T, n_raw) padded behind `lengths` (B,); `before` (B, P, n_raw) was heard where `warm` (B,)."""

    raw: Tensor
    lengths: Tensor
    before: Tensor
    warm: Tensor
    labels: Tensor  # int64 (B,)
    possible: Tensor  # bool (B, N_LABELS): the labels of the clip's corpus


class Sampler:
    """Draws batches from the versions of one split; version 0 is the clean one."""

    def __init__(self, versions: list[Version], config: NetConfig, seed: int) -> None:
        self._versions, self._config = versions, config
        self._rng = np.random.default_rng(seed)
        self._clips = versions[0].clips
        self._by_label: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._by_speaker: dict[str, list[int]] = defaultdict(list)
        for i, clip in enumerate(self._clips):
            self._by_label[clip.corpus][clip.label].append(i)
            if clip.speaker:
                self._by_speaker[clip.speaker].append(i)
        self._corpora = [corpus for corpus in SHARES if corpus in self._by_label]
        shares = np.array([SHARES[corpus] for corpus in self._corpora])
        self._shares = shares / shares.sum()
        self._labels_of = labels_of(self._clips)

    def batch(self, size: int) -> Batch:
        """`size` stretches of up to a random longest length between 1 and 4 s."""
        rng, config = self._rng, self._config
        longest = int(rng.integers(100, LONGEST + 1))
        raw = np.zeros((size, longest, config.n_raw), np.float32)
        before = np.zeros((size, int(rng.integers(50, 250)), config.n_raw), np.float32)
        lengths, warm = np.zeros(size, np.int64), np.zeros(size, bool)
        labels, possible = np.zeros(size, np.int64), np.zeros((size, N_LABELS), bool)
        for row in range(size):
            corpus = self._corpora[rng.choice(len(self._corpora), p=self._shares)]
            labels[row] = rng.choice(list(self._by_label[corpus]))
            i = int(rng.choice(self._by_label[corpus][int(labels[row])]))
            possible[row, list(self._labels_of[corpus])] = True
            colour = self._colour()
            frames = self._stretch(i, longest)
            lengths[row] = len(frames)
            raw[row, : len(frames)] = frames
            raw[row, : len(frames), : config.n_mels] += colour
            friends = self._by_speaker.get(self._clips[i].speaker, [])
            if len(friends) > 1 and rng.random() < 0.5:
                warm[row] = True
                heard = self._stretch(int(rng.choice(friends)), before.shape[1])
                before[row] = np.resize(heard, before[row].shape)  # too short: heard again and again
                before[row, :, : config.n_mels] += colour
        arrays = (raw, lengths, before, warm, labels, possible)
        return Batch(*(torch.from_numpy(array) for array in arrays))

    def _stretch(self, i: int, longest: int) -> Floats:
        """A part of clip i as one span of speech might hold it: (T <= longest, n_raw)."""
        rng = self._rng
        clean = rng.random() < 0.3
        version = self._versions[0 if clean else rng.integers(len(self._versions))]
        first, end = (int(at) for at in version.speech[i])
        n_frames = int(version.starts[i + 1] - version.starts[i])
        end = min(n_frames, end + int(rng.integers(0, 41)))
        if rng.random() < 0.6:
            start = max(0, first - int(rng.integers(0, 21)))
        else:
            start = int(rng.integers(first, max(first + 1, end - 60)))
        start = max(0, min(start, end - SHORTEST))
        if rng.random() < 0.15:
            longest = int(rng.integers(SHORTEST, longest + 1))
        return version.raw(i, start, min(end, start + longest)).astype(np.float32)

    def _colour(self) -> Floats:
        """A smooth random filter in nats per band (n_mels,): microphones, distances, handsets."""
        rng = self._rng
        bands = np.linspace(0, np.pi, self._config.n_mels)
        curve = sum(rng.normal(0, 0.5 / k) * np.cos(k * bands) for k in (1, 2, 3))
        return np.asarray(curve, np.float32)


def mask_inputs(inputs: Tensor, config: NetConfig, rng: np.random.Generator) -> Tensor:
    """SpecAugment on normalised inputs (B, T, n_in), in place: bands, moments and sometimes all of prosody."""
    n_batch, n_frames = inputs.shape[:2]
    n_mels = config.n_mels
    for row in range(n_batch):
        for _ in range(2):
            width = int(rng.integers(0, 11))
            band = int(rng.integers(0, n_mels - width))
            inputs[row, :, band : band + width] = 0
            inputs[row, :, n_mels + band : n_mels + band + width] = 0
            width = int(rng.integers(0, min(25, n_frames // 4) + 1))
            moment = int(rng.integers(0, n_frames - width))
            inputs[row, moment : moment + width] = 0
        part = rng.random()
        if part < 0.1:
            inputs[row, :, 2 * n_mels :] = 0
        elif part < 0.2:
            inputs[row, :, :n_mels] = 0
    return inputs
