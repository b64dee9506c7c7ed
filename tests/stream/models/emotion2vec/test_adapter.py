"""Live windows: each frame scored with its context, no scores depend on batch mates, seams without steps."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.full_recording import score_recording, windows_of
from stream.models.emotion2vec.windows import WindowRule
from stream.types import HOP, LABELS, Floats, FrameScores, Window, frames_in, samples_for, softmax
from tests.stream.models.emotion2vec.conftest import sound

ROOT = Path(__file__).parents[4]


def window(
    x: Floats, first: int, n: int, left: int, right: int, state: Floats | None = None, starts: bool = False
) -> Window:
    """Frames [first, first + n) of `x`, with context."""
    samples = x[(first - left) * HOP :][: samples_for(left + n + right)]
    return Window("s", first, n, starts, samples, state, left, right)


def walk(model: Any, x: Floats, keep_state: bool = True) -> list[FrameScores]:
    """All of `x` as one span, in the windows of the model's rule."""
    spec, end, state = model.spec, frames_in(len(x)), None
    answers = []
    for first in range(0, end, spec.hop_frames):
        n = min(spec.hop_frames, end - first)
        right = min(spec.right_frames, end - first - n)
        w = window(
            x, first, n, min(first, spec.left_frames), right, state if keep_state else None, first == 0
        )
        answers += model.score([w])
        state = answers[-1].state
    return answers


@pytest.fixture(scope="module")
def quick(folder: Path) -> Any:
    """Short windows, so that a short sound has many seams."""
    from stream.models.emotion2vec import load
    from stream.models.emotion2vec.adapter import Options

    return load(str(folder), "cpu", Options(rule=WindowRule(hop=20, left=40, right=10), longest_s=4.0))


def test_what_it_says_of_itself(ours: Any, folder: Path) -> None:
    spec = ours.spec
    assert (spec.name, spec.device, spec.dtype) == (folder.name, "cpu", "float32")
    assert spec.fixed_hop
    assert (spec.hop_frames, spec.left_frames, spec.right_frames) == (50, 200, 20)
    assert spec.lookahead_frames == 69
    assert spec.supported_labels == LABELS
    assert "FunASR" in ours.license


@pytest.mark.parametrize(
    ("n", "left", "right"), [(50, 200, 20), (50, 0, 20), (50, 120, 0), (1, 200, 0), (7, 33, 4), (1, 0, 0)]
)
def test_a_frames_scores_are_those_of_its_window(ours: Any, n: int, left: int, right: int) -> None:
    import torch

    x = sound(4, 1)
    (answer,) = ours.score([window(x, left, n, left, right)])
    assert answer.logits.shape == (n, 9)
    assert answer.logits.dtype == np.float32
    assert answer.logits.flags.c_contiguous
    assert (answer.weights == 1).all()
    whole = torch.from_numpy(x[: samples_for(left + n + right)])[None]
    with torch.inference_mode():
        wanted = ours._labeled(ours._forward(whole).numpy())[0]
    np.testing.assert_allclose(answer.logits, wanted[left : left + n], atol=1e-5)


def test_batch_mates_do_not_matter(ours: Any) -> None:
    windows = [window(sound(3, seed), 200, 50, 200, 20) for seed in range(6)]
    together = ours.score(windows)
    for w, answer in zip(windows, together, strict=True):
        (alone,) = ours.score([w])
        np.testing.assert_allclose(softmax(answer.logits), softmax(alone.logits), atol=1e-5)
    assert ours.score([]) == []


def test_windows_of_other_lengths_than_their_frames_are_refused(ours: Any) -> None:
    x = sound(1)
    good = window(x, 0, 50, 0, 0)
    with pytest.raises(ValueError, match="samples"):
        ours.score([Window("s", 0, 50, True, x[:-1][: samples_for(50) - 1], None)])
    with pytest.raises(ValueError, match="not alike"):
        ours.score([good, window(x, 0, 40, 0, 0)])
    with pytest.raises(ValueError, match="not alike"):
        ours.score([good, replace(good, embed=True)])
    with pytest.raises(ValueError, match="not alike"):
        ours.score([good, window(x, 5, 45, 5, 0)])


def test_seams_do_not_step(quick: Any) -> None:
    """At a seam: the step that the earlier window saw there, and 1/(right + 1) of the two windows'
    disagreement."""
    x, spec = sound(3.05, 2), quick.spec
    faded, plain = walk(quick, x), walk(quick, x, keep_state=False)
    assert sum(len(a.logits) for a in faded) == frames_in(len(x))
    steps, bare = [], []
    for k in range(len(faded) - 1):
        first = (k + 1) * spec.hop_frames
        state = faded[k].state
        assert state is not None
        ahead = state[3 : 3 + 9]  # what the earlier window said of the later one's first frame
        meant = np.abs(ahead - faded[k].logits[-1]).max()
        apart = np.abs(plain[k + 1].logits[0] - ahead).max()
        step = np.abs(faded[k + 1].logits[0] - faded[k].logits[-1]).max()
        assert step <= meant + apart / (spec.right_frames + 1) + 1e-5, first
        steps.append(step - meant)
        bare.append(np.abs(plain[k + 1].logits[0] - plain[k].logits[-1]).max() - meant)
    assert np.mean(steps) < 0.25 * np.mean(bare)


