"""How good is it: unweighted average recall (UAR) per corpus, whole utterances and their first second.

UAR is the mean of the labels' recalls; the answer is sought among the labels that the corpus has. Silence at
the ends is cut as the speech gate would, with 100 ms before and 400 ms after, since that is what the model
hears in use. Each clip is a session of its own: nothing of the speaker is known before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream.models.compact.model import Compact
from stream.models.compact.network import CompactNet, attention, moments, pool
from stream.models.compact.sizes import STEPS_PER_S
from stream.types import (
    AMBIGUOUS,
    EMOTIONS,
    HOP,
    IMPOSSIBLE,
    LABELS,
    N_LABELS,
    UNCERTAIN,
    Floats,
    Window,
    samples_for,
    softmax,
)
from training.corpus import UNKNOWN, TrainingClip, judged, labels_of
from training.encode import EncodedClips
from training.prepare import Version, decode


@dataclass(frozen=True, eq=False)
class Predictions:
    """Utterance logits (n_clips, N_LABELS) in the order of `clips`; of frames (n, N_LABELS) of `frame_clips`."""

    clips: list[TrainingClip]
    whole: Floats
    first_second: Floats
    frames: Floats  # every tenth of each clip
    frame_clips: list[TrainingClip]


@torch.inference_mode()
def predict(
    net: CompactNet, version: EncodedClips, known: Tensor | None = None, batch: int = 64
) -> Predictions:
    """Logits of every clip, computed in batches of similar lengths: padding behind a clip changes nothing.

    `known` (n_clips, n_sums): what the session knows of the voice before the clip; None: nothing.
    """
    net.eval()
    n_clips = len(version.clips)
    n_steps = version.bounds[:, 1] - version.bounds[:, 0]
    order = np.argsort(n_steps, kind="stable")
    whole = np.zeros((n_clips, N_LABELS), np.float32)
    early = np.zeros_like(whole)
    steps: list[Floats] = []
    step_clips: list[TrainingClip] = []
    for at in range(0, n_clips, batch):
        some = order[at : at + batch]
        pieces = [torch.from_numpy(version.of(int(i))) for i in some]
        encoded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        blank = torch.zeros(len(some), net.config.n_sums)
        session = blank if known is None else known[some]
        encoded = (encoded - net.encoded_mean) * net.encoded_scale
        stats = net.statistics(encoded[:, :, None], blank, session)[0][:, :, 0]
        out = net.heads((stats - net.stats_mean) * net.stats_scale)
        logits = out[..., :N_LABELS]
        weights = attention(out, stats) * (
            torch.arange(encoded.shape[1]) < torch.tensor(n_steps[some])[:, None]
        )
        whole[some] = pool(logits, weights).numpy()
        early[some] = pool(logits[:, :STEPS_PER_S], weights[:, :STEPS_PER_S]).numpy()
        for row, i in zip(logits.numpy(), some, strict=True):
            steps.append(row[: n_steps[i]])
            step_clips += [version.clips[i]] * len(steps[-1])
    return Predictions(version.clips, whole, early, np.concatenate(steps), step_clips)


def known_voices(net: CompactNet, version: EncodedClips, n_before: int = 5, seed: int = 1) -> Tensor:
    """What a session knows (n_clips, n_sums) after `n_before` other random clips of each clip's speaker."""
    rng = np.random.default_rng(seed)
    speakers = np.array([clip.speaker for clip in version.clips])
    known = torch.zeros(len(speakers), net.config.n_sums)
    for i, speaker in enumerate(speakers):
        others = np.flatnonzero(speakers == speaker)
        others = others[others != i] if speaker else others[:0]
        for other in rng.permutation(others)[:n_before]:
            encoded = (torch.from_numpy(version.of(int(other))) - net.encoded_mean) * net.encoded_scale
            known[i] += moments(encoded).sum(0)
    return known


def recalls(logits: Floats, clips: Sequence[TrainingClip], corpus: str) -> dict[int, float]:
    """Recall of each label of `corpus`, sought among the labels it has."""
    allowed = labels_of(clips)[corpus]
    rows = [i for i, clip in enumerate(clips) if clip.corpus == corpus]
    truth = np.array([clips[i].label for i in rows])
    masked = np.full((len(rows), N_LABELS), -np.inf)
    masked[:, list(allowed)] = logits[rows][:, list(allowed)]
    said = masked.argmax(axis=1)
    return {label: float(np.mean(said[truth == label] == label)) for label in allowed}


def uar(logits: Floats, clips: Sequence[TrainingClip], corpus: str) -> float:
    return float(np.mean(list(recalls(logits, clips, corpus).values())))


