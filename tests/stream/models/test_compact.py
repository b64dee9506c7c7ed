"""The promises of the embedded model: causal, stateless, indifferent to cuts and to batch mates."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the compact model needs torch")
import torch

from stream.models.compact import graph
from stream.models.compact import model as compact
from stream.models.compact.calibration import calibration
from stream.models.compact.files import FOLDER, read_measured
from stream.models.compact.model import Compact, load, read_weights, save
from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import N_FFT, NetConfig
from stream.prior import PRIORS
from stream.types import (
    FRAME,
    HOP,
    IMPOSSIBLE,
    LABELS,
    N_LABELS,
    SAMPLE_RATE,
    EmotionModel,
    Floats,
    frames_in,
    samples_for,
    softmax,
)
from tests.corpora import corpora
from tests.stream.voices import N_FRAMES, assert_same, play, random_cuts, voice, window


@pytest.fixture(scope="module")
def torch_model() -> Compact:
    torch.set_num_threads(1)
    return load("cpu")


@pytest.fixture(scope="module", params=["torch", "onnx"])
def model(request: pytest.FixtureRequest) -> EmotionModel:
    chosen: EmotionModel = (
        request.getfixturevalue("torch_model") if request.param == "torch" else graph.load()
    )
    return chosen


def test_the_spec_is_what_the_answers_are(model: EmotionModel) -> None:
    spec = model.spec
    assert (spec.name, spec.device, spec.hop_frames) == ("compact", "cpu", 10)
    assert spec.dtype in {"torch": ("bfloat16", "float32"), "onnx": ("int8", "float32")}[spec.runtime]
    assert spec.lookahead_frames <= 20
    assert spec.state_size < 9_000
    scores = model.score([window(voice(1), 0, 20, None, True)])[0]
    assert scores.logits.shape == (20, N_LABELS)
    assert scores.weights.shape == (20,)
    assert scores.state is not None
    assert scores.state.shape == (spec.state_size,)
    for array in (scores.logits, scores.weights, scores.state):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
    assert model.score([]) == []


@pytest.mark.parametrize("cuts", [[10] * 18 + [7], [80, 80, 27], *map(random_cuts, range(6))])
def test_how_a_span_is_cut_does_not_matter(model: EmotionModel, cuts: list[int]) -> None:
    x = voice(2)
    whole, cut = play(model, x, [N_FRAMES]), play(model, x, cuts)
    assert_same(whole, cut)
    assert whole.state is not None and cut.state is not None
    np.testing.assert_allclose(whole.state, cut.state, rtol=1e-4, atol=1e-3)


def test_batch_mates_do_not_matter(model: EmotionModel) -> None:
    """Strangers of other voices, levels and histories: fresh, in the midst of a span, starting a second one."""
    windows = []
    for seed in range(7):
        x = voice(seed) * 10.0 ** -(seed % 4)
        past = None if seed == 0 else play(model, x, random_cuts(seed, 40 + 10 * seed)).state
        windows.append(window(x, 60, 20, past, seed % 3 == 0))
    for alone, together in zip((model.score([w])[0] for w in windows), model.score(windows), strict=True):
        assert_same(alone, together)
        assert alone.state is not None and together.state is not None
        np.testing.assert_allclose(alone.state, together.state, rtol=1e-4, atol=1e-3)


def test_short_windows_among_full_ones(model: EmotionModel) -> None:
    """The last windows of spans share batches with others, and nobody hears the difference."""
    lengths = [10, 3, 1, 10, 7]
    begun = [model.score([window(voice(seed), 0, 10, None, True)])[0].state for seed in range(5)]
    windows = [
        replace(window(voice(seed), 10, n, state, False), embed=True)
        for seed, (n, state) in enumerate(zip(lengths, begun, strict=True))
    ]
    for each, together in zip(windows, model.score(windows), strict=True):
        alone = model.score([each])[0]
        assert alone.logits.shape == together.logits.shape == (each.n_frames, len(LABELS))
        assert_same(alone, together)
        assert alone.embedding is not None and together.embedding is not None
        assert alone.state is not None and together.state is not None
        np.testing.assert_allclose(alone.embedding, together.embedding, atol=1e-4)
        np.testing.assert_allclose(alone.state, together.state, rtol=1e-4, atol=1e-3)


def test_it_answers_anew_every_50_ms_and_verdicts_rest_on_whole_steps(model: EmotionModel) -> None:
    scores = play(model, voice(2), [180])
    answers = scores.logits.reshape(36, 5, N_LABELS)
    np.testing.assert_array_equal(answers, np.broadcast_to(answers[:, :1], answers.shape))
    probs = softmax(answers[:, 0])
    assert np.abs(np.diff(probs, axis=0)).max(1).min() > 1e-5, "no two in a row are the same"
    between, ends = probs[2::2], probs[1::2]
    assert np.abs(between - (ends[:-1] + ends[1:]) / 2).max(1).mean() > 1e-3, "nor on a line between others"

    def verdict(frames: slice) -> Floats:
        weights = scores.weights.reshape(18, 10)[:, frames].ravel()
        return softmax(
            weights @ scores.logits.reshape(18, 10, -1)[:, frames].reshape(len(weights), -1) / weights.sum()
        )

    np.testing.assert_allclose(verdict(slice(None)), verdict(slice(5, None)), atol=1e-3)


def test_only_the_promised_lookahead_is_used(model: EmotionModel) -> None:
    x, y = voice(3), voice(3)
    changed = 100  # the first frame that hears the change
    y[samples_for(changed) :] = voice(4)[samples_for(changed) :]
    one, other = play(model, x, [N_FRAMES]), play(model, y, [N_FRAMES])
    safe = changed - model.spec.lookahead_frames
    np.testing.assert_allclose(one.logits[:safe], other.logits[:safe], atol=1e-4)
    assert np.abs(one.logits[safe:] - other.logits[safe:]).max() > 1e-2


@pytest.mark.parametrize("n_frames", range(1, 10))
def test_a_short_last_window(model: EmotionModel, n_frames: int) -> None:
    x = voice(5)
    assert_same(play(model, x, [20 + n_frames]), play(model, x, [20, n_frames]))
    assert len(play(model, x, [n_frames]).logits) == n_frames


def test_a_span_starts_afresh_but_keeps_the_voice(model: EmotionModel) -> None:
    x, y = voice(6), voice(7)
    after = play(model, x, [100]).state
    assert after is not None
    carried = window(y, 0, 50, after, True)
    blank = after.copy()
    slow = NetConfig().slow_size
    blank[slow:] = 123.0  # caches of the last span: must not be looked at
    dirty = window(y, 0, 50, blank, True)
    fresh = window(y, 0, 50, None, True)
    kept, cleaned, new = model.score([carried, dirty, fresh])
    assert_same(kept, cleaned)
    assert np.abs(kept.logits - new.logits).max() > 1e-2


def test_the_state_is_not_changed_in_place(model: EmotionModel) -> None:
    x = voice(8)
    state = play(model, x, [40]).state
    assert state is not None
    before = state.copy()
    model.score([window(x, 40, 10, state, False)])
    np.testing.assert_array_equal(state, before)


SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE
HARD = {
    "zeros": np.zeros(SAMPLE_RATE),
    "one count": np.round(np.sin(SECOND * 6000)) / 32768,
    "dc": np.full(SAMPLE_RATE, 1.0),
    "clipped": np.sign(np.sin(2 * np.pi * 150 * SECOND)),
    "click": np.eye(1, SAMPLE_RATE, 9000)[0],
    "beyond full scale": 100 * np.random.default_rng(0).standard_normal(SAMPLE_RATE),
    "silence, then loud": np.sin(2 * np.pi * 300 * SECOND) * (SECOND > 0.5),
}


@pytest.mark.parametrize("name", HARD)
def test_any_signal_gives_numbers(model: EmotionModel, name: str) -> None:
    x = HARD[name].astype(np.float32)
    scores = play(model, x, [frames_in(len(x))])
    assert np.isfinite(scores.logits).all()
    assert scores.state is not None
    assert np.isfinite(scores.state).all()
    assert (scores.weights > 0).all()
    np.testing.assert_allclose(softmax(scores.logits).sum(axis=1), 1, atol=1e-5)
    assert_same(scores, play(model, x, random_cuts(1, frames_in(len(x)))))


@pytest.mark.parametrize("gain_db", [-20, -6, 10])
def test_level_tells_nothing(model: EmotionModel, gain_db: float) -> None:
    x = voice(9)
    louder = np.asarray(x * 10 ** (gain_db / 20), np.float32)
    np.testing.assert_allclose(
        softmax(play(model, x, [150]).logits), softmax(play(model, louder, [150]).logits), atol=0.05
    )


@pytest.mark.parametrize(("precision", "apart"), [("float32", 1e-4), ("bfloat16", 0.02)])
def test_packed_weights_change_next_to_nothing(precision: str, apart: float) -> None:
    """What a CPU computes from its own layout of the weights is what PyTorch computes from the weights, but for
    what is rounded to bfloat16: keys and values always, products where that is faster."""
    net, card = read_weights()
    model = load("cpu", precision=precision)
    x = torch.from_numpy(np.stack([voice(seed)[: samples_for(100)] for seed in (1, 2, 3)]))
    with torch.inference_mode():
        features = net.eval().features(x)
        plain = net(features, net.initial_state(3))[0] / card["temperature"]
    windows = [window(row, 0, 100, None, True) for row in x.numpy()]
    for scores, logits in zip(model.score(windows), plain.numpy(), strict=True):
        possible = [LABELS.index(label) for label in model.spec.supported_labels]
        np.testing.assert_allclose(
            softmax(scores.logits[:, possible]), softmax(logits[:, possible]), atol=apart
        )


def test_a_precision_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"compact does not compute in int8 on cpu; set model\.precision to auto"
    ):
        load("cpu", precision="int8")


def test_impossible_labels_score_zero() -> None:
    torch.manual_seed(0)
    net = CompactNet(NetConfig())
    supported_labels = ("angry", "neutral")
    fitted = calibration({"temperature": 2.0, "can_say": supported_labels})
    model = Compact(net, torch.device("cpu"), fitted)
    assert model.spec.supported_labels == supported_labels
    scores = model.score([window(voice(1), 0, 30, None, True)])[0]
    for i, label in enumerate(LABELS):
        if label not in supported_labels:
            assert (scores.logits[:, i] == IMPOSSIBLE).all()
            assert (softmax(scores.logits)[:, i] == 0).all()
        else:
            assert (softmax(scores.logits)[:, i] > 0).all()


@pytest.mark.slow
def test_mels_are_librosas(torch_model: Compact) -> None:
    librosa = pytest.importorskip(
        "librosa", reason="librosa is the oracle for the features; training needs it"
    )
    x = voice(10)
    # librosa centers the short window in n_fft: its frames start 56 samples late.
    expected = librosa.feature.melspectrogram(
        y=np.pad(x, ((N_FFT - FRAME) // 2, N_FFT)), sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP, win_length=FRAME,
        window="hann", center=False, n_mels=64, fmin=60, fmax=7600, power=2.0,
    )[:, : frames_in(len(x))]  # fmt: skip
    with torch.inference_mode():
        mels = torch_model._net.features(torch.from_numpy(x)[None])[0, :, :64].exp().numpy()
    np.testing.assert_allclose(mels, expected.T, rtol=1e-3, atol=2e-8)


def test_pitch_is_heard(torch_model: Compact) -> None:
    """The lag with the most periodicity is the period of a buzz, to the spacing of the lags."""
    lags = np.geomspace(60, 450, NetConfig().n_lags)
    for f0 in (90, 140, 220, 330):
        t = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        buzz = np.asarray(sum(np.sin(2 * np.pi * k * f0 * t) for k in range(1, 8)), np.float32)
        with torch.inference_mode():
            found = torch_model._net.features(torch.from_numpy(buzz)[None])[0, :, 64:].mean(0).numpy()
        assert lags[found.argmax()] == pytest.approx(f0, rel=0.08)


def test_weights_are_small_and_unpickled(model: EmotionModel) -> None:
    weights = FOLDER / "weights.npz"
    assert weights.stat().st_size < 10e6
    with np.load(weights, allow_pickle=False) as arrays:
        assert {arrays[name].dtype.name for name in arrays.files} <= {"float16", "float32"}
    assert set(model.spec.supported_labels) <= set(LABELS)


def test_weights_are_saved_under_the_names_of_the_first_version(tmp_path: Path) -> None:
    """The shipped files are that version's: what is saved has the same arrays and fields, and is read again."""
    net, card = read_weights()
    fitted = {prior: calibration(card, prior).fitted for prior in PRIORS}
    save(net, tuple(card["can_say"]), fitted, tmp_path)
    with np.load(FOLDER / "weights.npz") as shipped, np.load(tmp_path / "weights.npz") as saved:
        assert set(saved.files) == set(shipped.files)
        for name in shipped.files:
            assert np.array_equal(saved[name], shipped[name]), name
    shipped_card = json.loads((FOLDER / "config.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text()) == shipped_card
    assert read_weights(tmp_path)[1] == card


def test_without_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load("cpu", tmp_path)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "", "cpu:1"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        load(device)


def test_the_package_alone_does_not_import_torch() -> None:
    code = "import sys; import stream.models.compact; sys.exit('torch' in sys.modules)"
    folder = Path(compact.__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0


@pytest.mark.slow
def test_voices_it_never_heard(model: EmotionModel) -> None:
    """Held-out speakers of one corpus, by way of `score`: far better than length and level alone (0.39)."""
    corpus = pytest.importorskip("training.corpus", reason="the training modules read the corpora")
    soundfile = pytest.importorskip("soundfile", reason="reads the recordings")
    folder = corpora()
    right: dict[int, list[bool]] = {}
    clips = [c for c in corpus.read_clips(folder) if (c.corpus, c.split) == ("emodb", "test")]
    labels = sorted({clip.label for clip in clips})
    for clip in clips:
        x = soundfile.read(clip.path, dtype="float32")[0]
        scores = play(model, x, [frames_in(len(x))])
        said = labels[int((scores.weights @ scores.logits)[labels].argmax())]
        right.setdefault(clip.label, []).append(said == clip.label)
    assert np.mean([np.mean(hits) for hits in right.values()]) > 0.8


def test_what_people_are_told_of_it_is_what_its_card_says() -> None:
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8").replace("\n", " ")
    told = read_measured()
    assert told
    per_cent = {name: round(100 * part) for name, part in {**told["strangers"], **told["unsure"]}.items()}
    assert (
        f"right in {round(100 * told['strangers']['right'])} % of cases where chance is {per_cent['chance']}"
        in card
    )
    assert f"in {per_cent['later']} % over a conversation" in card
    unsure = f"were right in {round(100 * told['unsure']['right'])} % of cases"
    assert unsure in card and f"the others in {per_cent['others_right']} %; {per_cent['share']} %" in card
    for language in map(
        {"de": "German", "en": "English", "pl": "Polish", "hi": "Hindi"}.get, told["languages"]
    ):
        assert f"| {language}" in card
