"""What is made of the network's logits before anybody reads them: the prior, and the temperatures fitted to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream.prior import BALANCED, CONVERSATION, Prior, log_weights, name_of
from stream.types import LABELS, Floats, JsonDict


@dataclass(frozen=True)
class Fitted:
    """`temperature` divides the logits of frames; an utterance is `gain` times the mean of what results."""

    temperature: float
    gain: float = 1.0

    def to_dict(self) -> JsonDict:
        return {"temperature": round(self.temperature, 4), "gain": round(self.gain, 4)}


@dataclass(frozen=True, eq=False)
class Calibration:
    """Frames' logits become (logits + log_weights) / fitted.temperature."""

    prior: str
    log_weights: Floats  # (N_LABELS,)
    fitted: Fitted
    supported_labels: tuple[str, ...]  # had training data; the others are impossible

    @property
    def possible(self) -> npt.NDArray[np.bool_]:
        return np.array([label in self.supported_labels for label in LABELS])


def calibration(card: JsonDict, prior: Prior = BALANCED) -> Calibration:
    """Of `config.json`. Weights of one's own have the temperatures of the conversation's: uneven mixes, both."""
    fitted = card if prior == BALANCED else card.get(CONVERSATION, card)
    return Calibration(
        name_of(prior),
        log_weights(prior),
        Fitted(fitted["temperature"], fitted.get("gain", 1.0)),
        tuple(card["can_say"]),
    )
