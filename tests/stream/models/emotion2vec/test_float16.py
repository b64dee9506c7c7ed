"""float16 is for GPUs, and taken there only where it is wide enough; its arithmetic is tried on the CPU here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="emotion2vec needs torch")
import torch

from stream.models import compact
from stream.models.emotion2vec import checkpoint, load
from stream.models.emotion2vec.dense import ComputeTarget
from stream.models.emotion2vec.encoder import Encoder
from stream.models.emotion2vec.loading import is_near

CPU = torch.device("cpu")


@pytest.fixture
def module(folder: Path) -> Any:
    return checkpoint.load_module(folder, False)[0]


def encoders(module: Any) -> tuple[Encoder, Encoder]:
    return Encoder(module, ComputeTarget(CPU, torch.float16)), Encoder(
        module, ComputeTarget(CPU, torch.float32)
    )


def test_its_scores_are_near_those_of_float32(module: Any) -> None:
    assert is_near(*encoders(module))


def test_a_checkpoint_whose_numbers_it_cannot_hold_is_found(module: Any) -> None:
    """What is a hundred thousand within a block, and small again after it: float32 does not mind."""
    mlp = module.blocks[0].mlp
    with torch.no_grad():
        for values, by in ((mlp.fc1.weight, 1e6), (mlp.fc1.bias, 1e6), (mlp.fc2.weight, 1e-6)):
            values *= by
    narrow, plain = encoders(module)
    assert not is_near(narrow, plain) and is_near(plain, plain)


def test_on_a_cpu_it_is_refused_in_words(folder: Path) -> None:
    with pytest.raises(ValueError, match="float16 is for GPUs; on a CPU take bfloat16"):
        load(str(folder), "cpu", {"precision": "float16"})
    with pytest.raises(ValueError, match="compact does not compute in float16"):
        compact.load("cpu", "float16")
