"""compact in ONNX Runtime: the same model as in torch, by itself, and without torch."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stream.models import compact, processor
from stream.models.compact import graph, step
from stream.models.compact.files import FOLDER, read_card
from stream.models.compact.sizes import NetConfig
from stream.models.compact.step import CompactStep, StepOutput
from stream.models.registry import load_model
from stream.types import EmotionModel, Floats, softmax
from tests.stream.voices import voice, window

if TYPE_CHECKING:
    from stream.models.compact.model import Compact

ROOT = Path(__file__).parents[3]
# Scores in float32: both runtimes round, and keys and values are bfloat16. The most seen in 50 voices was 1.3e-4.
APART = {"float32": 3e-4, "int8": 0.12}
ON_AVERAGE = {"float32": 1e-5, "int8": 6e-3}


@cache
def in_onnx(precision: str) -> graph.CompactGraph:
    """Loaded once: a load proves on each start that batch mates and cuts do not matter."""
    return graph.load(precision=precision)


@cache
def in_torch() -> Compact:
    pytest.importorskip("torch", reason="torch is the reference")
    from stream.models.compact.model import load

    return load("cpu", precision="float32")


@pytest.mark.parametrize("precision", graph.PRECISIONS[1:])
def test_it_is_the_torch_network(precision: str) -> None:
    lengths = [100, 100, 100, 100, 73]
    windows = [replace(window(voice(seed), 0, n, None, True), embed=True) for seed, n in enumerate(lengths)]
    torch_model, graph_model = in_torch(), in_onnx(precision)
    assert graph_model.spec == replace(torch_model.spec, dtype=precision, runtime="onnx")
    differences = []
    for mine in windows:
        (ours,), (theirs,) = graph_model.score([mine]), torch_model.score([mine])
        differences.append(np.abs(softmax(ours.logits) - softmax(theirs.logits)))
        assert ours.embedding is not None and theirs.embedding is not None and ours.state is not None
        assert ours.gain == theirs.gain and ours.state.dtype == ours.embedding.dtype == np.float32
        np.testing.assert_allclose(ours.weights, theirs.weights, atol=100 * ON_AVERAGE[precision])
        apart = 1e-3 if precision == "float32" else 0.3
        np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=apart)
        by_graph, by_torch = (model.classify(theirs.embedding) for model in (graph_model, torch_model))
        np.testing.assert_allclose(by_graph, by_torch, atol=1e-5)
    assert max(difference.max() for difference in differences) < APART[precision]
    assert np.mean([difference.mean() for difference in differences]) < ON_AVERAGE[precision]


def test_a_session_goes_on_in_the_other_runtime() -> None:
    """The state is laid out alike: a session that moves is scored as one that stayed."""
    x = voice(3)
    models: list[EmotionModel] = [in_torch(), in_onnx("float32")]
    stayed = models[0].score([window(x, 0, 100, None, True)])[0]
    for first, second in (models, models[::-1]):
        begun = first.score([window(x, 0, 50, None, True)])[0].state
        moved = second.score([window(x, 50, 50, begun, False)])[0]
        np.testing.assert_allclose(softmax(moved.logits), softmax(stayed.logits[50:]), atol=APART["float32"])


def test_the_shipped_graphs_are_what_the_recipe_writes() -> None:
    recipe = pytest.importorskip("training.graph", reason="onnx writes graphs; serving needs none")
    config = NetConfig.of(read_card()["net"])
    for precision in recipe.PRECISIONS:
        assert (FOLDER / f"{precision}.onnx").read_bytes() == recipe.step_graph(config, precision)
    assert sum((FOLDER / f"{precision}.onnx").stat().st_size for precision in recipe.PRECISIONS) < 100_000


@pytest.mark.parametrize("precision", graph.PRECISIONS[1:])
def test_batch_mates_do_not_matter_on_this_processor(precision: str) -> None:
    assert in_onnx(precision)._together


def test_where_batch_mates_matter_windows_are_scored_one_by_one_and_step_by_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A processor whose products are rounded otherwise for many rows: one unit in the last place."""
    exact, runs = CompactStep.run, []

    def careless(
        self: CompactStep, samples: Floats, state: Floats, lengths: np.ndarray, *more: Any
    ) -> StepOutput:
        out = exact(self, samples, state, lengths, *more)
        runs.append(out.stats.shape[:2])
        return out if len(samples) < 5 else out._replace(state=np.nextafter(out.state, np.float32(9e9)))

    monkeypatch.setattr(CompactStep, "run", careless)
    with caplog.at_level(logging.WARNING, "model"):
        model = graph.load(precision="float32")
    assert "float32 results of ONNX Runtime depend on batch composition on this CPU" in caplog.text
    runs.clear()
    windows = [window(voice(seed), 0, 25, None, True) for seed in range(9)]
    for each, together in zip(windows, model.score(windows), strict=True):
        np.testing.assert_array_equal(model.score([each])[0].state, together.state)
    assert set(runs) == {(1, 1)}


def of_many(out: StepOutput, n: int) -> StepOutput:
    """Scores that depend a little on how many windows there are."""
    return out._replace(heads=out.heads + np.float32(1e-4) * n)


def of_long(out: StepOutput, n: int) -> StepOutput:
    """States that depend a little on how many steps are taken at once."""
    return out if out.stats.shape[1] < 16 else out._replace(state=np.nextafter(out.state, np.float32(9e9)))


