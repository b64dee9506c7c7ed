"""Arousal and valence of scores: how excited, and how pleasant, a voice sounds. Both from -1 to 1. No I/O.

Each label has a place in the plane of Russell's circumplex (A circumplex model of affect, Journal of Personality
and Social Psychology 39, 1980), and scores have the mean of the places of their labels. The places are set by us:
the circumplex has no numbers that everybody agrees on. Neutral is its center; `other` and `unknown` say nothing,
and are put there too. A mean of means is a mean: any stretch's value follows from its scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.types import DIGITS, LABELS, Floats

PLACES = {  # label: arousal, valence
    "angry": (0.8, -0.6),
    "disgusted": (0.3, -0.7),
    "fearful": (0.6, -0.6),
    "happy": (0.6, 0.8),
    "neutral": (0.0, 0.0),
    "other": (0.0, 0.0),
    "sad": (-0.4, -0.7),
    "surprised": (0.7, 0.2),
    "unknown": (0.0, 0.0),
}
_PLACES = np.array([PLACES[label] for label in LABELS], np.float32)
AROUSAL, VALENCE = np.ascontiguousarray(_PLACES.T)


class Affect(NamedTuple):
    """-1 (calm, unpleasant) to 1 (excited, pleasant); 0 is neutral."""

    arousal: float
    valence: float


def affect(probs: npt.NDArray[np.floating]) -> Affect:
    """Of probabilities (N_LABELS,)."""
    return Affect(*(probs @ _PLACES).tolist())


def affects(probs: Floats) -> Floats:
    """Of rows (n, N_LABELS): (n, 2), arousal and valence, as results have them."""
    return np.asarray((probs @ _PLACES).round(DIGITS), np.float32)
