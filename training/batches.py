"""Random training batches: which clips, which stretch of each, and what is done to their features.

Corpora, labels and speakers are sampled evenly, so that neither size nor the recording tells the label. A stretch
starts and ends as the speech gate would have it, give or take, or anywhere inside the speech; often the session
has already heard another clip of the same voice, as sessions do. Batch k of a seed is always the same one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import librosa
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream.models.compact_net import NetConfig
from stream.types import N_LABELS, Floats
from training.corpus import labels_of
from training.prepare import MEL_HZ, UNKNOWN, Version

SHARES = {"emodb": 0.22, "ravdess": 0.25, "nemo": 0.28, "rakshak": 0.12, "esc10": 0.13}
LONGEST = 400  # frames of a stretch, 4 s
SHORTEST = 30
WARPS = np.linspace(0.9, 1.1, 21)  # vocal tracts, relative to the speaker's own


@dataclass(frozen=True, eq=False)
class Batch:
    """`raw` (B, T, n_raw) padded behind `lengths` (B,); `before` (B, P, n_raw) was heard where `warm` (B,)."""

    raw: Tensor
    lengths: Tensor
    before: Tensor
    warm: Tensor
    labels: Tensor  # int64 (B,)
    possible: Tensor  # bool (B, N_LABELS): the labels of the clip's corpus and `unknown`; of no speech, all
    bands: Tensor  # float32 (B, n_in), 0 where an input is masked
    moments: Tensor  # float32 (B, T), 0 where a moment is masked

    def to(self, device: torch.device) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


class Sampler:
    """Draws batches from the clips `allowed` of `versions`; version 0 is the clean one."""

    def __init__(self, versions: list[Version], allowed: Iterable[int], config: NetConfig, seed: int) -> None:
        self._versions, self._config, self._seed = versions, config, seed
        self._clips = versions[0].clips
        self._by_label: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._by_speaker: dict[str, list[int]] = defaultdict(list)
        for i in sorted(allowed):
            clip = self._clips[i]
            self._by_label[clip.corpus][clip.label].append(i)
            if clip.speaker:
                self._by_speaker[clip.speaker].append(i)
        self._corpora = [corpus for corpus in SHARES if corpus in self._by_label]
        shares = np.array([SHARES[corpus] for corpus in self._corpora])
        self._shares = shares / shares.sum()
        self._labels_of = labels_of(self._clips)
        self._odds = {
            (corpus, label): self._fair(group)
            for corpus, labels in self._by_label.items()
            for label, group in labels.items()
        }
        self._hz = librosa.mel_frequencies(config.n_mels + 2, fmin=MEL_HZ[0], fmax=MEL_HZ[1])[1:-1]
        self._warps = [_warp(factor, self._hz) for factor in WARPS]

    def batch(self, size: int, number: int) -> Batch:
        """The batch `number`: `size` stretches of up to a random longest length between 1 and 4 s."""
        rng, config = np.random.default_rng((self._seed, number)), self._config
        longest = int(rng.integers(100, LONGEST + 1))
        raw = np.zeros((size, longest, config.n_raw), np.float32)
        before = np.zeros((size, int(rng.integers(50, 250)), config.n_raw), np.float32)
        lengths, warm = np.zeros(size, np.int64), np.zeros(size, bool)
        labels, possible = np.zeros(size, np.int64), np.zeros((size, N_LABELS), bool)
        for row in range(size):
            corpus = self._corpora[rng.choice(len(self._corpora), p=self._shares)]
            labels[row] = rng.choice(list(self._by_label[corpus]))
            group = self._by_label[corpus][int(labels[row])]
            i = int(rng.choice(group, p=self._odds[corpus, int(labels[row])]))
            possible[row, list(self._labels_of[corpus])] = True
            possible[row, UNKNOWN] = True
            if labels[row] == UNKNOWN:
                possible[row] = self._can_say
            colour = self._colour(rng)
            warp = self._warps[rng.integers(len(self._warps))] if rng.random() < 0.5 else None
            line = self._line(rng) if rng.random() < 0.2 else None
            frames = self._stretch(i, longest, rng)
            lengths[row] = len(frames)
            raw[row, : len(frames)] = self._change(frames, colour, warp, line)
            friends = self._by_speaker.get(self._clips[i].speaker, [])
            if len(friends) > 1 and rng.random() < 0.35:
                warm[row] = True
                heard = self._stretch(int(rng.choice(friends)), before.shape[1], rng)
                heard = self._change(heard, colour, warp, line)
                before[row] = np.resize(heard, before[row].shape)  # too short: heard again and again
        bands, moments = masks(size, longest, config, rng)
        arrays = (raw, lengths, before, warm, labels, possible, bands, moments)
        return Batch(*(torch.from_numpy(array) for array in arrays))

    @property
    def _can_say(self) -> npt.NDArray[np.bool_]:
        heard = {label for labels in self._by_label.values() for label in labels}
        return np.array([label in heard for label in range(N_LABELS)])

    def _fair(self, group: list[int]) -> Floats:
        """Odds of the clips of one label: halfway between even clips and even speakers."""
        names = [self._clips[i].speaker for i in group]
        counts = Counter(names)
        odds = np.array([counts[name] ** -0.5 if name else 1.0 for name in names])
        return np.asarray(odds / odds.sum())

    def _stretch(self, i: int, longest: int, rng: np.random.Generator) -> Floats:
        """A part of clip i as one span of speech might hold it: (T <= longest, n_raw)."""
        clean = rng.random() < 0.25
        version = self._versions[0 if clean else rng.integers(len(self._versions))]
        first, end = (int(at) for at in version.speech[i])
        n_frames = int(version.bounds[i, 1] - version.bounds[i, 0])
        end = min(n_frames, end + int(rng.integers(0, 41)))
        if rng.random() < 0.65:
            start = max(0, first - int(rng.integers(0, 21)))
        else:
            start = int(rng.integers(first, max(first + 1, end - 60)))
        start = max(0, min(start, end - SHORTEST))
        if rng.random() < 0.2:
            longest = int(rng.integers(SHORTEST, longest + 1))
        return version.raw(i, start, min(end, start + longest)).astype(np.float32)

    def _change(
        self, frames: Floats, colour: Floats, warp: Floats | None, line: tuple[int, int, float] | None
    ) -> Floats:
        """Frames (T, n_raw) of another vocal tract, by another microphone, over a narrower line."""
        mels = frames[:, : self._config.n_mels]
        if warp is not None:
            mels[:] = mels @ warp
        mels += colour
        if line is not None:
            low, high, depth = line
            floor = np.log(np.exp(mels[:, low:high]).mean()) - depth
            for gone in (mels[:, :low], mels[:, high:]):
                np.minimum(gone, floor, out=gone)
        return frames

    def _line(self, rng: np.random.Generator) -> tuple[int, int, float]:
        """The bands that a line lets through, and how far below the voice (nats) its own noise is."""
        low, high = np.searchsorted(self._hz, [rng.uniform(180, 400), rng.uniform(3000, 3900)])
        if rng.random() < 0.3:
            high = self._config.n_mels
        return int(low), int(high), float(rng.uniform(6, 14))

    def _colour(self, rng: np.random.Generator) -> Floats:
        """A smooth random filter in nats per band (n_mels,): microphones, distances, handsets."""
        bands = np.linspace(0, np.pi, self._config.n_mels)
        curve = sum(rng.normal(0, 0.5 / k) * np.cos(k * bands) for k in (1, 2, 3))
        return np.asarray(curve, np.float32)


def _warp(factor: float, hz: npt.NDArray[np.float64]) -> Floats:
    """(n_mels, n_mels): log mels @ this are those of a vocal tract `factor` times as short."""
    n_mels = len(hz)
    at = np.interp(hz / factor, hz, np.arange(n_mels))
    low = np.minimum(at.astype(int), n_mels - 2)
    matrix = np.zeros((n_mels, n_mels), np.float32)
    matrix[low, np.arange(n_mels)] = 1 - (at - low)
    matrix[low + 1, np.arange(n_mels)] += at - low
    return matrix


def masks(size: int, longest: int, config: NetConfig, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """SpecAugment on normalised inputs: bands, moments, the low bands as on a bad line, all of prosody."""
    bands, moments = np.ones((size, config.n_in), np.float32), np.ones((size, longest), np.float32)
    n_mels = config.n_mels
    for row in range(size):
        spans = [(int(rng.integers(0, n_mels - 11)), int(rng.integers(0, 11))) for _ in range(2)]
        if rng.random() < 0.15:
            spans.append((0, int(rng.integers(3, 13))))
        for band, width in spans:
            bands[row, band : band + width] = 0
            bands[row, n_mels + band : n_mels + band + width] = 0
        for _ in range(2):
            width = int(rng.integers(0, min(25, longest // 4) + 1))
            moment = int(rng.integers(0, longest - width))
            moments[row, moment : moment + width] = 0
        part = rng.random()
        if part < 0.1:
            bands[row, 2 * n_mels :] = 0
        elif part < 0.2:
            bands[row, :n_mels] = 0
    return bands, moments