@pytest.mark.parametrize("dependence", [of_many, of_long])
def test_a_dependence_of_scores_or_on_cuts_alone_is_found(
    monkeypatch: pytest.MonkeyPatch, dependence: Callable[[StepOutput, int], StepOutput]
) -> None:
    model, exact = in_onnx("float32"), CompactStep.run

    def careless(
        self: CompactStep, samples: Floats, state: Floats, lengths: np.ndarray, *more: Any
    ) -> StepOutput:
        return dependence(exact(self, samples, state, lengths, *more), len(samples))

    monkeypatch.setattr(CompactStep, "run", careless)
    assert not step.is_invariant(model._step)


@pytest.mark.parametrize(("n_windows", "n_frames"), [(1, 1000), (1, 1996), (20, 100), (40, 101), (200, 10)])
def test_what_is_computed_at_once_is_bounded_and_long_windows_are_not_taken_step_by_step(
    monkeypatch: pytest.MonkeyPatch, n_windows: int, n_frames: int
) -> None:
    model, exact, taken = in_onnx("float32"), CompactStep.run, []

    def watched(
        self: CompactStep, samples: Floats, state: Floats, lengths: np.ndarray, *more: Any
    ) -> StepOutput:
        out = exact(self, samples, state, lengths, *more)
        taken.append(out.stats.shape[1])
        return out

    x = np.tile(voice(3), 10)
    windows = [window(np.roll(x, 1000 * i), 0, n_frames, None, True) for i in range(n_windows)]
    monkeypatch.setattr(CompactStep, "run", watched)
    together = model.score(windows)
    n_steps = -(-n_frames // 10)
    at_once = max(1, step.ROWS // n_windows)
    assert sum(taken) == n_steps and max(taken) <= at_once and len(taken) == -(-n_steps // at_once)
    monkeypatch.setattr(graph, "ROWS", 1)
    for i in (0, n_windows - 1):
        (alone,) = model.score([windows[i]])
        np.testing.assert_array_equal(alone.state, together[i].state)
        np.testing.assert_allclose(alone.logits, together[i].logits, atol=1e-5)
        np.testing.assert_allclose(alone.weights, together[i].weights, atol=1e-6)


@pytest.mark.parametrize(
    ("device", "precision", "flags", "runtime"),
    [
        ("cpu", "auto", {"avx2"}, "onnx"),
        ("cpu", "auto", {"avx2", "amx_bf16"}, "torch"),
        ("cpu", "float32", {"avx2", "amx_bf16"}, "onnx"),
        ("cpu", "int8", {"avx2", "amx_bf16"}, "onnx"),
        ("cpu", "bfloat16", {"avx2"}, "torch"),
    ],
)
def test_auto_is_what_costs_less(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, flags: set[str], runtime: str
) -> None:
    pytest.importorskip("torch", reason="without it, auto is onnx")
    monkeypatch.setattr(processor, "cpu_flags", lambda: flags)
    assert compact.load(device, precision).spec.runtime == runtime


def test_a_runtime_that_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="without it, auto is onnx")
    monkeypatch.setattr(processor, "cpu_flags", lambda: {"avx2"})
    forced = load_model("compact", "cpu", {"precision": "float32", "runtime": "torch"}, threads=1)
    assert forced.spec.runtime == "torch"


def test_auto_takes_a_gpu_where_torch_finds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked without importing torch where its build knows of none."""
    torch = pytest.importorskip("torch", reason="a GPU takes torch")
    monkeypatch.setattr(processor, "cpu_flags", lambda: {"avx2"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(compact, "version", lambda name: "2.13.0")
    assert compact._is_for_torch("auto", "auto") and not compact._is_for_torch("cpu", "auto")
    monkeypatch.setattr(compact, "version", lambda name: "2.13.0+cpu")
    assert not compact._is_for_torch("auto", "auto")


def test_without_torch_auto_is_onnx_and_what_needs_torch_says_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find, absent = importlib.util.find_spec, {"torch"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find(name))
    monkeypatch.setattr(processor, "cpu_flags", lambda: {"avx2", "amx_bf16"})
    assert compact.load("auto").spec.runtime == "onnx"
    for device, precision, runtime in (
        ("cpu", "auto", "torch"),
        ("cuda:1", "auto", "auto"),
        ("cpu", "bfloat16", "auto"),
    ):
        with pytest.raises(ImportError, match=rf"{device}, precision {precision}.*\./run\.sh install torch"):
            compact.load(device, precision, runtime)
    absent.add("onnxruntime")
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        compact.load("cpu")


@pytest.mark.parametrize(
    ("name", "device", "options", "said"),
    [
        ("compact", "cuda", {"runtime": "onnx"}, r"on a CPU, not on cuda; set model\.runtime to auto"),
        (
            "compact",
            "cpu",
            {"runtime": "onnx", "precision": "bfloat16"},
            r"bfloat16 with ONNX Runtime; set model\.p",
        ),
        ("compact", "cpu", {"runtime": "tvm"}, r"model\.runtime 'tvm': not one of auto, onnx, torch"),
        (
            "emotion2vec_plus_base",
            "cpu",
            {"runtime": "onnx"},
            r"base runs with torch alone; set model\.runtime to auto",
        ),
    ],
)
def test_what_no_runtime_can_do_is_refused_in_words(
    name: str, device: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        load_model(name, device, options)


def test_the_model_process_of_compact_never_imports_torch() -> None:
    code = """
import sys
import server.engine.worker as worker
args = {"model": "compact", "device": "cpu", "model_options": {"runtime": "onnx"}, "threads": 1}
model = worker.load(args)
heavy = {"torch", "onnx", "scipy", "funasr", "flask", "pydantic"} & set(sys.modules)
assert model.spec.runtime == "onnx" and not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
