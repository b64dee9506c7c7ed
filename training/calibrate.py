"""Temperatures, from what networks said of speakers that they had not heard.

Two of them. A frame alone is a guess; the mean of an utterance's frames is right far more often, yet no surer of
itself than they are. So frames get a temperature of their own, and the mean is multiplied by a gain.

Each is the highest that is still right to ERROR on those speakers. They were recorded like the others of their
corpora; whoever speaks to the server was not, and of strangers' recordings the networks are far too sure
(training/EXPERIMENTS.md): where modesty costs nothing that was asked for, modesty it is.

They are fitted once for each named prior (`stream.prior`): its weights are added first, and clips count as much as
makes their labels as common as it takes them to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from stream.models.compact.calibration import Fitted
from stream.prior import BALANCED, log_weights
from stream.types import N_LABELS, Floats
from training import evaluate
from training.corpus import UNKNOWN, TrainingClip, judged
from training.evaluate import Predictions

ERROR = 0.05  # expected calibration error


@dataclass(frozen=True)
class Calibrated:
    fitted: Fitted
    figures: dict[str, Any]


def calibrate(strangers: Sequence[Predictions], prior: str = BALANCED) -> Calibrated:
    """`strangers`: the predictions of each fold."""
    strangers = [shifted(part, prior) for part in strangers]
    clips = [clip for part in strangers for clip in part.clips]
    frame_clips = [clip for part in strangers for clip in part.frame_clips]
    whole = np.concatenate([part.whole for part in strangers])
    frames = np.concatenate([part.frames for part in strangers])
    shares, frame_shares = shares_of(clips, prior), shares_of(frame_clips, prior)
    temperature = modest_temperature(frames, frame_clips, frame_shares)
    of_utterances = modest_temperature(whole, clips, shares)
    frames = np.asarray(frames / temperature, np.float32)
    whole = np.asarray(whole / of_utterances, np.float32)
    marked, right, others = evaluate.ambiguous_answers(whole, clips)
    doubted, doubted_right, sure_right = evaluate.uncertain_answers(whole, clips, shares)
    neutral = evaluate.neutral_as_emotion(whole, clips)

    def mean(of: Callable[[Predictions], float]) -> float:
        return round(float(np.mean([of(part) for part in strangers])), 4)

    figures = {
        "mean_uar": mean(lambda part: evaluate.mean_uar(part.whole, part.clips)),
        "mean_uar_first_second": mean(lambda part: evaluate.mean_uar(part.first_second, part.clips)),
        "uar": {corpus: mean(partial(_uar, corpus)) for corpus in judged(clips)},
        "noise_called_unknown": mean(lambda part: evaluate.unknown_recall(part.whole, part.clips)[0]),
        "speech_called_unknown": mean(lambda part: evaluate.unknown_recall(part.whole, part.clips)[1]),
        "calibration_error": round(evaluate.calibration_error(whole, clips, shares), 4),
        "calibration_error_frames": round(evaluate.calibration_error(frames, frame_clips, frame_shares), 4),
        "ambiguous": {"share": round(marked, 4), "right": round(right, 4), "others_right": round(others, 4)},
        "uncertain": {
            "share": round(doubted, 4),
            "right": round(doubted_right, 4),
            "others_right": round(sure_right, 4),
        },
        "neutral_as_emotion": round(neutral, 4),
    }
    return Calibrated(Fitted(temperature, temperature / of_utterances), figures)


def shifted(part: Predictions, prior: str) -> Predictions:
    """With what `prior` adds to logits."""
    weights = log_weights(prior)
    logits = {name: getattr(part, name) + weights for name in ("whole", "first_second", "frames")}
    return replace(part, **logits)


def shares_of(clips: Sequence[TrainingClip], prior: str) -> Floats | None:
    """How much each of `clips` counts under `prior`: None where all count alike, as in a balanced mix."""
    if prior == BALANCED:
        return None
    corpora = judged(clips)
    labels = np.array([clip.label if clip.corpus in corpora else UNKNOWN for clip in clips])
    expected = np.exp(log_weights(prior))
    return np.asarray((expected / np.maximum(np.bincount(labels, minlength=N_LABELS), 1))[labels], np.float32)


def modest_temperature(logits: Floats, clips: Sequence[TrainingClip], shares: Floats | None = None) -> float:
    """The highest temperature at which the calibration error is ERROR at most; the best one, where none is."""
    tried = np.geomspace(0.25, 8, 141)
    errors = np.array(
        [evaluate.calibration_error(np.asarray(logits / t, np.float32), clips, shares) for t in tried]
    )
    return float(tried[errors <= max(ERROR, errors.min())].max())


def _uar(corpus: str, part: Predictions) -> float:
    return evaluate.uar(part.whole, part.clips, corpus)
