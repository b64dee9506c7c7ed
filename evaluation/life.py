"""What the answers are worth where people talk: most speech is neutral, and most alerts should not be.

Benchmarks have every label alike; a microphone does not. So: how neutral speech is shown, what alerts it would
have brought, which share of all alerts is right when little of the speech is emotional, and calibration and
accuracy with clips counted as often as a conversation has their label (`stream.prior`). Arousal and valence are
judged by AUC, the chance that of two clips of different kind the right one has more, whatever the labels' shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Assessment, Drawn, Estimate, Voices, assess, draw, join, share
from evaluation.metrics import Numbers, tabulate
from stream.affect import affects
from stream.prior import CONVERSATION, log_weights
from stream.types import EMOTIONS, FRAMES_PER_S, LABELS, N_LABELS, UNCERTAIN, Floats

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

NEUTRAL, UNKNOWN = LABELS.index("neutral"), LABELS.index("unknown")
EMOTIONAL = (0.05, 0.1, 0.3)  # shares of speech for which alerts are judged
AROUSED = (("angry", "happy"), ("neutral", "sad"))  # clearly more, clearly less
PLEASANT = (("happy",), ("angry", "disgusted", "fearful", "sad"))


@dataclass(frozen=True, eq=False)
class Life:
    """Of one condition, whole utterances, nine-way. None: there are no clips of that kind."""

    neutral_clips: int
    neutral_hours: float  # of neutral speech
    as_emotion: dict[str, Estimate]  # by corpus: neutral clips whose likeliest label is an emotion
    as_emotion_mean: float | None
    false_emotions_per_hour: float | None  # of neutral speech
    false_alerts_per_hour: float | None
    alerts_right: dict[float, float | None]  # by share of emotional speech
    uncertain: Estimate | None  # share of the answers
    uncertain_right: Estimate | None  # of those
    certain_right: Estimate | None  # of the others
    arousal_auc: dict[str, float]  # by corpus
    valence_auc: dict[str, float]
    mixed: Assessment | None  # all clips of speech, weighted as a conversation has their labels


@dataclass(frozen=True, eq=False)
class ToJudge:
    """What there is to judge: a row per clip."""

    corpora: Sequence[str]
    truth: Integers
    probs: Floats  # (n, N_LABELS), NaN rows where nothing was said
    speech_frames: Integers
    alerts: Sequence[tuple[int, ...]]  # the labels of those that each would have raised


def judge(of: ToJudge, who: Mapping[str, Voices], seeds: Mapping[str, int], emotional: Sequence[str]) -> Life:
    """`emotional`: corpora that have two labels or more. `who`, `seeds`: by corpus, of all its clips in order."""
    corpora = np.array(of.corpora)
    spoke = ~np.isnan(of.probs[:, 0])
    best = np.where(spoke, np.nan_to_num(of.probs).argmax(1), UNKNOWN)
    neutral = (of.truth == NEUTRAL) & np.isin(corpora, emotional)
    felt = np.isin(of.truth, EMOTIONS)
    shown = np.isin(best, EMOTIONS)
    hours = float(of.speech_frames[neutral].sum()) / FRAMES_PER_S / 3600
    n_alerts = np.array([len(labels) for labels in of.alerts])
    n_right = np.array([int(t in labels) for t, labels in zip(of.truth, of.alerts, strict=True)])

    def drawn(rows: Numbers, corpus: str) -> Drawn:
        return draw(rows[corpora == corpus], who[corpus], seeds[corpus])

    def rate(hits: Flags, chosen: Flags, among: Sequence[str] = emotional) -> Estimate | None:
        rows = np.stack([hits & chosen, chosen], axis=1).astype(np.float64)
        among = [corpus for corpus in among if (chosen & (corpora == corpus)).any()]
        return share(join([drawn(rows, corpus) for corpus in among])) if among else None

    by_corpus = {corpus: rate(shown, neutral, [corpus]) for corpus in emotional}
    as_emotion = {corpus: one for corpus, one in by_corpus.items() if one is not None}
    speech = np.isin(corpora, emotional) & spoke
    unsure, right = np.nan_to_num(of.probs).max(1) < UNCERTAIN, best == of.truth
    return Life(
        neutral_clips=int(neutral.sum()),
        neutral_hours=hours,
        as_emotion=as_emotion,
        as_emotion_mean=float(np.mean([one.value for one in as_emotion.values()])) if as_emotion else None,
        false_emotions_per_hour=float((shown & neutral).sum()) / hours if hours else None,
        false_alerts_per_hour=float(n_alerts[neutral].sum()) / hours if hours else None,
        alerts_right={p: _precision(p, n_right[felt], n_alerts[felt], n_alerts[neutral]) for p in EMOTIONAL},
        uncertain=rate(unsure, speech),
        uncertain_right=rate(right, speech & unsure),
        certain_right=rate(right, speech & ~unsure),
        arousal_auc=_aucs(of, corpora, 0, AROUSED),
        valence_auc=_aucs(of, corpora, 1, PLEASANT),
        mixed=_mixed(of.truth, of.probs, speech, [(corpora == c, who[c], seeds[c]) for c in emotional]),
    )


def auc(more: Numbers, less: Numbers) -> float:
    """The chance that one of `more` is larger than one of `less`; half of the ties."""
    order = np.sort(less)
    below = np.searchsorted(order, more, "left") + np.searchsorted(order, more, "right")
    return float(below.mean() / 2 / len(less))


def shares(truth: Integers) -> Numbers:
    """How much each clip counts so that labels are as common as in a conversation; 1 on average."""
    counts = np.maximum(np.bincount(truth, minlength=N_LABELS), 1)
    weights = (np.exp(log_weights(CONVERSATION)).astype(np.float64) / counts)[truth]
    result: Numbers = weights / weights.mean()
    return result


def _precision(p: float, right: Integers, of_felt: Integers, of_neutral: Integers) -> float | None:
    """Right alerts among all, where a share `p` of the clips is emotional."""
    if not len(of_felt) or not len(of_neutral):
        return None
    total = p * of_felt.mean() + (1 - p) * of_neutral.mean()
    return float(p * right.mean() / total) if total else None


def _aucs(
    of: ToJudge, corpora: npt.NDArray[np.str_], at: int, kinds: tuple[tuple[str, ...], tuple[str, ...]]
) -> dict[str, float]:
    """By corpus that has clips of both kinds; a clip without an answer has 0, as silence does."""
    values = affects(np.nan_to_num(of.probs))[:, at].astype(np.float64)
    found = {}
    for corpus in dict.fromkeys(of.corpora):
        more, less = (
            (corpora == corpus) & np.isin(of.truth, [LABELS.index(label) for label in labels])
            for labels in kinds
        )
        if more.any() and less.any():
            found[corpus] = auc(values[more], values[less])
    return found


def _mixed(
    truth: Integers, probs: Floats, chosen: Flags, corpora: Sequence[tuple[Flags, Voices, int]]
) -> Assessment | None:
    chosen = chosen & (truth != UNKNOWN)
    if not (chosen & (truth == NEUTRAL)).any() or not (chosen & (truth != NEUTRAL)).any():
        return None
    counts = np.zeros(len(truth))
    counts[chosen] = shares(truth[chosen])
    tables = tabulate(truth, probs) * counts[:, None]
    return assess(join([draw(tables[rows], who, seed) for rows, who, seed in corpora]))
