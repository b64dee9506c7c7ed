"""In float32 our forward pass gives what funasr's gives: utterances, embeddings, frames, both phases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soundfile

from stream.full_recording import score_recording, windows_of
from stream.types import HOP, LABELS, Floats, frames_in
from tests.stream.models.emotion2vec.conftest import sound

pytestmark = pytest.mark.slow  # the whole of funasr, the oracle, takes seconds of each worker to import
CLOSE = 1e-4
REDUCED = ("bfloat16", "int8")
LENGTHS_S = (0.1, 0.1003, 0.137, 0.5, 1.0, 2.31, 7.0, 30.0)


def loaded_in(precision: Any, folder: Any) -> Any:
    """The same model; skips where this machine has no such products."""
    import torch

    from stream.models.emotion2vec import int8, load
    from stream.models.emotion2vec.adapter import Options
    from stream.models.packed import unpackable

    unfit = {"int8": lambda: int8.unfit(torch.device("cpu")), "bfloat16": lambda: unpackable(torch.bfloat16)}
    if precision in unfit and (why := unfit[precision]()):
        pytest.skip(f"{precision}: {why}")
    return load(str(folder), "cpu", Options(precision=precision))


def generate(theirs: Any, samples: Floats, granularity: str = "utterance") -> tuple[Floats, Floats]:
    """funasr's scores in our order, and its embedding."""
    (said,) = theirs.generate(samples, granularity=granularity, extract_embedding=True)
    names = [name.split("/")[-1].replace("<unk>", "unknown") for name in said["labels"]]
    assert sorted(names) == sorted(LABELS)
    return np.array([said["scores"][names.index(label)] for label in LABELS], np.float32), said["feats"]


def heard_by(model: Any, samples: Floats) -> tuple[Floats, Floats]:
    """Our scores and embedding of a whole recording."""
    heard = score_recording([samples], model, embed=True)
    assert heard.embedding is not None
    return heard.probs(), heard.embedding


@pytest.mark.parametrize("seconds", LENGTHS_S)
def test_utterance_scores_and_embedding_are_funasrs(ours: Any, theirs: Any, seconds: float) -> None:
    x = sound(seconds, seed=int(10 * seconds))
    scores, embedding = generate(theirs, x)
    heard = score_recording([x], ours, embed=True)
    np.testing.assert_allclose(heard.probs(), scores, atol=CLOSE)
    assert heard.embedding is not None
    np.testing.assert_allclose(heard.embedding, embedding, atol=CLOSE)
    assert heard.embedding.dtype == np.float32
    assert heard.embedding.shape == (ours.spec.embedding_size,)


def test_a_file_scores_as_funasr_scores_it(ours: Any, theirs: Any, tmp_path: Any) -> None:
    soundfile.write(tmp_path / "a.wav", sound(3.3, 5), 16_000, subtype="PCM_16")
    scores, embedding = generate(theirs, str(tmp_path / "a.wav"))  # type: ignore[arg-type]  # funasr reads files, too
    from stream.models.emotion2vec.verify import blocks_of

    heard = score_recording(blocks_of(tmp_path / "a.wav"), ours, embed=True)
    np.testing.assert_allclose(heard.probs(), scores, atol=CLOSE)
    np.testing.assert_allclose(heard.embedding, embedding, atol=CLOSE)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.5, 2.31])
def test_frames_are_funasrs_and_their_mean_is_the_utterance(ours: Any, theirs: Any, seconds: float) -> None:
    import torch

    x = sound(seconds, 3)
    _, frames = generate(theirs, x, "frame")
    with torch.inference_mode():
        features = ours._encoder.features(torch.from_numpy(x)[None], both_phases=False)
        logits = ours._labeled(ours._encoder.logits(features).numpy())[0]
        utterance = theirs.model.proj(torch.from_numpy(frames).mean(0, keepdim=True)).numpy()
    np.testing.assert_allclose(features[0].numpy(), frames, atol=CLOSE)
    np.testing.assert_allclose(logits.mean(0), ours._labeled(utterance)[0], atol=CLOSE)
    (window,) = windows_of([x], ours.spec)
    np.testing.assert_allclose(logits.mean(0), ours.score([window])[0].logits[0], atol=CLOSE)


@pytest.mark.parametrize("n_samples", [400, 560, 720, 8000, 8160, 32_077])
def test_the_10_ms_grid_is_two_runs_160_samples_apart(ours: Any, theirs: Any, n_samples: int) -> None:
    """The window is normalized once, for both phases: so are the two runs."""
    import torch

    x = torch.from_numpy(sound(3, 4)[:n_samples])[None]
    with torch.inference_mode():
        scaled = torch.nn.functional.layer_norm(x, x.shape[1:])
        even = theirs.model.extract_features(scaled)["x"]
        grid = ours._encoder.features(x, both_phases=True)
        assert grid.shape[1] == frames_in(n_samples)
        np.testing.assert_allclose(grid[:, 0::2], even, atol=CLOSE)
        if n_samples >= 560:
            odd = theirs.model.extract_features(scaled[:, HOP:])["x"]
            np.testing.assert_allclose(grid[:, 1::2], odd, atol=CLOSE)


