"""Random training batches: which clips, which stretch of each, and what the session knows of the voice before.

Corpora, labels and speakers are sampled evenly, so that neither size nor the recording tells the label. A stretch
begins where the speech gate would open, or anywhere inside the speech; often the session has already heard other
clips of the same voice, as sessions do. Batch k of a seed is always the same one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream.models.compact.network import CompactNet, moments
from stream.types import N_LABELS, Floats
from training.corpus import UNKNOWN, labels_of
from training.encode import EncodedClips

SHARES = {"emodb": 0.22, "ravdess": 0.24, "nemo": 0.29, "rakshak": 0.14, "esc10": 0.11}
OTHER_SHARE, OTHER_SOUNDS = 0.22, 0.11  # of corpora that are not named there: of speech, of sounds alone
LENGTHS = (7, 55)  # steps of the longest stretch of a batch
SHORTEST = 6
CLEAN = 0.5  # share of stretches from version 0


@dataclass(frozen=True, eq=False)
class Batch:
    """`encoded` (B, T, n_encoded), standardized, padded behind `lengths` (B,); `session` (B, n_sums) before it."""

    encoded: Tensor
    lengths: Tensor
    session: Tensor
    labels: Tensor  # int64 (B,)
    possible: Tensor  # bool (B, N_LABELS): the labels of the clip's corpus and `unknown`; of no speech, all

    def to(self, device: torch.device) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


class Sampler:
    """Draws batches from the clips `allowed` of `versions`; version 0 is the clean one."""

    def __init__(
        self, versions: list[EncodedClips], allowed: Iterable[int], net: CompactNet, seed: int
    ) -> None:
        """`net` has been standardized (`fit.standardize`)."""
        self._versions, self._seed = versions, seed
        self._mean, self._scale = (x.cpu().numpy() for x in (net.encoded_mean, net.encoded_scale))
        self._clips = versions[0].clips
        self._by_label: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._by_speaker: dict[str, list[int]] = defaultdict(list)
        for i in sorted(allowed):
            clip = self._clips[i]
            self._by_label[clip.corpus][clip.label].append(i)
            if clip.speaker:
                self._by_speaker[clip.speaker].append(i)
        others = sorted(set(self._by_label) - set(SHARES))
        self._corpora = [*(corpus for corpus in SHARES if corpus in self._by_label), *others]
        shares = np.array([SHARES.get(corpus) or self._share(corpus) for corpus in self._corpora])
        self._shares = shares / shares.sum()
        self._labels_of = labels_of(self._clips)
        self._odds = {
            (corpus, label): self._fair(group)
            for corpus, labels in self._by_label.items()
            for label, group in labels.items()
        }
        known = {label for labels in self._by_label.values() for label in labels}
        self._supported = np.array([label in known for label in range(N_LABELS)])

    def batch(self, size: int, number: int) -> Batch:
        """The batch `number`: `size` stretches."""
        rng = np.random.default_rng((self._seed, number))
        n_encoded, longest = len(self._mean), int(rng.integers(*LENGTHS))
        encoded = np.zeros((size, longest, n_encoded), np.float32)
        session = np.zeros((size, 2 * n_encoded + 1), np.float32)
        lengths, labels = np.zeros(size, np.int64), np.zeros(size, np.int64)
        possible = np.zeros((size, N_LABELS), bool)
        for row in range(size):
            corpus = self._corpora[rng.choice(len(self._corpora), p=self._shares)]
            labels[row] = label = int(rng.choice(list(self._by_label[corpus])))
            i = int(rng.choice(self._by_label[corpus][label], p=self._odds[corpus, label]))
            possible[row, [*self._labels_of[corpus], UNKNOWN]] = True
            if label == UNKNOWN:
                possible[row] = self._supported
            version = self._versions[0]
            if len(self._versions) > 1 and rng.random() >= CLEAN:
                version = self._versions[int(rng.integers(1, len(self._versions)))]
            steps = self._steps(version, i)
            if rng.random() < 0.3 and len(steps) > SHORTEST + 4:
                steps = steps[rng.integers(0, len(steps) - SHORTEST) :]
            steps = steps[:longest]
            lengths[row] = len(steps)
            encoded[row, : len(steps)] = steps
            friends = self._by_speaker.get(self._clips[i].speaker, [])
            if len(friends) > 3 and rng.random() < 0.4:
                for friend in rng.choice(friends, int(rng.integers(1, 6))):
                    session[row] += (
                        moments(torch.from_numpy(self._steps(version, int(friend)))).sum(0).numpy()
                    )
        arrays = (encoded, lengths, session, labels, possible)
        return Batch(*(torch.from_numpy(array) for array in arrays))

    def _share(self, corpus: str) -> float:
        return OTHER_SOUNDS if set(self._by_label[corpus]) == {UNKNOWN} else OTHER_SHARE

    def _steps(self, version: EncodedClips, i: int) -> Floats:
        return np.asarray((version.of(i) - self._mean) * self._scale, np.float32)

    def _fair(self, group: list[int]) -> npt.NDArray[np.float64]:
        """Odds of the clips of one label: halfway between even clips and even speakers."""
        names = [self._clips[i].speaker for i in group]
        counts = Counter(names)
        odds = np.array([counts[name] ** -0.5 if name else 1.0 for name in names])
        return np.asarray(odds / odds.sum())
