"""The figures, beside scikit-learn's and beside arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import N_BINS, NOTHING, bins, confusion, figures, restrict, said, tabulate
from stream.types import N_LABELS, Floats

NAN = np.full(N_LABELS, np.nan, np.float32)


def material(seed: int, n: int = 300, labels: tuple[int, ...] = tuple(range(N_LABELS))) -> tuple:
    """Labels and probabilities that lean towards them."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(labels, n)
    logits = rng.normal(0, 1.5, (n, N_LABELS)) + 1.5 * np.eye(N_LABELS)[truth]
    probs = np.exp(logits)
    return truth, (probs / probs.sum(1, keepdims=True)).astype(np.float32)


def measured(truth: np.ndarray, probs: Floats) -> dict[str, np.ndarray]:
    return figures(tabulate(truth, probs).sum(axis=0))


def one_hot(*labels: int) -> Floats:
    return np.stack(
        [NAN if label == NOTHING else np.eye(N_LABELS, dtype=np.float32)[label] for label in labels]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", [tuple(range(N_LABELS)), (0, 3, 4, 6), (2, 8)])
def test_as_scikit_learn_has_them(seed: int, labels: tuple[int, ...]) -> None:
    oracle = pytest.importorskip("sklearn.metrics")
    truth, probs = material(seed, labels=labels)
    found, answers = measured(truth, probs), probs.argmax(axis=1)
    present = sorted(set(truth))
    rest = {"labels": present, "zero_division": 0}
    assert found["uar"] == pytest.approx(oracle.recall_score(truth, answers, average="macro", **rest))
    assert found["wa"] == pytest.approx(oracle.accuracy_score(truth, answers))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(truth, answers, average="macro", **rest))
    assert found["recall"][present] == pytest.approx(
        oracle.recall_score(truth, answers, average=None, **rest)
    )
    assert np.isnan(found["recall"][[i for i in range(N_LABELS) if i not in present]]).all()
    matrix = confusion(tabulate(truth, probs).sum(axis=0))
    assert (matrix[:, :N_LABELS] == oracle.confusion_matrix(truth, answers, labels=range(N_LABELS))).all()
    brier = np.mean(((probs - np.eye(N_LABELS)[truth]) ** 2).sum(axis=1))
    assert found["brier"] == pytest.approx(brier, rel=1e-6)


def test_by_hand() -> None:
    truth = np.array([0, 0, 0, 0, 3, 3])
    found = measured(truth, one_hot(0, 0, 0, 3, 3, 5))
    assert found["recall"][0] == 0.75
    assert found["recall"][3] == 0.5
    assert found["uar"] == 0.625
    assert found["wa"] == pytest.approx(4 / 6)
    # F1: 2 * 3 / (4 + 3) and 2 * 1 / (2 + 2); label 5 has no clip and is none of the means
    assert found["macro_f1"] == pytest.approx((6 / 7 + 0.5) / 2)


def test_no_answer_is_a_wrong_one_without_confidence() -> None:
    found = measured(np.array([0, 0, 3]), one_hot(0, NOTHING, 3))
    assert found["wa"] == pytest.approx(2 / 3)
    assert found["recall"][0] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["ece"] == 0
    assert confusion(tabulate(np.array([0, 0, 3]), one_hot(0, NOTHING, 3)).sum(axis=0))[0, NOTHING] == 1
    silence = measured(np.array([0, 3]), one_hot(NOTHING, NOTHING))
    assert silence["uar"] == 0
    assert np.isnan(silence["ece"])


def calibration_error_by_hand(truth: np.ndarray, probs: Floats) -> float:
    """Guo et al. 2017, equation 3, spelt out."""
    sure, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    error = 0.0
    for m in range(N_BINS):
        inside = (sure > m / N_BINS) & (sure <= (m + 1) / N_BINS)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return error


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error(seed: int) -> None:
    truth, probs = material(seed)
    assert measured(truth, probs)["ece"] == pytest.approx(calibration_error_by_hand(truth, probs), abs=1e-6)


def test_calibration_error_of_one_mass() -> None:
    truth, probs = material(1, n=15 * 20)
    order = np.argsort(probs.max(axis=1))
    parts = np.array_split(order, N_BINS)
    sure, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    expected = np.mean([abs(sure[part].mean() - right[part].mean()) for part in parts])
    assert measured(truth, probs)["ece_mass"] == pytest.approx(expected, abs=1e-6)
    assert (bins(tabulate(truth, probs).sum(axis=0), mass=True)[:, 0] == 20).all()


def test_one_who_says_what_is_true_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(N_LABELS, 0.5), 60_000).astype(np.float32)
    truth = np.array([rng.choice(N_LABELS, p=row / row.sum()) for row in probs.astype(np.float64)])
    assert measured(truth, probs)["ece"] < 0.01


def test_restricted_to_the_labels_of_a_corpus() -> None:
    probs = np.array([[0.5, 0, 0, 0.2, 0.2, 0, 0, 0, 0.1], NAN, np.eye(N_LABELS)[1]], np.float32)
    found = restrict(probs, (3, 4))
    assert found[0] == pytest.approx([0, 0, 0, 0.5, 0.5, 0, 0, 0, 0])
    assert np.isnan(found[1]).all()
    assert np.isnan(found[2]).all(), "gives neither label a chance: that is no answer"
    assert said(found).tolist() == [3, NOTHING, NOTHING]
    assert said(probs).tolist() == [0, NOTHING, 1]


@given(st.integers(0, 1000), st.integers(1, 60))
def test_bounds_and_sums(seed: int, n: int) -> None:
    truth, probs = material(seed, n)
    tables = tabulate(truth, probs)
    found = figures(tables.sum(axis=0))
    for name in ("uar", "wa", "macro_f1", "ece", "ece_mass"):
        assert 0 <= found[name] <= 1
    assert confusion(tables.sum(axis=0)).sum() == n
    assert bins(tables.sum(axis=0))[:, 0].sum() == bins(tables.sum(axis=0), mass=True)[:, 0].sum() == n
    # Any leading axes: as many clips at once as one likes.
    stacked = figures(np.stack([tables.sum(axis=0), tables[0]]))
    assert stacked["uar"][0] == found["uar"]
    assert stacked["recall"].shape == (2, N_LABELS)