def test_odd_frames_are_what_generate_says_of_the_sound_160_samples_later(ours: Any, theirs: Any) -> None:
    """Beside `generate` itself, which normalizes what it is given: over 2 s that is nearly the same waveform."""
    import torch

    x = sound(2.31, 6)
    with torch.inference_mode():
        features = ours._encoder.features(torch.from_numpy(x)[None], both_phases=True)[0]
        heads = ours._encoder.logits(torch.stack([features[0::2].mean(0), features[1::2].mean(0)]))
        probs = torch.softmax(torch.from_numpy(ours._labeled(heads.numpy())), -1).numpy()
    for phase in (0, 1):
        np.testing.assert_allclose(probs[phase], generate(theirs, x[phase * HOP :])[0], atol=CLOSE)


@pytest.mark.parametrize("precision", ["float32", *REDUCED])
def test_a_batch_gives_what_each_window_gives_alone(folder: Any, precision: Any) -> None:
    import torch

    ours = loaded_in(precision, folder)
    assert ours.spec.dtype == precision
    batch = torch.from_numpy(np.stack([sound(1.2, seed) for seed in range(5)]))
    with torch.inference_mode():
        together = ours._encoder.features(batch, both_phases=True)
        for i in range(5):
            alone = ours._encoder.features(batch[i : i + 1], both_phases=True)[0]
            np.testing.assert_allclose(together[i], alone, atol=1e-5)


def test_bfloat16_that_depends_on_its_batch_is_not_taken(
    folder: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a CPU that rounds a row among many otherwise than among few."""
    import torch

    from stream.models.emotion2vec import dense

    loaded_in("bfloat16", folder)  # skips where this processor has none
    from stream.models.packed import packed_product as exact

    def careless(x: torch.Tensor, *args: Any) -> torch.Tensor:
        y = exact(x, *args)
        return y * 1.01 if x.dtype == torch.bfloat16 and len(x) > 1 else y

    monkeypatch.setattr(dense, "packed_product", careless)
    with caplog.at_level("WARNING", "model"):
        assert loaded_in("bfloat16", folder).spec.dtype == "float32"
    assert "bfloat16 results depend on batch composition on this CPU; using float32" in caplog.text


def test_a_processor_without_bfloat16_is_told_so_and_computes_in_float32(
    folder: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from stream.models.emotion2vec import load, loading
    from stream.models.emotion2vec.adapter import Options

    monkeypatch.setattr(loading, "unpackable", lambda dtype: "no AVX-512")
    with caplog.at_level("WARNING", "model"):
        assert load(str(folder), "cpu", Options(precision="bfloat16")).spec.dtype == "float32"
    assert "no bfloat16 on this processor (no AVX-512); using float32" in caplog.text


@pytest.mark.parametrize("precision", REDUCED)
def test_reduced_precision_stays_near(folder: Any, ours: Any, precision: Any) -> None:
    """At least 95 % of frames agree, no utterance score moves by more than 0.03."""
    import torch

    reduced = loaded_in(precision, folder)
    assert reduced.spec.dtype == precision
    agree = []
    for seed in range(6):
        x = sound(2.5, seed)
        assert 0 < np.abs(heard_by(reduced, x)[0] - heard_by(ours, x)[0]).max() < 0.03
        with torch.inference_mode():
            frames = [m._forward(torch.from_numpy(x)[None])[0].argmax(-1) for m in (ours, reduced)]
        agree.append((frames[0] == frames[1]).float().mean().item())
    assert np.mean(agree) >= 0.95


def test_without_packed_weights_the_numbers_are_the_same(
    folder: Any, ours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch's operators for packed weights are missing, its public ones do the work."""
    import torch

    from stream.models import packed
    from stream.models.emotion2vec import dense, load

    if why := packed.unpackable(torch.float32):
        pytest.skip(f"everything here runs without packed weights: {why}")
    monkeypatch.setattr(dense, "unpackable", lambda dtype: "not here")
    plain = load(str(folder), "cpu")
    x = sound(1.7, 9)
    np.testing.assert_allclose(heard_by(plain, x)[1], heard_by(ours, x)[1], atol=CLOSE)


def test_packing_that_computes_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from stream.models import packed

    exact = packed.packed_product
    monkeypatch.setattr(packed, "packed_product", lambda *args, **kwargs: exact(*args, **kwargs) * 1.1)
    for dtype in (torch.float32, torch.bfloat16):
        assert packed.unpackable.__wrapped__(dtype)  # as it judges without its memory


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("seconds", [1.0, 8.0])
def test_reduced_precision_in_short_and_long_windows(
    folder: Any, ours: Any, seconds: float, precision: Any
) -> None:
    """Attention takes another way in short windows than in long ones."""
    reduced = loaded_in(precision, folder)
    x = sound(seconds, 2)
    (probs, embedding), (exact, exact_embedding) = heard_by(reduced, x), heard_by(ours, x)
    np.testing.assert_allclose(probs, exact, atol=0.03)
    assert np.abs(embedding - exact_embedding).max() < 0.1
