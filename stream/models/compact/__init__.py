"""The embedded model, `compact`: small, causal, runs anywhere. In here:

    model       the `EmotionModel`: windows to frame scores; the weights' files
    network     samples → features → logits, with the state of a session
    encoder     its largest part: the beginning of a speech recognizer's encoder, made causal
    features    log mels and periodicity
    invariance  which way of computing products keeps its promises on this processor

torch is imported by `load`, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.models.compact.model import Compact

__all__ = ["load"]


def load(device: str = "auto", precision: str = "auto") -> Compact:
    """The model with the shipped weights: see `stream.models.compact.model.load`."""
    from stream.models.compact import model

    return model.load(device, precision=precision)
