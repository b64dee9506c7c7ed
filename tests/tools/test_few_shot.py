"""Teaching: right where there is something to learn, plain where there is not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.conftest import embeddings
from tools import few_shot
from tools.few_shot import BadExamples, Examples


def of(
    rows: np.ndarray, labels: list[int], names: tuple[str, ...], groups: list[int] | None = None
) -> Examples:
    numbers = None if groups is None else np.array(groups)
    return Examples(rows.astype(np.float32), np.array(labels), names, numbers)


def noise(n: int, size: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size))


def test_what_differs_is_learned_and_the_interval_stays_modest() -> None:
    examples = of(embeddings(40), [i % 4 for i in range(40)], ("a", "b", "c", "d"))
    figures = few_shot.cross_validate(examples)
    assert figures.uar == 1 and figures.accuracy == pytest.approx(1) and figures.better_than_chance
    assert 0.7 < figures.low < 0.95, "ten of ten is not certainty"
    classifier = few_shot.fit(examples)
    probs = classifier.probs(embeddings(40, seed=9))
    assert (probs.argmax(axis=1) == [i % 4 for i in range(40)]).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1)


@pytest.mark.slow
def test_noise_is_no_better_than_chance() -> None:
    called = [
        few_shot.cross_validate(of(noise(20, seed=s), [0, 1] * 10, ("a", "b"))).better_than_chance
        for s in range(3, 7)
    ]
    assert not any(called), "of seeds 0 to 39 one is, as an interval of 95 % allows"


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Two clouds that overlap; the truth is counted on many more."""
    held = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        far = 1.2 * np.eye(30)[0]
        rows = rng.normal(size=(20, 30)) + np.outer([0, 1] * 10, far)
        examples = of(rows, [0, 1] * 10, ("a", "b"))
        figures = few_shot.cross_validate(examples, seed)
        fresh = rng.normal(size=(4000, 30)) + np.outer([0, 1] * 2000, far)
        truth = (
            few_shot.fit(examples, seed).probs(fresh.astype(np.float32)).argmax(axis=1) == [0, 1] * 2000
        ).mean()
        held += figures.low <= truth <= figures.high
    assert held >= 10


def test_voices_that_are_learned_instead_of_labels_are_found_out() -> None:
    """Each sub-folder has a label and a voice; only the voice can be heard."""
    voices = 5 * noise(8, 40, seed=2)
    rows = np.concatenate([voice + noise(4, 40, seed=i) for i, voice in enumerate(voices)])
    labels = [i // 4 % 2 for i in range(32)]
    flattering = few_shot.cross_validate(of(rows, labels, ("a", "b")))
    honest = few_shot.cross_validate(of(rows, labels, ("a", "b"), [i // 4 for i in range(32)]))
    assert flattering.uar > 0.95
    assert not honest.better_than_chance and honest.grouped


def test_labels_weigh_the_same_however_many_clips_they_have() -> None:
    rows = embeddings(48)
    labels = [0 if i % 4 else 1 for i in range(48)]
    figures = few_shot.cross_validate(of(rows, labels, ("often", "rare")))
    assert figures.uar > 0.95
    assert figures.to_json()["clips"] == {"often": 36, "rare": 12}


@pytest.mark.parametrize(
    ("labels", "names", "said"),
    [([0, 0, 0], ("a",), "Two labels or more"), ([0, 0, 0, 1, 1], ("a", "b"), "too few: b 2")],
)
def test_too_little_to_learn_from_is_said(labels: list[int], names: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadExamples, match=said):
        few_shot.cross_validate(of(embeddings(len(labels)), labels, names))


def test_constant_numbers_do_no_harm() -> None:
    rows = np.hstack([embeddings(20), np.full((20, 3), 7.0)])
    classifier = few_shot.fit(of(rows, [i % 2 for i in range(20)], ("a", "b")))
    assert np.isfinite(classifier.weights).all() and (classifier.scale > 0).all()


def test_groups_need_two_sub_folders_of_every_label() -> None:
    assert few_shot.groups_of([0, 0, 1, 1], ["x", "y", "x", "y"]) is not None
    assert few_shot.groups_of([0, 0, 1, 1], ["x", "y", "x", "x"]) is None
