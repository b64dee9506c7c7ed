"""The embedded model's promises, 200 random cases each: cuts, batch mates, stream and file; and how they are kept.

`tests/everything.py` runs this twice where the processor allows it: as it is, and held to AVX2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the compact model needs torch")
import torch

from stream import offline
from stream.models import packed
from stream.models.compact import graph, invariance
from stream.models.compact.model import load, read_weights
from stream.models.compact.windows import HOP_FRAMES
from stream.session import StreamConfig, StreamSession
from stream.types import SAMPLE_RATE, EmotionModel, Floats, FramesScored, UtteranceScored, Window, samples_for
from tests.stream.playing import Player
from tests.stream.voices import assert_same, play, random_cuts, voice, window

CASES = 200
VOICES = 24
LONGEST = 290  # frames of a voice


@pytest.fixture(scope="module", params=["auto", "float32", "onnx float32", "onnx int8"])
def model(request: pytest.FixtureRequest) -> EmotionModel:
    torch.set_num_threads(1)
    if request.param.startswith("onnx"):
        return graph.load(precision=request.param.removeprefix("onnx "))
    chosen = load("cpu", precision=request.param)
    if request.param == "float32" and load("cpu").spec.dtype == "float32":
        pytest.skip("float32 is what auto takes on this processor: the other run is this one")
    return chosen


@pytest.fixture(scope="module")
def voices() -> list[Floats]:
    return [voice(seed) * np.float32(10.0 ** -(seed % 4)) for seed in range(VOICES)]


@pytest.mark.slow
def test_how_a_span_is_cut_does_not_matter(model: EmotionModel, voices: list[Floats]) -> None:
    for case in range(CASES):
        rng = np.random.default_rng(case)
        x, n_frames = voices[case % VOICES], int(rng.integers(1, LONGEST))
        whole, cut = play(model, x, [n_frames]), play(model, x, random_cuts(case, n_frames))
        assert_same(whole, cut)
        assert whole.state is not None and cut.state is not None
        np.testing.assert_allclose(whole.state, cut.state, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_batch_mates_do_not_matter(model: EmotionModel, voices: list[Floats]) -> None:
    """Batches of 1 to 32: fresh voices, some in the midst of a span, some at its short end."""
    begun = [play(model, x, [20 + 10 * (i % 5)]).state for i, x in enumerate(voices)]
    for case in range(CASES):
        rng = np.random.default_rng(case)
        windows = [some_window(rng, voices, begun) for _ in range(int(rng.integers(1, 33)))]
        of_all = model.score(windows)
        for i in rng.permutation(len(windows))[:4]:
            (alone,), together = model.score([windows[i]]), of_all[i]
            assert_same(alone, together)
            assert alone.state is not None and together.state is not None
            np.testing.assert_allclose(alone.state, together.state, rtol=1e-4, atol=1e-3)


def some_window(rng: np.random.Generator, voices: list[Floats], begun: list[Floats | None]) -> Window:
    i, fresh = int(rng.integers(VOICES)), bool(rng.random() < 0.2)
    n_frames = HOP_FRAMES if rng.random() < 0.6 else int(rng.integers(1, HOP_FRAMES + 1))
    return window(voices[i], 70, n_frames, None if fresh else begun[i], fresh or bool(rng.random() < 0.2))


@pytest.mark.slow
def test_a_stream_scores_as_its_recording(model: EmotionModel, demo_samples: Floats) -> None:
    """Chunks of any size, answers that come late so that windows grow, and pauses: the file says the same."""
    config = StreamConfig(hop=HOP_FRAMES)
    for case in range(CASES):
        rng = np.random.default_rng(case)
        start = int(rng.integers(len(demo_samples) - 2 * SAMPLE_RATE))
        samples = demo_samples[start : start + int(rng.integers(SAMPLE_RATE // 2, 2 * SAMPLE_RATE))]
        session = StreamSession("s", config)
        player = Player(session, cycle(rng.integers(0, 9, 5).tolist()), model=model)
        at = 0
        while at < len(samples):
            n = int(rng.integers(1, 6000))
            player.push(samples[at : at + n])
            at += n
        for one, other in zip(
            told(player.finish()), told(offline.run([samples], model, config)), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-5)


def told(events: Any) -> list[Floats]:
    """Scores of every frame in one array, then those of each utterance."""
    events = list(events)
    frames = [e.probs for e in events if isinstance(e, FramesScored)]
    return [
        *([np.concatenate(frames)] if frames else []),
        *(e.probs for e in events if isinstance(e, UtteranceScored)),
    ]


def test_the_way_that_was_chosen_is_invariant() -> None:
    net, _ = read_weights()
    invariance.pack_weights(net.eval(), "auto")
    assert invariance.is_invariant(net)


def test_rows_in_blocks_are_invariant_whatever_the_processor_does_with_rows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A processor whose products, packed or not, are rounded otherwise for many rows than for few."""
    exact_packed, exact_plain = packed.packed_product, packed.product

    def careless(exact: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def product(x: torch.Tensor, *args: Any) -> torch.Tensor:
            y = exact(x, *args)
            return y * (1 + 1e-6) if x.numel() > 40 * x.shape[-1] else y

        return product

    monkeypatch.setattr(packed, "packed_product", careless(exact_packed))
    monkeypatch.setattr(packed, "product", careless(exact_plain))
    with caplog.at_level(logging.WARNING, "model"):
        model = load("cpu", precision="float32")
    assert model.spec.dtype == "float32"
    assert [record.message for record in caplog.records] == [
        f"{name} results depend on batch composition on this CPU; trying a slower product"
        for name in ("float32 with packed weights", "float32")
    ] or packed.unpackable(torch.float32)
    windows = [window(voice(seed), 0, 10, None, True) for seed in range(9)]
    for each, together in zip(windows, model.score(windows), strict=True):
        (alone,) = model.score([each])
        np.testing.assert_array_equal(alone.state, together.state)


def test_bfloat16_that_depends_on_its_batch_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if why := packed.unpackable(torch.bfloat16):
        pytest.skip(f"no bfloat16 on this processor: {why}")
    exact = packed.packed_product

    def careless(x: torch.Tensor, *args: Any) -> torch.Tensor:
        y = exact(x, *args)
        return y * 1.01 if x.dtype == torch.bfloat16 and x.numel() > 40 * x.shape[-1] else y

    monkeypatch.setattr(packed, "packed_product", careless)
    with caplog.at_level(logging.WARNING, "model"):
        assert load("cpu", precision="bfloat16").spec.dtype == "float32"
    assert "bfloat16 results depend on batch composition on this CPU" in caplog.text


def test_a_processor_without_bfloat16_is_told_so_and_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        invariance, "unpackable", lambda dtype: "no AVX-512" if dtype == torch.bfloat16 else ""
    )
    with caplog.at_level(logging.WARNING, "model"):
        assert load("cpu", precision="bfloat16").spec.dtype == "float32"
    assert "no bfloat16 on this processor (no AVX-512); using float32" in caplog.text


def test_a_dependence_of_the_last_digit_is_found() -> None:
    """What is_invariant is there for: one product of all, one unit in the last place, in larger batches alone."""
    net, _ = read_weights()
    invariance.pack_weights(net.eval(), "float32")
    layer: Any = net.encoder.layers[0].qkv
    exact = layer._product
    assert exact is not None

    def off(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = exact(x)
        if x.numel() > 100 * x.shape[-1]:
            y[..., 500] = torch.nextafter(y[..., 500], torch.tensor(9e9))
        return y

    layer._product = off
    assert not invariance.is_invariant(net)


def test_embeddings_of_short_windows_among_full_ones(voices: list[Floats]) -> None:
    model = load("cpu")
    begun = [play(model, x, [10]).state for x in voices[:5]]
    windows = [
        replace(window(x, 10, n, state, False), embed=True)
        for x, n, state in zip(voices, [10, 3, 1, 10, 7], begun, strict=False)
    ]
    for each, together in zip(windows, model.score(windows), strict=True):
        (alone,) = model.score([each])
        assert len(each.samples) == samples_for(each.n_frames)
        assert alone.embedding is not None and together.embedding is not None
        np.testing.assert_allclose(alone.embedding, together.embedding, atol=1e-5)
