"""Temperatures, from what networks said of speakers that they had not heard.

Two of them. A frame alone is a guess; the mean of an utterance's frames is right far more often, yet no surer of
itself than they are. So frames get a temperature of their own, and the mean is multiplied by a gain.

Each is the highest that is still right to ERROR on those speakers. They were recorded like the others of their
corpora; whoever speaks to the server was not, and of strangers' recordings the networks are far too sure
(training/EXPERIMENTS.md): where modesty costs nothing that was asked for, modesty it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stream.types import Floats
from training import evaluate
from training.corpus import JUDGED, TrainingClip
from training.evaluate import Predictions

ERROR = 0.05  # expected calibration error


@dataclass(frozen=True)
class Calibration:
    """`temperature` divides the logits of frames; an utterance is `gain` times the mean of what results."""

    temperature: float
    gain: float
    figures: dict[str, Any]


def calibrate(strangers: Sequence[Predictions]) -> Calibration:
    """`strangers`: the predictions of each fold."""
    clips = [clip for part in strangers for clip in part.clips]
    frame_clips = [clip for part in strangers for clip in part.frame_clips]
    whole = np.concatenate([part.whole for part in strangers])
    frames = np.concatenate([part.frames for part in strangers])
    temperature = modest_temperature(frames, frame_clips)
    of_utterances = modest_temperature(whole, clips)
    frames = np.asarray(frames / temperature, np.float32)
    whole = np.asarray(whole / of_utterances, np.float32)
    marked, right, others = evaluate.ambiguous_answers(whole, clips)

    def mean(of: Callable[[Predictions], float]) -> float:
        return round(float(np.mean([of(part) for part in strangers])), 4)

    figures = {
        "mean_uar": mean(lambda part: evaluate.mean_uar(part.whole, part.clips)),
        "mean_uar_first_second": mean(lambda part: evaluate.mean_uar(part.first_second, part.clips)),
        "uar": {corpus: mean(partial(_uar, corpus)) for corpus in JUDGED},
        "noise_called_unknown": mean(lambda part: evaluate.unknown_recall(part.whole, part.clips)[0]),
        "speech_called_unknown": mean(lambda part: evaluate.unknown_recall(part.whole, part.clips)[1]),
        "calibration_error": round(evaluate.calibration_error(whole, clips), 4),
        "calibration_error_frames": round(evaluate.calibration_error(frames, frame_clips), 4),
        "ambiguous": {"share": round(marked, 4), "right": round(right, 4), "others_right": round(others, 4)},
    }
    return Calibration(temperature, temperature / of_utterances, figures)


def modest_temperature(logits: Floats, clips: Sequence[TrainingClip]) -> float:
    """The highest temperature at which the calibration error is ERROR at most; the best one, where none is."""
    tried = np.geomspace(0.25, 8, 141)
    errors = np.array([evaluate.calibration_error(np.asarray(logits / t, np.float32), clips) for t in tried])
    return float(tried[errors <= max(ERROR, errors.min())].max())


def _uar(corpus: str, part: Predictions) -> float:
    return evaluate.uar(part.whole, part.clips, corpus)