def mean_uar(logits: Floats, clips: Sequence[TrainingClip]) -> float:
    """Mean of the UARs of those corpora of emotional speech that `clips` have."""
    return float(np.mean([uar(logits, clips, corpus) for corpus in judged(clips)]))


def _speech(clips: Sequence[TrainingClip]) -> npt.NDArray[np.bool_]:
    """Which of `clips` (n_clips,) are of corpora of emotional speech."""
    corpora = judged(clips)
    return np.array([clip.corpus in corpora for clip in clips], bool)


def unknown_recall(logits: Floats, clips: Sequence[TrainingClip]) -> tuple[float, float]:
    """Of all nine labels: share of recorded sounds called `unknown`, and of speech called so; 0 of nothing."""
    speech = _speech(clips)
    noise = ~speech & np.array([bool(clip.path.name) for clip in clips])
    said = logits.argmax(axis=1) == UNKNOWN
    return float(said[noise].sum() / max(1, noise.sum())), float(said[speech].sum() / max(1, speech.sum()))


def calibration_error(
    logits: Floats, clips: Sequence[TrainingClip], shares: Floats | None = None, bins: int = 15
) -> float:
    """Expected calibration error over the emotional clips (or frames of such), all nine labels. `shares`
    (n_clips,): how much each counts; None: as much as any other."""
    rows = np.flatnonzero(_speech(clips)).tolist()
    probs = softmax(np.maximum(logits[rows], IMPOSSIBLE))
    right = probs.argmax(1) == np.array([clips[i].label for i in rows])
    sure = probs.max(1)
    which = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.ones(len(rows)) if shares is None else shares[rows] / shares[rows].mean()
    gaps = [abs(np.sum(((right - sure) * counts)[which == b])) for b in set(which)]
    return float(sum(gaps)) / len(rows)


def ambiguous_answers(logits: Floats, clips: Sequence[TrainingClip]) -> tuple[float, float, float]:
    """Over the emotional clips: share of answers marked ambiguous; share right of those; of the others."""
    rows = np.flatnonzero(_speech(clips)).tolist()
    probs = softmax(np.maximum(logits[rows], IMPOSSIBLE))
    second, first = np.partition(probs, -2, axis=1)[:, -2:].T
    marked = first - second < AMBIGUOUS
    right = probs.argmax(1) == np.array([clips[i].label for i in rows])
    of_them, of_others = (float(right[which].sum() / max(1, which.sum())) for which in (marked, ~marked))
    return float(marked.mean()), of_them, of_others


def uncertain_answers(
    logits: Floats, clips: Sequence[TrainingClip], shares: Floats | None = None
) -> tuple[float, float, float]:
    """As `ambiguous_answers`, of those less sure than UNCERTAIN; `shares`: see `calibration_error`."""
    rows = np.flatnonzero(_speech(clips)).tolist()
    probs = softmax(np.maximum(logits[rows], IMPOSSIBLE))
    counts = np.ones(len(rows)) if shares is None else shares[rows]
    marked = probs.max(1) < UNCERTAIN
    right = probs.argmax(1) == np.array([clips[i].label for i in rows])

    def share(of: npt.NDArray[np.bool_]) -> float:
        return float((right * counts)[of].sum() / max(1e-9, counts[of].sum()))

    return float(counts[marked].sum() / counts.sum()), share(marked), share(~marked)


def neutral_as_emotion(logits: Floats, clips: Sequence[TrainingClip]) -> float:
    """Share of the neutral clips whose likeliest label is an emotion; 0 of none."""
    neutral = np.array([LABELS[clip.label] == "neutral" for clip in clips])
    said = logits[_speech(clips) & neutral].argmax(1)
    return float(np.isin(said, EMOTIONS).mean()) if len(said) else 0.0


def through_adapter(model: Compact, version: Version, n_frames: int = 10) -> Floats:
    """Utterance logits by way of `score`, from the samples, in windows of `n_frames`, as a session would."""
    answers = []
    for i, clip in enumerate(version.clips):
        x = decode(clip.path)
        first, end = version.span(i)
        state, logits, weights, gain = None, [], [], 1.0
        for at in range(first, end, n_frames):
            n = min(n_frames, end - at)
            samples = x[at * HOP : at * HOP + samples_for(n)]
            scores = model.score([Window("clip", at, n, at == first, samples, state)])[0]
            state, gain = scores.state, scores.gain
            logits.append(scores.logits)
            weights.append(scores.weights)
        weight = np.concatenate(weights)[:, None]
        answers.append(gain * (np.concatenate(logits) * weight).sum(0) / weight.sum())
    return np.stack(answers).astype(np.float32)
