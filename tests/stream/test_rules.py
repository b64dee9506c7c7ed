"""When rules tell: thresholds, hysteresis, cool-down, holding, forgetting; and never because of the cutting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.rules import Alert, AlertState, Rule, RuleEngine
from stream.session import StreamConfig, StreamSession
from stream.types import LABELS, N_LABELS, Floats, FramesScored, StreamEvent, UtteranceScored
from stream.windowed_sums import GRID, WindowedSums
from tests.stream.playing import Player

ANGRY, HAPPY, NEUTRAL, SAD = (LABELS.index(name) for name in ("angry", "happy", "neutral", "sad"))
NEGATIVE = tuple(LABELS.index(name) for name in ("angry", "disgusted", "fearful", "sad"))
S = 100  # frames


def row(**scores: float) -> Floats:
    """Scores (N_LABELS,); what is not given is `other`'s."""
    found = np.zeros(N_LABELS, np.float32)
    for name, value in scores.items():
        found[LABELS.index(name)] = value
    found[LABELS.index("other")] += 1 - found.sum()
    return found


def said(start: int, end: int, probs: Floats) -> UtteranceScored:
    return UtteranceScored(start, end, end - start, probs)


LOUD = Rule("loud", "any_of", (ANGRY, SAD), 0.7, 0.5, cool_down=60 * S, forget=60 * S, min_speech=50)


def utterances(rule: Rule, *told: tuple[float, float]) -> list[tuple[str, float]]:
    """(second, angry) of utterances of a second each → (state, second) of the alerts."""
    engine = RuleEngine([rule])
    found: list[Alert] = []
    for second, angry in told:
        end = round(second * S)
        found += engine.utterance(None, said(end - S, end, row(angry=angry)))
    return [(alert.state, alert.frame / S) for alert in found]


def test_above_is_raised_and_only_well_below_is_it_cleared() -> None:
    assert utterances(LOUD, (1, 0.7)) == [], "not above"
    assert utterances(LOUD, (1, 0.71), (2, 0.9), (3, 0.6), (4, 0.5), (5, 0.49)) == [
        ("raised", 1),
        ("cleared", 5),
    ]


def test_it_is_not_raised_again_before_its_cool_down() -> None:
    told = [(1, 0.8), (2, 0.1), (30, 0.8), (60.9, 0.8), (61, 0.8)]
    assert utterances(LOUD, *told) == [("raised", 1), ("cleared", 2), ("raised", 61)]


def test_it_is_cleared_when_nobody_speaks_any_more() -> None:
    engine = RuleEngine([LOUD])
    assert [a.state for a in engine.utterance(None, said(0, S, row(angry=0.8)))] == ["raised"]
    assert engine.advance(None, 61 * S - 1) == []
    assert [(a.state, a.frame) for a in engine.advance(None, 61 * S)] == [("cleared", 61 * S)]
    assert engine.advance(None, 500 * S) == []


def test_short_utterances_say_nothing() -> None:
    engine = RuleEngine([LOUD])
    assert engine.utterance(None, said(0, 49, row(angry=1.0))) == []
    assert engine.utterance(None, said(100, 150, row(angry=1.0)))


@pytest.mark.parametrize(
    ("measure", "labels", "probs", "value", "label"),
    [
        ("any_of", (ANGRY, SAD), row(angry=0.2, sad=0.6), 0.6, SAD),
        ("all_of", (ANGRY, SAD), row(angry=0.4, sad=0.35), 0.35, ANGRY),
        ("sum_of", (ANGRY, SAD), row(angry=0.4, sad=0.5), 0.9, SAD),
    ],
)
def test_measures(measure: str, labels: tuple[int, ...], probs: Floats, value: float, label: int) -> None:
    rule = Rule("r", measure, labels, 0.3, 0.2)  # type: ignore[arg-type]
    (alert,) = RuleEngine([rule]).utterance(None, said(0, S, probs))
    assert alert.value == pytest.approx(value) and alert.label == label
    (alert,) = RuleEngine([replace(rule, window=2 * S)]).frames(None, 0, np.tile(probs, (S, 1)))
    assert alert.value == pytest.approx(value) and alert.label == label and alert.frame == GRID


