"""A model's fingerprint: the same however it is computed, another for other weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream import fingerprint
from stream.models.registry import load_model
from stream.types import EmotionModel


def shown(model: EmotionModel) -> Any:
    return model.score([fingerprint.window(model.spec)])[0].embedding


@pytest.fixture(scope="module")
def compact() -> EmotionModel:
    return load_model("compact", "cpu", {"runtime": "torch", "precision": "float32"})


def test_a_loaded_model_carries_it_in_short(compact: EmotionModel) -> None:
    assert len(compact.spec.fingerprint) == fingerprint.BITS // 4
    assert compact.spec.fingerprint == fingerprint.text(shown(compact))
    assert load_model("fake").spec.fingerprint not in ("", compact.spec.fingerprint)
    assert fingerprint.text(None) == ""


@pytest.mark.parametrize(("runtime", "precision"), [("onnx", "float32"), ("onnx", "int8")])
def test_it_is_alike_in_other_runtimes_and_precisions(
    compact: EmotionModel, runtime: str, precision: str
) -> None:
    other = load_model("compact", "cpu", {"runtime": runtime, "precision": precision}).spec.fingerprint
    assert fingerprint.alike(other, compact.spec.fingerprint)


def test_other_weights_are_told_apart_by_both_forms(compact: EmotionModel) -> None:
    import torch

    other: Any = load_model("compact", "cpu", {"runtime": "torch", "precision": "float32"})
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in other._net.parameters():
            weights.mul_(1 + 0.1 * torch.randn(weights.shape, generator=noise))
    assert not fingerprint.same(shown(other), shown(compact))
    assert not fingerprint.alike(fingerprint.text(shown(other)), compact.spec.fingerprint)


def test_chance_makes_none_alike() -> None:
    draw = np.random.RandomState(1)
    some = [fingerprint.text(draw.standard_normal(768).astype(np.float32)) for _ in range(50)]
    assert not any(fingerprint.alike(one, other) for i, one in enumerate(some) for other in some[:i])
