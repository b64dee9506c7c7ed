"""What answers are worth in life's mix: figures that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import life
from evaluation.intervals import voices
from evaluation.life import ToJudge, auc, shares
from evaluation.listen import Piece, Task, listen
from stream.models.fake import FakeModel
from stream.rules import Rule
from stream.session import StreamConfig
from stream.types import FRAMES_PER_S, LABELS, N_LABELS, Floats

ANGRY, HAPPY, NEUTRAL, SAD, UNKNOWN = (
    LABELS.index(name) for name in ("angry", "happy", "neutral", "sad", "unknown")
)


def row(label: int, p: float) -> list[float]:
    rest = (1 - p) / (N_LABELS - 1)
    return [p if i == label else rest for i in range(N_LABELS)]


@pytest.fixture(scope="module")
def judged() -> life.Life:
    """Ten neutral clips of 36 s, three shown as an emotion, one of these unsure; four angry; one in silence."""
    said = [(NEUTRAL, 0.9)] * 7 + [(SAD, 0.8), (ANGRY, 0.8), (HAPPY, 0.3)]
    said += [(ANGRY, 0.9), (ANGRY, 0.8), (HAPPY, 0.6), (NEUTRAL, 0.4)]
    probs = np.array([row(*one) for one in said] + [[np.nan] * N_LABELS], np.float32)
    truth = np.array([NEUTRAL] * 10 + [ANGRY] * 4 + [NEUTRAL])
    alerts = [()] * 7 + [(SAD,), (ANGRY,), ()] + [(ANGRY,), (ANGRY,), (SAD,), (), ()]
    frames = np.array([36 * FRAMES_PER_S] * 14 + [0])
    who = voices([f"s{i % 3}" for i in range(15)])
    return life.judge(ToJudge(["a"] * 15, truth, probs, frames, alerts), {"a": who}, {"a": 1}, ["a"])


def test_neutral_speech_and_its_hours(judged: life.Life) -> None:
    assert judged.neutral_clips == 11, "silence is no emotion, and is counted"
    assert float(judged.as_emotion["a"].value) == pytest.approx(3 / 11)
    assert judged.as_emotion_mean == pytest.approx(3 / 11)
    assert judged.neutral_hours == pytest.approx(0.1)
    assert judged.false_emotions_per_hour == pytest.approx(30)
    assert judged.false_alerts_per_hour == pytest.approx(20)


def test_alerts_are_right_as_often_as_the_mix_makes_them(judged: life.Life) -> None:
    of_felt, right, of_neutral = 3 / 4, 2 / 4, 2 / 11
    for p, found in judged.alerts_right.items():
        assert found == pytest.approx(p * right / (p * of_felt + (1 - p) * of_neutral))
    assert list(judged.alerts_right) == [0.05, 0.1, 0.3]


def test_unsure_answers_are_told_apart(judged: life.Life) -> None:
    assert judged.uncertain and judged.uncertain_right and judged.certain_right
    assert float(judged.uncertain.value) == pytest.approx(2 / 14), "of those that were answered"
    assert float(judged.uncertain_right.value) == 0
    assert float(judged.certain_right.value) == pytest.approx(9 / 12)


def test_clips_count_as_often_as_a_conversation_has_their_label(judged: life.Life) -> None:
    weights = shares(np.array([NEUTRAL] * 3 + [ANGRY] * 10))
    assert weights.mean() == pytest.approx(1)
    assert weights[:3].sum() / weights[3:].sum() == pytest.approx(7), "of two labels, by the prior's weight"
    assert judged.mixed
    right = (7 / 10 * 7 + 2 / 4 * 1) / 8
    assert float(judged.mixed.figures["wa"]) == pytest.approx(right)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    more, less = rng.integers(0, 9, 40).astype(float), rng.integers(0, 6, 30).astype(float)
    pairs = [(a > b) + (a == b) / 2 for a in more for b in less]
    assert auc(more, less) == pytest.approx(np.mean(pairs))


def test_alerts_are_those_of_the_rules(pieces: list[Floats]) -> None:
    """The fake model is angry where it is loud: what a rule raises belongs to the clip in which it does."""
    rule = Rule("loud", "any_of", (ANGRY,), 0.5, 0.4, cool_down=0)
    tasks = [Task((Piece(i),), samples) for i, samples in enumerate(pieces)]
    found = dict(listen(tasks, FakeModel(), StreamConfig(), rules=[rule]))
    loud = {i for i, heard in found.items() if heard.whole is not None and heard.whole[ANGRY] > 0.5}
    raised = {i for i, heard in found.items() if heard.alerts}
    assert loud <= raised and all(set(heard.alerts) <= {ANGRY} for heard in found.values())
    assert raised
    assert not any(heard.alerts for _, heard in listen(tasks, FakeModel(), StreamConfig()))
