"""How good is it: unweighted average recall (UAR) per corpus, whole utterances and their first second.

UAR is the mean of the labels' recalls; the answer is sought among the labels that the corpus has. Silence at
the ends is cut as the speech gate would, with 100 ms before and 400 ms after, since that is what the model
hears in use. Each clip is a session of its own: nothing of the speaker is known before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stream.models.compact import Compact
from stream.models.compact_net import CompactNet, pool
from stream.types import HOP, IMPOSSIBLE, LABELS, N_LABELS, Floats, Window, samples_for, softmax
from training.corpus import JUDGED, labels_of
from training.prepare import Version, decode

PRE_ROLL, HANG_OVER = 10, 40  # frames, as the gate's
FIRST_SECOND = 100  # frames


@dataclass(frozen=True, eq=False)
class Predictions:
    """Utterance logits (n_clips, N_LABELS) in the order of the version's clips."""

    whole: Floats
    first_second: Floats


def span_of(version: Version, i: int) -> tuple[int, int]:
    """The frames of clip i that the gate would let through."""
    n_frames = int(version.starts[i + 1] - version.starts[i])
    first, end = (int(at) for at in version.speech[i])
    return max(0, first - PRE_ROLL), min(n_frames, end + HANG_OVER)


@torch.inference_mode()
def predict(net: CompactNet, version: Version, known: Tensor | None = None, batch: int = 48) -> Predictions:
    """Logits of every clip, computed in batches of similar lengths: padding behind a clip changes nothing.

    `known` (n_clips, slow_size): what the session knows of voice and channel before the clip; None: nothing.
    """
    net.eval()
    spans = [span_of(version, i) for i in range(len(version.clips))]
    order = sorted(range(len(spans)), key=lambda i: spans[i][1] - spans[i][0])
    whole = np.zeros((len(spans), N_LABELS), np.float32)
    early = np.zeros_like(whole)
    for at in range(0, len(order), batch):
        chosen = order[at : at + batch]
        pieces = [torch.from_numpy(version.raw(i, *spans[i]).astype(np.float32)) for i in chosen]
        raw = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        state = net.initial_state(len(chosen))
        if known is not None:
            state[:, : net.config.slow_size] = known[chosen]
        logits, weights, _ = net(raw, state)
        lengths = torch.tensor([len(piece) for piece in pieces])
        weights = weights * (torch.arange(raw.shape[1]) < lengths[:, None])
        whole[chosen] = pool(logits, weights).numpy()
        early[chosen] = pool(logits[:, :FIRST_SECOND], weights[:, :FIRST_SECOND]).numpy()
    return Predictions(whole, early)


@torch.inference_mode()
def known_voices(net: CompactNet, version: Version, n_before: int = 5, seed: int = 1) -> Tensor:
    """The running means (n_clips, slow_size) after `n_before` other random clips of each clip's speaker."""
    rng = np.random.default_rng(seed)
    speakers = np.array([clip.speaker for clip in version.clips])
    known = torch.zeros(len(speakers), net.config.slow_size)
    for i, speaker in enumerate(speakers):
        others = np.flatnonzero(speakers == speaker)
        others = others[others != i] if speaker else others[:0]
        for other in rng.permutation(others)[:n_before]:
            raw = torch.from_numpy(version.raw(other, *span_of(version, other)).astype(np.float32))
            known[i] = net.normalise(raw[None], known[i : i + 1])[1][0]
    return known


def recalls(logits: Floats, version: Version, corpus: str) -> dict[int, float]:
    """Recall of each label of `corpus`, sought among the labels it has."""
    allowed = labels_of(version.clips)[corpus]
    rows = [i for i, clip in enumerate(version.clips) if clip.corpus == corpus]
    truth = np.array([version.clips[i].label for i in rows])
    masked = np.full((len(rows), N_LABELS), -np.inf)
    masked[:, list(allowed)] = logits[rows][:, list(allowed)]
    said = masked.argmax(axis=1)
    return {label: float(np.mean(said[truth == label] == label)) for label in allowed}


def uar(logits: Floats, version: Version, corpus: str) -> float:
    return float(np.mean(list(recalls(logits, version, corpus).values())))


def mean_uar(logits: Floats, version: Version) -> float:
    """Mean of the UARs of the corpora of emotional speech that `version` has."""
    present = {clip.corpus for clip in version.clips}
    return float(np.mean([uar(logits, version, corpus) for corpus in JUDGED if corpus in present]))


def unknown_recall(logits: Floats, version: Version) -> tuple[float, float]:
    """Among all nine labels: share of esc10 called `unknown`, and share of speech wrongly called so."""
    unknown = LABELS.index("unknown")
    noise = np.array([clip.corpus == "esc10" for clip in version.clips])
    said = logits.argmax(axis=1) == unknown
    return float(said[noise].mean()), float(said[~noise].mean())


def fit_temperature(logits: Floats, version: Version) -> float:
    """The temperature with the least cross-entropy over all nine labels, corpora weighing the same."""
    corpora = [clip.corpus for clip in version.clips]
    weights = torch.tensor([1 / corpora.count(corpus) for corpus in corpora])
    labels = torch.tensor([clip.label for clip in version.clips])
    scores = torch.from_numpy(logits)

    def loss(temperature: float) -> float:
        each = F.cross_entropy(scores / temperature, labels, reduction="none")
        return float((each * weights).sum() / weights.sum())

    return float(min(np.geomspace(0.3, 5, 120), key=loss))


def through_adapter(model: Compact, version: Version, n_frames: int = 10) -> Floats:
    """Utterance logits by way of `score`, from the samples, in windows of `n_frames`, as a session would."""
    answers = []
    for i, clip in enumerate(version.clips):
        x = decode(clip.path)
        first, end = span_of(version, i)
        state, logits, weights = None, [], []
        for at in range(first, end, n_frames):
            n = min(n_frames, end - at)
            samples = x[at * HOP : at * HOP + samples_for(n)]
            scores = model.score([Window("clip", at, n, at == first, samples, state)])[0]
            state = scores.state
            logits.append(scores.logits)
            weights.append(scores.weights)
        weight = np.concatenate(weights)[:, None]
        answers.append((np.concatenate(logits) * weight).sum(0) / weight.sum())
    return np.stack(answers).astype(np.float32)


def calibration_error(logits: Floats, version: Version, bins: int = 10) -> float:
    """Expected calibration error over the emotional clips, all nine labels."""
    rows = [i for i, clip in enumerate(version.clips) if clip.corpus in JUDGED]
    probs = softmax(np.maximum(logits[rows], IMPOSSIBLE))
    right = probs.argmax(1) == np.array([version.clips[i].label for i in rows])
    sure = probs.max(1)
    which = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(right[which == b].mean() - sure[which == b].mean()) * (which == b).mean() for b in set(which)]
    return float(sum(gaps))
