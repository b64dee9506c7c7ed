"""Products of 8-bit integers: near the exact ones, row by row, and refused where they would be wrong or slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.types import Floats, softmax
from tests.stream.models.emotion2vec.conftest import need_funasr, sound
from tests.stream.models.emotion2vec.test_adapter import window
from tests.stream.models.emotion2vec.test_live import play, speech  # noqa: F401  # a fixture
from tests.stream.models.emotion2vec.test_parity import loaded_in

need_funasr()


@pytest.fixture(scope="module")
def eight(folder: Path) -> Any:
    return loaded_in("int8", folder)


@pytest.fixture(scope="module")
def layer(eight: Any) -> Any:
    """(Int8Dense, its exact weights (96, 200), its bias)."""
    import torch

    from stream.models.emotion2vec.dense import ComputeTarget
    from stream.models.emotion2vec.int8 import Int8Dense

    generator = torch.Generator().manual_seed(1)
    weight, bias = (torch.randn(*shape, generator=generator) for shape in ((96, 200), (96,)))
    return Int8Dense(weight, bias, ComputeTarget(torch.device("cpu"), torch.float32, int8=True)), weight, bias


def test_a_product_is_as_near_as_its_steps_allow(layer: Any) -> None:
    """Rounding moves each factor by half a step at most: no sum moves by more than those together."""
    import torch

    dense, weight, bias = layer
    loud = torch.logspace(-4, 4, 21).view(3, 7, 1)
    x = loud * torch.randn(3, 7, 200, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        y = dense(x)
    exact = x @ weight.T + bias
    step_x, step_w = x.abs().amax(-1, keepdim=True) / 127, weight.abs().amax(-1) / 127
    most = x.abs().sum(-1, keepdim=True) * step_w / 2 + step_x / 2 * (weight.abs().sum(-1) + 200 * step_w / 2)
    assert y.shape == (3, 7, 96)
    assert ((y - exact).abs() <= 1.001 * most + 1e-5).all()
    assert ((y - exact).norm(dim=-1) < 0.02 * exact.norm(dim=-1)).all()  # and not all one way


def test_a_row_does_not_hear_its_neighbors(layer: Any) -> None:
    """To the last bit, be they silent or as loud as can be; an outlier coarsens its own row alone."""
    import torch

    dense, _, bias = layer
    x = torch.randn(700, 200, generator=torch.Generator().manual_seed(3))
    x[1], x[2, 5], x[3] = 0, 1e6, 1e30
    with torch.inference_mode():
        together = dense(x)
        for i in (0, 1, 2, 3, 4, 699):
            assert torch.equal(dense(x[i : i + 1])[0], together[i])
    assert torch.equal(together[1], bias)
    assert torch.isfinite(together).all()


def test_batch_mates_do_not_matter_in_int8(eight: Any) -> None:
    windows = [window(sound(3, seed), 200, 50, 200, 20) for seed in range(6)]
    for w, answer in zip(windows, eight.score(windows), strict=True):
        (alone,) = eight.score([w])
        np.testing.assert_allclose(softmax(answer.logits), softmax(alone.logits), atol=1e-5)


def test_chunks_do_not_matter_in_int8(eight: Any, speech: Floats) -> None:  # noqa: F811
    speech = speech[: 5 * 16_000]
    cuts = sorted(np.random.default_rng(1).integers(0, len(speech), 300).tolist())
    (whole, said), (cut, cut_said) = play(speech, eight, []), play(speech, eight, cuts)
    assert len(whole) > 150 and whole.keys() == cut.keys()
    np.testing.assert_allclose(list(cut.values()), list(whole.values()), atol=1e-5)
    np.testing.assert_allclose(cut_said, said, atol=1e-5)


def test_silence_and_loudness_give_numbers_in_int8(eight: Any) -> None:
    for x in (np.zeros(16_000), np.full(16_000, 0.5), 1e4 * sound(1), 1e-7 * sound(1)):
        (answer,) = eight.score([window(np.asarray(x, np.float32), 0, 90, 0, 0)])
        assert np.isfinite(answer.logits).all()


def test_it_is_refused_where_it_would_be_slow_or_wrong(
    eight: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from stream.models.emotion2vec import int8

    assert "CPU" in int8.unfit(torch.device("cuda"))
    with monkeypatch.context() as patch:
        patch.setattr(int8, "cpu_flags", lambda: {"avx2"})
        with pytest.raises(ValueError, match=r"int8: .*VNNI.* take bfloat16"):
            loaded(folder)
    with monkeypatch.context() as patch:  # more than a byte holds: sums come out too small
        patch.setattr(int8, "STEPS", 200)
        with pytest.raises(ValueError, match="wrong sums"):
            loaded(folder)


def test_auto_never_takes_it(folder: Path) -> None:
    from stream.models.emotion2vec import load

    assert load(str(folder), "cpu", {"precision": "auto"}).spec.dtype in ("bfloat16", "float32")


def loaded(folder: Path) -> Any:
    from stream.models.emotion2vec import load

    return load(str(folder), "cpu", {"precision": "int8"})
