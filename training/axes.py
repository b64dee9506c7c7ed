"""What tells corpora apart, and must not be listened to.

Every corpus has its rooms, microphones, language and way of acting. Along some axes of the heads' inputs corpora
differ more than emotions do, and heads that read them learn which corpus it is; somebody else's microphone
then lands anywhere. So the axes between the corpora's means are taken out of what the heads read (nuisance
attribute projection, Solomonoff et al. 2005, "Advances in channel compensation for SVM speaker recognition"). A
linear step before a linear layer is part of that layer: `fold` leaves nothing to do when scoring.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stream.models.compact.network import CompactNet
from training.corpus import judged
from training.encode import EncodedClips


@torch.no_grad()
def between_corpora(net: CompactNet, version: EncodedClips, batch: int = 64) -> Tensor:
    """Orthonormal axes (corpora of speech - 1, n_stats) between the corpora's means in `version`, standardized.

    A corpus' mean is that of its labels' means: how often it has which emotion is not what tells it apart.
    """
    inputs = torch.cat([_at_the_end(net, version, at, batch) for at in range(0, len(version.clips), batch)])
    labels = np.array([clip.label for clip in version.clips])
    names = np.array([clip.corpus for clip in version.clips])
    means = []
    for corpus in judged(version.clips):
        here = names == corpus
        each = [inputs[torch.from_numpy(here & (labels == label))].mean(0) for label in set(labels[here])]
        means.append(torch.stack(each).mean(0))
    apart = torch.stack(means) - torch.stack(means).mean(0)
    axes: Tensor = torch.linalg.svd(apart, full_matrices=False)[2][: len(means) - 1]
    return axes


def without(inputs: Tensor, axes: Tensor) -> Tensor:
    """inputs (..., n_stats) less what lies along `axes`."""
    return inputs - (inputs @ axes.T) @ axes


@torch.no_grad()
def fold(net: CompactNet, axes: Tensor) -> None:
    """From now on the heads of `net` do by themselves what `without` did for them."""
    first = net.heads.first
    first.weight.copy_(without(first.weight, axes))


def _at_the_end(net: CompactNet, version: EncodedClips, at: int, batch: int) -> Tensor:
    """What the heads read at the last step of the clips from `at`: (batch, n_stats)."""
    some = range(at, min(at + batch, len(version.clips)))
    pieces = [torch.from_numpy(version.of(i)) for i in some]
    encoded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    blank = torch.zeros(len(some), net.config.n_sums)
    encoded = (encoded - net.encoded_mean) * net.encoded_scale
    stats = net.statistics(encoded[:, :, None], blank, blank)[0][:, :, 0]
    last = torch.tensor([len(piece) for piece in pieces]) - 1
    return (stats[torch.arange(len(some)), last] - net.stats_mean) * net.stats_scale