def test_a_state_of_other_frames_is_ignored(quick: Any) -> None:
    x = sound(2, 3)
    first, second, third = (window(x, at, 20, 40, 10) for at in (40, 60, 80))
    state = quick.score([first])[0].state
    at_second, at_third = (
        Window("s", w.first_frame, 20, False, w.samples, state, 40, 10) for w in (second, third)
    )
    new_span = Window("s", 60, 20, True, second.samples, state, 40, 10)
    plain = [a.logits for a in quick.score([second, third, second])]
    given = [a.logits for a in quick.score([at_second, at_third, new_span])]
    assert np.abs(given[0] - plain[0])[:10].max() > 1e-3
    np.testing.assert_allclose(given[0][10:], plain[0][10:], atol=1e-5)
    np.testing.assert_allclose(given[1], plain[1], atol=1e-5)
    np.testing.assert_allclose(given[2], plain[2], atol=1e-5)


def test_without_blending_there_is_no_state(folder: Path) -> None:
    from stream.models.emotion2vec import load
    from stream.models.emotion2vec.adapter import Options

    model = load(str(folder), "cpu", Options(rule=WindowRule(blend=False)))
    assert model.spec.state_size == 0
    assert model.score([window(sound(2), 20, 50, 20, 10)])[0].state is None


def test_long_recordings_score_near_the_whole(quick: Any, ours: Any) -> None:
    x = sound(20, 8)
    assert len(list(windows_of([x], ours.spec))) == 1
    assert len(list(windows_of([x], quick.spec))) > 5
    split, one = score_recording([x], quick, embed=True), score_recording([x], ours, embed=True)
    assert np.abs(split.probs() - one.probs()).max() < 0.1
    assert split.embedding is not None and one.embedding is not None
    assert np.abs(split.embedding - one.embedding).max() < 0.3 * np.abs(one.embedding).max()


def test_a_piece_is_the_mean_of_its_frames_and_weighs_as_many(quick: Any) -> None:
    import torch

    x = sound(9.017, 4)
    total = 0.0
    for piece in windows_of([x], quick.spec, embed=True):
        (answer,) = quick.score([piece])
        skip, take = piece.left_frames // 2, (piece.n_frames + 1) // 2
        with torch.inference_mode():
            features = quick._encoder.features(torch.from_numpy(piece.samples)[None], both_phases=False)[0]
        np.testing.assert_allclose(answer.embedding, features[skip : skip + take].mean(0).numpy(), atol=1e-5)
        assert (answer.logits.shape, answer.weights.tolist(), answer.state) == ((1, 9), [take], None)
        total += float(answer.weights[0])
    assert total == (len(x) - 400) // 320 + 1


@pytest.mark.parametrize(("n", "left", "right"), [(50, 200, 20), (7, 33, 4), (1, 0, 0)])
def test_an_embedding_is_the_mean_of_the_frames_to_score(ours: Any, n: int, left: int, right: int) -> None:
    """Of both phases; and asking for it changes no score."""
    import torch

    w = window(sound(4, 2), left, n, left, right)
    (plain,), (asked,) = ours.score([w]), ours.score([replace(w, embed=True)])
    assert plain.embedding is None
    np.testing.assert_array_equal(asked.logits, plain.logits)
    with torch.inference_mode():
        features = ours._encoder.features(torch.from_numpy(w.samples)[None], both_phases=True)[0]
    np.testing.assert_allclose(asked.embedding, features[left : left + n].mean(0).numpy(), atol=1e-5)
    assert asked.embedding.shape == (ours.spec.embedding_size,)


def test_silence_and_loudness_give_numbers(ours: Any) -> None:
    for x in (np.zeros(16_000), np.full(16_000, 0.5), 1e4 * sound(1), 1e-7 * sound(1)):
        (answer,) = ours.score([window(np.asarray(x, np.float32), 0, 90, 0, 0)])
        assert np.isfinite(answer.logits).all()


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "", "cpu:1"])
def test_a_device_that_is_not_there(folder: Path, device: str) -> None:
    from stream.models.emotion2vec import load

    with pytest.raises(ValueError, match="device"):
        load(str(folder), device)


def test_the_package_alone_imports_neither_torch_nor_funasr() -> None:
    code = (
        "import sys, stream.models.emotion2vec; sys.exit('torch' in sys.modules or 'funasr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.slow
def test_loading_leaves_stdout_and_logging_alone(folder: Path) -> None:
    """funasr prints on import and opens the root logger; `analyze --json` writes JSON lines to stdout."""
    code = (
        "import logging, sys; from stream.models.emotion2vec import load; load(sys.argv[1], 'cpu');"
        "assert 'transformers' not in sys.modules and 'funasr' not in sys.modules;"
        "root = logging.getLogger(); sys.exit(root.level != logging.WARNING or bool(root.handlers))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout == b""


def test_the_prior_is_added_to_the_heads_scores(ours: Any, folder: Path) -> None:
    from stream.models.registry import load_model
    from stream.prior import CONVERSATION, log_weights

    model = load_model(str(folder), "cpu", {"precision": "float32", "prior": CONVERSATION})
    assert (model.spec.prior, ours.spec.prior) == ("conversation", "balanced")
    x = sound(3.0)
    for shifted, plain in zip(walk(model, x), walk(ours, x), strict=True):
        np.testing.assert_allclose(
            shifted.logits - plain.logits, _tiled(log_weights(CONVERSATION), plain), atol=1e-4
        )
    embedding = np.ones(model.spec.embedding_size, np.float32)
    apart = model.classify(embedding) - ours.classify(embedding)  # type: ignore[attr-defined]
    np.testing.assert_allclose(apart, log_weights(CONVERSATION), atol=1e-4)


def _tiled(row: Floats, like: FrameScores) -> Floats:
    return np.tile(row, (len(like.logits), 1))
