"""Bootstrap intervals: over speakers, seeded, honest where speakers are few."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import intervals
from evaluation.intervals import DRAWS, assess, draw, join, mean, share, voices
from evaluation.metrics import tabulate
from stream.types import N_LABELS
from tests.evaluation.test_metrics import material


def people(n: int, clips: int, spread: float, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Hits (n * clips, 2) of speakers who differ, and their names: the share expected is 0.6."""
    ease = np.clip(rng.normal(0.6, spread, n), 0, 1)
    hits = rng.random((n, clips)) < ease[:, None]
    rows = np.stack([hits.ravel(), np.ones(n * clips)], axis=1).astype(np.float64)
    return rows, [str(i) for i in range(n) for _ in range(clips)]


def coverage(over_speakers: bool, trials: int = 150) -> float:
    """How often the interval holds the share expected of new speakers."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(trials):
        rows, names = people(25, 20, 0.2, rng)
        found = share(draw(rows, voices(names if over_speakers else [""] * len(names)), 0))
        held += bool(found.low <= 0.6 <= found.high)
    return held / trials


def test_ninety_five_of_a_hundred_hold_the_truth() -> None:
    assert coverage(over_speakers=True) > 0.88
    # What a bootstrap over clips would claim, where clips of one speaker resemble each other.
    assert coverage(over_speakers=False) < 0.75


def test_clips_of_one_speaker_go_together() -> None:
    who = voices(["a", "b", "a", "c", "b"])
    assert who.group.tolist() == [0, 1, 0, 2, 1]
    assert (who.n_speakers, who.n_unnamed, who.few, who.over_clips) == (3, 0, True, False)
    # All clips of a speaker agree: over 12 such speakers, draws have only the shares of 12.
    names = [str(i % 12) for i in range(240)]
    rows = np.stack([np.array([int(name) % 2 for name in names]), np.ones(240)], axis=1).astype(np.float64)
    drawn = draw(rows, voices(names), 0)
    assert len(drawn.draws) == 1
    assert set(np.round(drawn.draws[0][:, 0] / 20)) <= set(range(13))
    assert (drawn.draws[0][:, 1] == 240).all()


def test_without_speakers_over_clips() -> None:
    for names in ([""] * 30, ["only one"] * 30):
        who = voices(names)
        assert who.over_clips
        assert not who.few
        assert len(set(who.group)) == 30
    mixed = voices(["a", "", "b", ""])
    assert not mixed.over_clips
    assert mixed.group.tolist() == [0, 1, 2, 3]
    assert mixed.n_unnamed == 2


def test_with_few_speakers_the_interval_holds_that_over_clips() -> None:
    rng = np.random.default_rng(1)
    rows, names = people(2, 40, 0.0, rng)
    rows[:, 0] = np.tile([1, 0], 40)  # two speakers of the same share: over speakers nothing moves
    few, clips = share(draw(rows, voices(names), 0)), share(draw(rows, voices([""] * 80), 0))
    assert few.low < 0.45 < 0.55 < few.high
    assert few.low == pytest.approx(clips.low, abs=0.03)


def test_same_seed_same_interval() -> None:
    truth, probs = material(0)
    who = voices([str(i % 20) for i in range(len(truth))])
    first, again, other = (
        assess(draw(tabulate(truth, probs), who, seed)).estimate("uar") for seed in (1, 1, 2)
    )
    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("name", ["uar", "wa", "macro_f1", "ece", "ece_mass", "brier"])
def test_the_interval_holds_the_figure(name: str) -> None:
    for seed in range(5):
        truth, probs = material(seed, n=200)
        who = voices([str(i % 20) for i in range(len(truth))])
        found = assess(draw(tabulate(truth, probs), who, seed)).estimate(name)
        assert 0 <= found.low <= found.value <= found.high


def test_all_or_none_is_not_certain() -> None:
    rows = np.ones((24, 2))
    found = share(draw(rows, voices([""] * 24), 0))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.8575, abs=1e-3)  # Clopper and Pearson, 24 of 24
    rows[:, 0] = 0
    assert share(draw(rows, voices([""] * 24), 0)).high == pytest.approx(0.1425, abs=1e-3)
    truth = np.array([0] * 10 + [3] * 10)
    recall = assess(draw(tabulate(truth, np.eye(N_LABELS, dtype=np.float32)[truth]), voices([""] * 20), 0))
    estimate = recall.estimate("recall")
    assert estimate.low[0] == pytest.approx(0.6915, abs=1e-3)  # 10 of 10
    assert np.isnan(estimate.low[1])


def test_corpora_weigh_the_same_in_the_mean_and_by_clips_together() -> None:
    small, large = material(0, n=50), material(1, n=1000)
    drawn = [
        draw(tabulate(*one), voices([""] * len(one[0])), seed) for seed, one in enumerate((small, large))
    ]
    parts = [assess(one) for one in drawn]
    both = mean(parts)
    assert both.figures["uar"] == pytest.approx((parts[0].figures["uar"] + parts[1].figures["uar"]) / 2)
    # Independent corpora: the mean is surer than the smaller one.
    widths = [part.estimate("uar").high - part.estimate("uar").low for part in (*parts, both)]
    assert widths[2] < widths[0]
    together = assess(join(drawn))
    right = sum((probs.argmax(1) == truth).sum() for truth, probs in (small, large))
    assert together.figures["wa"] == pytest.approx(right / 1050)
    assert (drawn[0].draws[0][:, :90].sum(1) == 50).all()


def test_as_many_draws_are_made_as_are_meant() -> None:
    intervals.times_drawn.cache_clear()
    truth, probs = material(0, n=2000)
    found = assess(draw(tabulate(truth, probs), voices([""] * 2000), 0))
    assert found.draws[0]["uar"].shape == (DRAWS,)
