"""The prior adds its weights to a model's logits, in any runtime, before the temperature divides them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.models import compact
from stream.models.compact.calibration import calibration
from stream.models.compact.files import read_card
from stream.prior import BALANCED, CONVERSATION, Prior, log_weights
from stream.types import LABELS, Floats, softmax
from tests.stream.voices import voice, window

NEUTRAL = LABELS.index("neutral")
CUSTOM: Prior = {"sad": 0.5, "neutral": 3.0}


def weights_of(prior: Prior, runtime: str) -> tuple[Floats, Floats, str]:
    """What a voice's logits are before the temperature: of frames (n, 9), and of its embedding (9,)."""
    if runtime == "torch":
        pytest.importorskip("torch", reason="needs torch")
    model = compact.load("cpu", "float32", runtime, 1, prior)
    scored = model.score([replace(window(voice(1), 0, 30, None, True), embed=True)])[0]
    fitted = calibration(read_card(), prior).fitted
    assert scored.embedding is not None
    classified = model.classify(scored.embedding)  # type: ignore[attr-defined]
    return (
        scored.logits * fitted.temperature,
        classified * fitted.temperature / fitted.gain,
        model.spec.prior,
    )


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
@pytest.mark.parametrize("prior", [CONVERSATION, CUSTOM])
def test_the_prior_is_added_to_the_logits_of_frames_and_embeddings(runtime: str, prior: Prior) -> None:
    plain, plain_embedded, _ = weights_of(BALANCED, runtime)
    shifted, shifted_embedded, name = weights_of(prior, runtime)
    assert name == (prior if isinstance(prior, str) else "custom")
    np.testing.assert_allclose(shifted - plain, np.tile(log_weights(prior), (30, 1)), atol=2e-4)
    np.testing.assert_allclose(shifted_embedded - plain_embedded, log_weights(prior), atol=2e-4)


def test_in_a_conversation_half_of_all_speech_is_neutral() -> None:
    weights = np.exp(log_weights(CONVERSATION))
    speech = [i for i, label in enumerate(LABELS) if label != "unknown"]
    assert weights[NEUTRAL] / weights[speech].sum() == pytest.approx(0.5)
    assert np.allclose(softmax(log_weights(BALANCED)), 1 / len(LABELS))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("acted", "no prior"),
        ({"neutrl": 2.0}, "there is no label 'neutrl'"),
        ({"neutral": 0.0}, "the weight of neutral"),
        ({"neutral": float("inf")}, "the weight of neutral"),
    ],
)
def test_what_is_no_prior_is_refused(wrong: Prior, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        log_weights(wrong)