ENGAGED = Rule("flat", "share_of", (NEUTRAL,), 0.6, 0.5, window=4 * S, min_speech=S, cool_down=0)


def test_a_share_counts_frames_of_the_window_that_were_scored() -> None:
    engine = RuleEngine([ENGAGED])
    lively = row(happy=0.9)
    flat = np.tile(np.array([0, 0, 0, 0, 0.4, 0.3, 0.3, 0, 0], np.float32), (S, 1))  # neutral likeliest
    assert engine.frames(None, 0, flat) == [], "not before the window has been heard"
    assert [a.frame for a in engine.advance(None, 4 * S)] == [4 * S], "silence counts for nothing"
    # At 4.5 s half of the flat second is left in the window, and as much of the other: neither more nor less.
    told = engine.frames(None, 4 * S, np.tile(lively, (2 * S, 1)))
    assert [(a.state, a.frame, a.value) for a in told] == [("cleared", 5 * S, pytest.approx(0.0))]


def test_a_recording_shorter_than_the_window_is_judged_at_its_end() -> None:
    rule = replace(ENGAGED, window=60 * S, min_speech=15 * S)
    flat, lively = np.tile(row(neutral=0.9), (S, 1)), np.tile(row(happy=0.9), (S, 1))
    for heard, raised in (([flat, flat, flat, lively], True), ([flat, lively, lively, flat], False)):
        engine = RuleEngine([rule])
        assert not [a for i, part in enumerate(heard) for a in engine.frames(None, i * S, part)]
        assert [(a.state, a.frame) for a in engine.finish(4 * S)] == [("raised", 400)] * raised
    engine = RuleEngine([rule])
    engine.frames(None, 0, flat[: S // 2])
    assert engine.finish(4 * S) == [], "half a second of speech in four is too little, as 7 s in a minute are"


def test_too_little_is_told_once_the_window_has_been_heard() -> None:
    rule = Rule("glum", "any_of", (HAPPY,), 0.4, 0.5, window=2 * S, cool_down=0, below=True)
    engine = RuleEngine([rule])
    assert engine.frames(None, 0, np.tile(row(happy=0.3), (2 * S - 1, 1))) == []
    (raised,) = engine.frames(None, 2 * S - 1, np.tile(row(happy=0.3), (1, 1)))
    assert (raised.state, raised.frame, raised.value) == ("raised", 2 * S, pytest.approx(0.3))
    assert raised.probs is not None and raised.probs.sum() == pytest.approx(1)
    assert engine.frames(None, 2 * S, np.tile(row(happy=0.5), (S, 1))) == [], (
        "0.4: not above where it is cleared"
    )
    assert [a.state for a in engine.frames(None, 3 * S, np.tile(row(happy=0.9), (S, 1)))] == ["cleared"]
    assert engine.peaks()["glum"] == pytest.approx(0.3)


def test_confidence_and_ambiguity_are_those_of_the_likeliest_label() -> None:
    everything = tuple(range(N_LABELS))
    unsure = Rule("unsure", "confidence", everything, 0.6, 0.7, cool_down=0, below=True)
    torn = Rule("torn", "ambiguous", (ANGRY,), 0.5, 0.5, cool_down=0)
    engine = RuleEngine([unsure, torn])
    told = engine.utterance(None, said(0, S, row(angry=0.45, sad=0.4)))
    assert [(a.rule, a.state, a.label) for a in told] == [
        ("unsure", "raised", ANGRY),
        ("torn", "raised", ANGRY),
    ]
    told = engine.utterance(None, said(S, 2 * S, row(sad=0.52, angry=0.45)))
    assert told == [], "sad is not what torn is about, and both stay as they were"
    told = engine.utterance(None, said(2 * S, 3 * S, row(angry=0.9)))
    assert [(a.rule, a.state) for a in told] == [("unsure", "cleared"), ("torn", "cleared")]


def test_arousal_is_measured_of_utterances_and_windows_and_may_be_below_nothing() -> None:
    everything = tuple(range(N_LABELS))
    excited = Rule("excited", "arousal", everything, 0.4, 0.3, cool_down=0)
    gloomy = Rule("gloomy", "valence", everything, -0.3, -0.2, window=S, cool_down=0, below=True)
    doubted = Rule("doubted", "uncertain", (ANGRY,), 0.5, 0.5, cool_down=0)
    engine = RuleEngine([excited, gloomy, doubted])
    told = engine.utterance(None, said(0, S, row(angry=0.9, sad=0.1)))
    assert [(a.rule, a.state, a.value) for a in told] == [("excited", "raised", pytest.approx(0.68))]
    told = engine.utterance(None, said(S, 2 * S, row(angry=0.45, sad=0.4)))
    assert [(a.rule, a.state) for a in told] == [("excited", "cleared"), ("doubted", "raised")]
    told = engine.frames(None, 2 * S, np.tile(row(sad=0.8), (S, 1)))
    assert [(a.rule, a.state, a.label) for a in told] == [("gloomy", "raised", SAD)]


def test_a_window_forgets_what_has_left_it() -> None:
    rule = Rule("w", "any_of", (ANGRY,), 0.5, 0.4, window=2 * S, cool_down=0, forget=1000 * S)
    engine = RuleEngine([rule])
    assert [a.state for a in engine.frames(None, 0, np.tile(row(angry=0.9), (2 * S, 1)))] == ["raised"]
    assert engine.frames(None, 2 * S, np.tile(row(angry=0.2), (S, 1))) == [], "the mean is 0.55"
    (cleared,) = engine.frames(None, 3 * S, np.tile(row(angry=0.2), (S, 1)))
    assert (cleared.state, cleared.frame) == ("cleared", 3 * S + GRID)


def test_what_has_to_hold_is_raised_later_and_a_dip_starts_it_anew() -> None:
    rule = Rule("h", "any_of", (ANGRY,), 0.5, 0.4, window=GRID, hold=2 * S)
    engine = RuleEngine([rule])
    high, low = np.tile(row(angry=0.9), (GRID, 1)), np.tile(row(angry=0.1), (GRID, 1))
    told: list[Alert] = []
    for i, rows in enumerate([high, high, high, low, high, high, high, high, high, high]):
        told += engine.frames(None, i * GRID, rows)
    assert [(a.state, a.frame) for a in told] == [("raised", 5 * GRID + 2 * S)]


def test_rules_of_one_channel_hear_that_one_alone() -> None:
    rules = [replace(LOUD, name="c", channel="customer"), replace(LOUD, name="any")]
    engine = RuleEngine(rules, ("agent", "customer"))
    event = said(0, S, row(angry=0.9))
    assert [(a.rule, a.channel) for a in engine.utterance("agent", event)] == [("any", "agent")]
    told = [(a.rule, a.channel) for a in engine.utterance("customer", event)]
    assert told == [("c", "customer"), ("any", "customer")]
    alone = RuleEngine(rules)
    assert [(a.rule, a.channel) for a in alone.utterance(None, event)] == [("any", None)]


# -- Hysteresis and cool-down, whatever is measured -----------------------------------------------------

values = st.lists(st.none() | st.floats(0, 1), max_size=200)


@given(
    values=values,
    above=st.floats(0.2, 0.9),
    gap=st.floats(0, 0.2),
    cool_down=st.integers(0, 2000),
    hold=st.sampled_from([0, 100, 200]),
    forget=st.integers(100, 1000),
)
@settings(max_examples=200, deadline=None)
def test_an_alert_never_flaps(
    values: list[float | None], above: float, gap: float, cool_down: int, hold: int, forget: int
) -> None:
    rule = Rule("r", "any_of", (0,), above, above - gap, GRID, 0, hold, cool_down, forget)
    state, told = AlertState(rule, None), []
    for i, value in enumerate(values, 1):
        told += state.expire(i * GRID) if value is None else state.measured(i * GRID, value, 0)
    assert [a.state for a in told] == list(
        itertools.islice(itertools.cycle(["raised", "cleared"]), len(told))
    )
    raised = [a.frame for a in told if a.state == "raised"]
    assert all(b - a >= cool_down for a, b in itertools.pairwise(raised))
    for alert in told:
        value = values[alert.frame // GRID - 1]
        if alert.state == "raised":
            assert value is not None and value > above
        else:
            assert value is None or value < above - gap


# -- Two people ----------------------------------------------------------------------------------------

PAIR = ("agent", "customer")
CROSS = Rule("x", "both_raised", NEGATIVE, 0.6, 0.4, window=4 * S, min_speech=S, forget=60 * S, cool_down=0)
BOTH = replace(CROSS, name="both")
RISES = replace(CROSS, name="rises", measure="escalation")
BACK = replace(CROSS, name="back", measure="recovery", hold=10 * S)


def conversation(*turns: tuple[str, float, float]) -> list[tuple[str, str, str | None]]:
    """(who, seconds, how negative): one after the other, or both at once → (rule, state, channel)."""
    engine = RuleEngine([BOTH, RISES, BACK], PAIR)
    told: list[Alert] = []
    at = 0
    for who, seconds, negative in turns:
        end = at + round(seconds * S)
        for name in PAIR:
            if name == who or who == "both":
                rows = np.tile(row(angry=negative / 2, sad=negative / 2), (end - at, 1))
                told += engine.frames(name, at, rows)
            told += engine.advance(name, end)
        at = end
    return [(a.rule, a.state, a.channel) for a in told]


def test_one_escalates_while_the_other_stays_calm_and_recovers() -> None:
    told = conversation(
        ("agent", 8, 0.1),
        ("customer", 8, 0.1),
        ("customer", 12, 0.9),
        ("agent", 8, 0.1),
        ("customer", 25, 0.1),
    )
    assert told == [
        ("rises", "raised", "customer"),
        ("rises", "cleared", "customer"),
        ("back", "noted", "customer"),
    ]


def test_both_raised_is_no_escalation_of_one() -> None:
    told = conversation(("both", 8, 0.1), ("both", 12, 0.9), ("agent", 12, 0.1))
    assert ("both", "raised", None) in told and ("both", "cleared", None) in told
    assert ("rises", "raised", "customer") not in told[: told.index(("both", "cleared", None))]


def test_who_comes_angry_has_not_escalated_and_who_was_raised_for_a_moment_has_not_recovered() -> None:
    assert conversation(("agent", 8, 0.1), ("customer", 20, 0.9)) == []
    told = conversation(("both", 8, 0.1), ("customer", 4, 1.0), ("customer", 30, 0.0))
    assert not [t for t in told if t[0] == "back"]


def test_a_mood_outlasts_the_others_turn_but_not_long_silence() -> None:
    told = conversation(("both", 8, 0.1), ("customer", 12, 0.9), ("nobody", 40, 0))
    assert told == [("rises", "raised", "customer")]
    told = conversation(("both", 8, 0.1), ("customer", 12, 0.9), ("nobody", 90, 0))
    assert told == [("rises", "raised", "customer"), ("rises", "cleared", "customer")]


def test_a_session_of_one_channel_has_no_crossings() -> None:
    engine = RuleEngine([BOTH, RISES, BACK])
    assert engine.frames(None, 0, np.tile(row(angry=0.9), (60 * S, 1))) == []


# -- How audio is cut, and when answers come, does not matter --------------------------------------------

WATCHED = [
    Rule("spoken", "any_of", (ANGRY,), 0.55, 0.5, cool_down=2 * S, min_speech=10),
    Rule("mean", "any_of", (ANGRY,), 0.6, 0.55, window=S, min_speech=25, cool_down=S),
    Rule("share", "share_of", (NEUTRAL,), 0.25, 0.2, window=3 * S, min_speech=S, cool_down=0),
    Rule("mood", "both_raised", (ANGRY,), 0.6, 0.5, window=S, min_speech=50, forget=2 * S, cool_down=0),
    Rule("up", "escalation", (ANGRY,), 0.6, 0.5, window=S, min_speech=50, forget=5 * S, cool_down=0),
]


def alerts_of(channels: dict[str, np.ndarray], sizes: Sequence[int], delay: int) -> list[tuple[object, ...]]:
    """Both channels through sessions, as a server plays them: told in order of each rule and channel."""
    engine = RuleEngine(WATCHED, PAIR)
    players = {
        name: Player(StreamSession(name, StreamConfig(ring=30 * 16_000)), delays=itertools.repeat(delay))
        for name in channels
    }
    told: list[Alert] = []

    def hear(name: str, before: int) -> None:
        player = players[name]
        events: list[StreamEvent] = player.events[before:]
        for event in events:
            if isinstance(event, FramesScored):
                told.extend(engine.frames(name, event.first_frame, event.probs))
            elif isinstance(event, UtteranceScored):
                told.extend(engine.utterance(name, event))
        told.extend(engine.advance(name, player.session.watermark_frame))

    at, cut = 0, itertools.cycle(sizes)
    longest = max(map(len, channels.values()))
    while at < longest:
        end = at + next(cut)
        for name, samples in channels.items():
            before = len(players[name].events)
            players[name].push(samples[at:end])
            hear(name, before)
        at = end
    for name, player in players.items():
        before = len(player.events)
        player.finish()
        hear(name, before)
    facts = [(a.rule, str(a.channel), a.frame, a.state, a.label, round(a.value, 6)) for a in told]
    return sorted(facts, key=lambda fact: (fact[0], fact[1]))  # stable: the order within one is as told


@pytest.fixture(scope="module")
def call(demo_samples: np.ndarray) -> dict[str, np.ndarray]:
    n = 20 * 16_000
    louder = np.clip(demo_samples * np.linspace(0.3, 3, len(demo_samples)), -1, 1).astype(np.float32)
    return {"agent": demo_samples[:n], "customer": louder[-n:]}


@pytest.fixture(scope="module")
def wanted(call: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
    return alerts_of(call, [1600], 0)


@given(sizes=st.lists(st.integers(50, 40_000), min_size=1, max_size=10), delay=st.integers(0, 8))
@settings(max_examples=12, deadline=None)
def test_any_chunking_gives_the_same_alerts(
    call: dict[str, np.ndarray], wanted: list[tuple[object, ...]], sizes: list[int], delay: int
) -> None:
    assert {fact[0] for fact in wanted} >= {"spoken", "mean", "share"}, "or this proves little"
    assert alerts_of(call, sizes, delay) == wanted


@given(
    starts=st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    lengths=st.lists(st.integers(1, 400), min_size=8, max_size=8),
    window=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_windowed_sums_are_the_sums_over_the_window(
    starts: list[int], lengths: list[int], window: int
) -> None:
    """Against all frames kept."""
    everything = np.full((4000, N_LABELS), np.nan)
    dice = np.random.default_rng(1)
    rule = Rule("t", "any_of", (0,), 0.99, 0.5, window=window * GRID)
    engine = RuleEngine([rule])
    sums: WindowedSums = engine._channels[None].sums
    at = 0
    for start, length in zip(sorted(starts), lengths, strict=False):
        start = max(start, at)
        probs = dice.random((length, N_LABELS)).astype(np.float32)
        engine.frames(None, start, probs)
        everything[start : start + length] = probs
        at = start + length
    engine.advance(None, at)
    heard = everything[max(0, sums.at - window * GRID) : sums.at]
    heard = heard[~np.isnan(heard[:, 0])]
    last = sums.last(window * GRID)
    assert np.allclose(last[:N_LABELS], heard.sum(axis=0), atol=1e-4)
    assert last[N_LABELS:].sum() == len(heard)
