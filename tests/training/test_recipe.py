"""The recipe's parts: speakers kept apart, telephones, sounds, batches that can be had again, temperatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the recipe needs torch")
pytest.importorskip("librosa", reason="the recipe needs librosa")
pytest.importorskip("scipy", reason="the recipe needs scipy")

import torch

from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import NetConfig
from stream.types import N_LABELS, SAMPLE_RATE, Floats
from tests.corpora import corpora
from training import augment, sounds
from training.axes import between_corpora, fold, without
from training.batches import Sampler
from training.calibrate import ERROR, calibrate
from training.corpus import SHIPPED, UNKNOWN, TrainingClip, folds, read_clips
from training.encode import EncodedClips, encode, untrained
from training.evaluate import (
    Predictions,
    ambiguous_answers,
    calibration_error,
    mean_uar,
    predict,
    unknown_recall,
)
from training.fit import FitConfig, fit, standardize, standardize_statistics, statistics_at
from training.prepare import Version


def power_between(x: Floats, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    return float(power[(hz >= low) & (hz < high)].sum())


@pytest.mark.parametrize("seed", range(8))
def test_a_telephone_lets_only_its_band_through_and_keeps_the_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    x = np.asarray(sum(0.02 * np.sin(2 * np.pi * f * t) for f in (40, 700, 1500, 6000)), np.float32)
    heard = augment.telephone(x, rng)
    assert len(heard) == len(x) and heard.dtype == np.float32
    inside = power_between(heard, 600, 1600)
    assert inside == pytest.approx(power_between(x, 600, 1600), rel=0.3)
    assert power_between(heard, 5000, 8000) < 1e-3 * inside
    assert power_between(heard, 30, 50) < 0.05 * inside


def test_noise_is_as_far_below_the_voice_as_asked() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros(2 * SAMPLE_RATE, np.float32)
    x[:SAMPLE_RATE] = 0.1 * rng.standard_normal(SAMPLE_RATE)  # silence afterwards does not count
    noise = augment.add_noise(x, augment.colored(4 * SAMPLE_RATE, 1, rng), 10, rng) - x
    ratio = augment.active_level(x) / augment.active_level(noise)
    assert 20 * np.log10(ratio) == pytest.approx(10, abs=1)


def test_an_augmented_clip_is_a_clip() -> None:
    rng = np.random.default_rng(1)
    voices = [np.asarray(3000 * rng.standard_normal(SAMPLE_RATE), np.int16) for _ in range(4)]
    room = np.exp(-np.arange(4000) / 500).astype(np.float32)
    around = augment.Surroundings([room], [augment.colored(SAMPLE_RATE, 1, rng)], voices)
    bare = augment.Surroundings([], [], [])
    for x in (np.zeros(SAMPLE_RATE, np.float32), 0.1 * augment.colored(SAMPLE_RATE, 0.5, rng)):
        for surroundings in (around, bare):
            for _ in range(10):
                heard = augment.augment(x, surroundings, rng)
                assert heard.dtype == np.float32 and np.isfinite(heard).all()
                assert 0.8 * len(x) < len(heard) < 1.25 * len(x)


@pytest.mark.parametrize("kind", list(dict.fromkeys(sounds.KINDS)))
def test_every_kind_of_sound_sounds(kind: object) -> None:
    assert callable(kind)
    for seed in range(5):
        x = kind(SAMPLE_RATE, np.random.default_rng(seed))
        assert x.shape == (SAMPLE_RATE,) and np.isfinite(x).all() and np.abs(x).max() > 0


def test_sounds_are_the_same_with_the_same_seed_and_others_with_another() -> None:
    voices = [np.asarray(3000 * np.sin(np.arange(SAMPLE_RATE) / 20), np.int16)]
    one, again, other = (sounds.synthetic(9000, voices, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.abs(one).max() <= 1


def test_folds_hold_out_speakers_whole_and_never_the_same_ones() -> None:
    clips = [clip for clip in read_clips(corpora()) if clip.split != "test"]
    held = folds(clips)
    assert not held[0] & held[1]
    assert {i for i, clip in enumerate(clips) if clip.split == "val"} <= held[0]
    for some in held:
        inside = {clips[i].speaker for i in some if clips[i].corpus in SHIPPED} - {""}
        outside = {clip.speaker for i, clip in enumerate(clips) if i not in some}
        assert inside and not inside & outside
        for corpus in SHIPPED:
            heard = {clip.label for i, clip in enumerate(clips) if clip.corpus == corpus and i not in some}
            assert heard == {clip.label for clip in clips if clip.corpus == corpus}


SMALL = NetConfig(n_heads=2, hidden=(16, 8))


@pytest.fixture(scope="module")
def versions() -> list[EncodedClips]:
    """Two versions of made-up steps: two corpora of two speakers, and noise; five numbers tell the label."""
    rng = np.random.default_rng(0)
    clips = [
        TrainingClip(Path(f"{corpus}-{speaker}-{label}-{k}"), corpus, f"{corpus}/{speaker}", label, "train")
        for corpus, labels in (("emodb", (0, 4, 6)), ("ravdess", (0, 3, 4)))
        for speaker in "ab"
        for label in labels
        for k in range(30)
    ]
    clips += [TrainingClip(Path(f"noise-{k}"), "esc10", "", UNKNOWN, "train") for k in range(20)]
    lengths = rng.integers(11, 25, len(clips))
    ends = np.cumsum(lengths)
    steps = rng.normal(0, 1, (int(ends[-1]), SMALL.n_encoded))
    for clip, start, end in zip(clips, ends - lengths, ends, strict=True):
        steps[start:end, clip.label * 6 : clip.label * 6 + 5] += 3
    version = EncodedClips(clips, steps.astype(np.float16), np.stack([ends - lengths, ends], 1))
    return [version, version]


def network(versions: list[EncodedClips]) -> CompactNet:
    torch.manual_seed(0)
    net = untrained(SMALL)
    standardize(net, versions[0], 0)
    return net


def test_a_batch_has_a_number_and_is_always_the_same(versions: list[EncodedClips]) -> None:
    allowed, net = range(0, len(versions[0].clips), 2), network(versions)
    first, second = (Sampler(versions, allowed, net, seed=3) for _ in range(2))
    first.batch(16, 1)  # what was drawn before does not matter: a fit can go on where it was
    one, again, other = first.batch(16, 7), second.batch(16, 7), second.batch(16, 8)
    assert torch.equal(one.encoded, again.encoded) and torch.equal(one.session, again.session)
    assert one.encoded.shape != other.encoded.shape or not torch.equal(one.encoded, other.encoded)
    assert torch.isfinite(one.encoded).all() and (one.lengths > 0).all()
    noise = one.labels == UNKNOWN
    assert one.possible[:, UNKNOWN].all(), "speech may be taken for no speech, or it is never learned"
    assert (one.possible.gather(1, one.labels[:, None])).all()
    if noise.any():
        assert (one.possible[noise].sum(1) == 5).all(), "every label heard in training, and no other"


def test_the_fit_sees_what_the_server_computes(versions: list[EncodedClips]) -> None:
    net = network(versions)
    batch = Sampler(versions, range(len(versions[0].clips)), net, 1).batch(16, 3)
    everywhere = net.statistics(batch.encoded[:, :, None], torch.zeros(16, SMALL.n_sums), batch.session)[0][
        :, :, 0
    ]
    last = everywhere[torch.arange(16), batch.lengths - 1]
    torch.testing.assert_close(statistics_at(net, batch)[:, -1], last, atol=2e-3, rtol=1e-3)


def test_a_fit_learns_and_goes_on_where_it_was(versions: list[EncodedClips], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = FitConfig(steps=24, batch=24, peak_rate=3e-2, average=0.8)

    def fitted(kept: Path) -> CompactNet:
        net = network(versions)
        sampler = Sampler(versions, range(len(versions[0].clips)), net, 1)
        standardize_statistics(net, sampler.batch(24, 0))
        return fit(net, between_corpora(net, versions[0]), sampler, config, kept, torch.device("cpu"))

    net = fitted(tmp_path / "one.pt")
    found = predict(net, versions[0])
    assert mean_uar(found.whole, found.clips) > 0.9, "what five numbers tell plainly is learned"
    assert unknown_recall(found.whole, found.clips)[0] > 0.9
    again = fitted(tmp_path / "one.pt")  # done already: nothing is fitted twice
    same = fitted(tmp_path / "two.pt")
    for other in (again, same):
        for name, values in net.state_dict().items():
            assert torch.equal(values, other.state_dict()[name]), name


def test_heads_do_not_hear_which_corpus_it_is(versions: list[EncodedClips]) -> None:
    """One corpus is moved by a constant, as by another microphone: the answers of the heads do not move."""
    net = network(versions).eval()
    rows = np.flatnonzero([clip.corpus == "ravdess" for clip in versions[0].clips])
    steps = versions[0].steps.copy()
    for i in rows:
        steps[slice(*versions[0].bounds[i])] += np.float16(1.5)
    moved = EncodedClips(versions[0].clips, steps, versions[0].bounds)
    standardize_statistics(net, Sampler([moved], range(len(moved.clips)), net, 1).batch(24, 0))
    axes = between_corpora(net, moved)
    assert torch.allclose(axes @ axes.T, torch.eye(1), atol=1e-5)
    x = torch.randn(4, 3, net.config.n_stats)
    aside = x + torch.randn(4, 3, len(axes)) @ axes
    assert torch.allclose(without(x, axes), without(aside, axes), atol=1e-4)
    before = net.heads(without(x, axes))
    assert not torch.allclose(net.heads(x), net.heads(aside), atol=1e-2)
    fold(net, axes)
    assert torch.allclose(net.heads(x), before, atol=1e-4)
    assert torch.allclose(net.heads(x), net.heads(aside), atol=1e-3)


def test_what_is_heard_of_a_clip_does_not_depend_on_its_company() -> None:
    rng = np.random.default_rng(0)
    net = untrained(NetConfig())
    lengths = (130, 47, 203)
    ends = np.cumsum(lengths)
    clips = [TrainingClip(Path(str(n)), "emodb", "a", 0, "train") for n in lengths]
    frames = rng.normal(-6, 2, (int(ends[-1]), net.config.n_raw)).astype(np.float16)
    bounds = np.stack([ends - lengths, ends], 1)
    speech = np.array([(12, n - 5) for n in lengths])
    nothing = np.zeros((0, 384), np.float16), np.zeros((3, 2), np.int64)
    together = encode(net, Version(clips, frames, bounds, speech, *nothing))
    for i, n in enumerate(lengths):
        alone = encode(net, Version(clips[i : i + 1], frames, bounds[i : i + 1], speech[i : i + 1], *nothing))
        np.testing.assert_allclose(alone.of(0), together.of(i), atol=2e-3)
        assert len(alone.of(0)) == -(-(n - 2) // 10), "from 100 ms before the voice to the clip's end"


def strangers(seed: int, sharp: float) -> Predictions:
    """Logits `sharp` times as large as they should be; frames of a third of the evidence."""
    rng = np.random.default_rng(seed)
    clips = [
        TrainingClip(Path(f"{i}"), corpus, "", int(rng.integers(N_LABELS)), "val")
        for corpus in SHIPPED
        for i in range(400)
    ]
    truth = np.eye(N_LABELS)[[clip.label for clip in clips]]

    def logits(evidence: float) -> Floats:
        # The likelihood of N(evidence, 1) against N(0, 1) in each column: calibrated by construction.
        heard = evidence * truth + rng.standard_normal(truth.shape)
        return np.asarray(sharp * evidence * heard, np.float32)

    return Predictions(clips, logits(2.0), logits(1.0), logits(0.7), clips)


def test_calibration_finds_the_temperature_that_was_hidden_and_stays_on_the_modest_side() -> None:
    parts = [strangers(seed, sharp=3.0) for seed in (0, 1)]
    found = calibrate(parts)
    assert found.figures["calibration_error"] <= ERROR + 1e-3
    assert found.figures["calibration_error_frames"] <= ERROR + 1e-3
    fitted = found.fitted
    assert 3.0 < fitted.temperature < 4.5
    assert 3.0 < fitted.temperature / fitted.gain < 4.5
    assert calibration_error(parts[0].whole, parts[0].clips) > 0.1
    beyond = np.asarray(parts[0].whole * fitted.gain / fitted.temperature / 1.2, np.float32)
    assert calibration_error(beyond, parts[0].clips) > ERROR, "more modest would be wrong"


def test_ambiguous_answers_are_right_less_often() -> None:
    part = strangers(2, sharp=1.0)
    share, right, others = ambiguous_answers(part.whole, part.clips)
    assert 0 < share < 0.5 and right < others - 0.1
