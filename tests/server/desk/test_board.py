"""The board: what a card shows, in what order cards stand, and that it stays small. No server."""

from __future__ import annotations

import time

import numpy as np
import pytest

from server.desk.board import MAX_ALERTS, MAX_UTTERANCES, Board, priority
from server.desk.history import BINS, FIRST_BIN, POINT_S, POINTS, History, NegativityEma, Sparkline
from server.observers import AlertEvent, Level, SessionInfo, SessionSummary
from stream.rules import AlertStatus
from stream.types import (
    LABELS,
    N_LABELS,
    FrameScores,
    FramesScored,
    JsonDict,
    Lost,
    SpeechEnded,
    SpeechStarted,
    UtteranceScored,
)

ANGRY, HAPPY = LABELS.index("angry"), LABELS.index("happy")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rows(label: int, n: int, p: float = 1.0) -> np.ndarray:
    probs = np.full((n, N_LABELS), (1 - p) / (N_LABELS - 1), np.float32)
    probs[:, label] = p
    return probs


def result(first: int, probs: np.ndarray) -> FramesScored:
    return FramesScored(first, FrameScores(probs, probs[:, 0], None), probs, probs[-1])


def utterance(start: int = 0, end: int = 10) -> UtteranceScored:
    return UtteranceScored(start, end, end - start, rows(ANGRY, 1)[0])


def alert(state: AlertStatus, level: Level = "critical", rule: str = "critical") -> AlertEvent:
    return AlertEvent(rule, level, state, 0, "!", None)


def ended(session_id: str = "one", reason: str = "stop") -> SessionSummary:
    return SessionSummary(session_id, reason, 0, {}, ())


def board_with(clock: Clock, **info: object) -> Board:
    board = Board(30, clock)
    board.on_open(SessionInfo("one", "2026-01-01T00:00:00+00:00", clock.now, **info))  # type: ignore[arg-type]
    return board


def shown(board: Board, clock: Clock) -> JsonDict:
    card = board.find("one")
    assert card is not None
    return card.summary(clock.now)


def delta(board: Board, clock: Clock) -> JsonDict | None:
    card = board.find("one")
    assert card is not None
    return card.delta(clock.now)


# -- history ---------------------------------------------------------------------------------------------


def test_a_history_does_not_depend_on_how_it_came() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(N_LABELS), 5000).astype(np.float32)
    whole, pieces = History(), History()
    whole.add(0, probs)
    at = 0
    while at < len(probs):
        n = int(rng.integers(1, 200))
        pieces.add(at, probs[at : at + n])
        at += n
    assert whole.rows() == pieces.rows()
    assert whole.bin_frames == FIRST_BIN and len(whole.rows()) == 5000 // FIRST_BIN
    expected = np.rint(100 * probs[:FIRST_BIN].mean(axis=0)).astype(int).tolist()
    assert whole.rows()[0] == expected


def test_a_history_of_hours_is_as_large_as_one_of_minutes() -> None:
    history = History()
    hours = 5 * 3600 * 100
    for first in range(0, hours, 800):
        history.add(first, rows(ANGRY if first < hours // 2 else HAPPY, 80))
    got = history.rows()
    assert BINS // 2 < len(got) <= BINS
    assert got[0] is not None and got[0][ANGRY] == 100
    assert got[-1] is not None and got[-1][HAPPY] == 100
    assert history.bin_frames * len(got) >= hours - history.bin_frames


def test_where_nobody_spoke_a_history_has_gaps() -> None:
    history = History()
    history.add(0, rows(ANGRY, 10))
    history.add(4 * FIRST_BIN, rows(HAPPY, 10))
    assert [row is None for row in history.rows()] == [False, True, True, True, False]


def test_only_what_changed_is_told_again() -> None:
    history = History()
    history.add(0, rows(ANGRY, 3 * FIRST_BIN + 10))
    history.settle()
    assert history.rows(history.changed) == []
    history.add(3 * FIRST_BIN + 10, rows(ANGRY, 10))
    assert history.changed == 3 and len(history.rows(3)) == 1
    history.settle()
    history.add(BINS * FIRST_BIN, rows(ANGRY, 1))
    assert history.changed == 0, "all bins are others now"


def test_the_last_minutes_are_points_that_pass() -> None:
    recent = Sparkline()
    recent.add(rows(ANGRY, 10).sum(axis=0), 1)
    recent.add(rows(HAPPY, 10).sum(axis=0), 3 * POINT_S + 1)
    assert recent.points(0) == (0, [100 * ANGRY + 99, None, None, 100 * HAPPY])
    assert recent.points(3) == (3, [100 * HAPPY])
    recent.add(rows(HAPPY, 10).sum(axis=0), 1000 * POINT_S)
    first, points = recent.points(0)
    assert (first, len(points)) == (1001 - POINTS, POINTS) and points[:-1] == [None] * (POINTS - 1)


def test_heat_forgets() -> None:
    heat = NegativityEma()
    for second in range(30):
        heat.add(rows(ANGRY, 100).sum(axis=0).tolist(), 100, second)
    hot = heat.at(30)
    assert hot > 0.95
    assert heat.at(90) < 0.2, "silence cools"
    for second in range(30, 45):
        heat.add(rows(HAPPY, 100).sum(axis=0).tolist(), 100, second)
    assert heat.at(45) < 0.1 * hot, "so does other speech"


# -- cards -----------------------------------------------------------------------------------------------


def test_open_alerts_come_before_anything_else_and_the_worst_first() -> None:
    order = [
        priority("critical", [0.0]),
        priority("warning", [1.0]),
        priority("warning", [0.2]),
        priority("info", [1.0]),
        priority(None, [0.9, 0.1]),
        priority(None, [0.5, 0.5]),
        priority(None, []),
    ]
    assert order == sorted(order, reverse=True) and len(set(order)) == len(order)


def test_a_card_shows_who_and_how() -> None:
    clock = Clock()
    board = board_with(clock, name="Anna", tags={"queue": "Billing"})
    clock.now += 10
    board.on_event("one", None, SpeechStarted(200))
    board.on_event("one", None, result(200, rows(ANGRY, 300, 0.8)))
    card = shown(board, clock)
    assert (card["name"], card["tags"], card["age_ms"], card["state"]) == (
        "Anna",
        {"queue": "Billing"},
        10_000,
        "live",
    )
    voice = card["timelines"]["mono"]
    assert (voice["emotion"], voice["confidence"], voice["speaking"], voice["speech_share"]) == (
        "angry",
        0.8,
        True,
        0.3,
    )
    assert voice["negative"] > 0.2 and card["trouble"] == voice["negative"]
    board.on_event("one", None, SpeechEnded(500))
    board.on_event("one", None, Lost(0, 7, "OVERLOADED"))
    card = shown(board, clock)
    assert not card["timelines"]["mono"]["speaking"] and card["lost_ms"] == 70


def test_two_channels_are_two_timelines_and_an_unwatched_one_says_so() -> None:
    clock = Clock()
    board = board_with(clock, channels=2, watch="customer")
    board.on_event("one", "customer", result(0, rows(ANGRY, 100)))
    voices = shown(board, clock)["timelines"]
    assert list(voices) == ["agent", "customer"]
    assert (voices["agent"]["watched"], voices["agent"]["emotion"]) == (False, None)
    assert (voices["customer"]["watched"], voices["customer"]["emotion"]) == (True, "angry")


def test_an_alert_is_open_until_it_is_cleared() -> None:
    clock = Clock()
    board = board_with(clock)
    board.on_event("one", None, alert("raised"))
    board.on_event("one", "agent", alert("raised", "warning", "conflict"))
    card = shown(board, clock)
    assert card["alerts"]["open"] == "critical" and card["trouble"] >= 3
    told = card["alerts"]
    assert told["worst"]["level"] == "critical" and told["last"]["rule"] == "conflict", (
        "what is open comes first"
    )
    board.on_event("one", None, alert("cleared"))
    told = shown(board, clock)["alerts"]
    assert told["open"] == "warning" and told["worst"]["rule"] == "conflict"
    board.on_event("one", "customer", alert("cleared", "warning", "conflict"))
    assert shown(board, clock)["alerts"]["open"] == "warning", "that was the other channel's"
    board.on_event("one", None, alert("noted", "info", "recovery"))
    card = shown(board, clock)
    assert (card["alerts"]["critical"], card["alerts"]["warning"], card["alerts"]["info"]) == (1, 1, 1)
    assert card["alerts"]["open"] == "warning" and card["alerts"]["last"]["rule"] == "recovery"
    board.on_close(ended())
    told = shown(board, clock)["alerts"]
    assert told["open"] is told["worst"] is None and shown(board, clock)["trouble"] < 1


def test_a_delta_is_what_changed_and_adds_up_to_the_summary() -> None:
    """What a desk gets by and by is what it would get at once."""
    clock = Clock()
    board = board_with(clock, name="Anna")
    seen = delta(board, clock) or {}
    assert seen["name"] == "Anna"
    rng = np.random.default_rng(1)
    for i in range(200):
        clock.now += float(rng.uniform(0, 3))
        if i % 20 == 5:
            board.on_event("one", None, alert("raised" if i % 40 == 5 else "cleared"))
        board.on_event("one", None, result(i * 12, rng.dirichlet(np.ones(9), 12).astype(np.float32)))
        change = delta(board, clock)
        if change is None:
            continue
        assert "name" not in change and change["session_id"] == "one"
        for name, voice in change.pop("timelines", {}).items():
            spark = voice["spark"]
            old = seen["timelines"][name]["spark"]
            kept = old["points"][: spark["from"] - old["from"]]
            kept += [None] * (spark["from"] - old["from"] - len(kept)) + spark["points"]
            first = old["from"] + max(0, len(kept) - POINTS)
            seen["timelines"][name] = {**voice, "spark": {"from": first, "points": kept[-POINTS:]}}
        seen.update(change)
    assert {**seen, "age_ms": 0} == {**shown(board, clock), "age_ms": 0}
    assert delta(board, clock) is None


def test_details_come_whole_and_then_only_what_is_new() -> None:
    clock = Clock()
    board = board_with(clock)
    card = board.find("one")
    assert card is not None
    said = utterance()
    board.on_event("one", None, result(0, rows(ANGRY, 60)))
    board.on_event("one", None, said)
    first = card.details(snapshot=True)
    assert [x["n"] for x in first["utterances"]] == [1] and len(first["timelines"]["mono"]["rows"]) == 2
    card.details(snapshot=False)
    assert not any(card.details(snapshot=False).values())
    board.on_event("one", None, said)
    board.on_event("one", None, result(60, rows(ANGRY, 10)))
    more = card.details(snapshot=False)
    assert [x["n"] for x in more["utterances"]] == [2]
    assert more["timelines"]["mono"]["from"] == 1
    assert not any("session_id" in x for x in more["utterances"] + more["alerts"] + more["lost"])


def test_everything_that_is_kept_is_bounded() -> None:
    clock = Clock()
    board = board_with(clock)
    said = utterance()
    for _ in range(3 * MAX_UTTERANCES):
        board.on_event("one", None, said)
        board.on_event("one", None, alert("raised"))
        board.on_event("one", None, Lost(0, 1, "OVERLOADED"))
    card = board.find("one")
    assert card is not None
    kept = card.details(snapshot=True)
    assert len(kept["utterances"]) == MAX_UTTERANCES and len(kept["alerts"]) == MAX_ALERTS
    assert kept["utterances"][-1]["n"] == 3 * MAX_UTTERANCES
    assert shown(board, clock)["alerts"]["critical"] == 3 * MAX_UTTERANCES


def test_ended_sessions_stay_a_while_and_an_id_may_begin_again() -> None:
    clock = Clock()
    board = board_with(clock)
    board.on_close(ended())
    clock.now += 29
    assert list(board.sessions()) == ["one"] and shown(board, clock)["reason"] == "stop"
    assert shown(board, clock)["age_ms"] == 0, "its clock stands"
    clock.now += 2
    assert not board.sessions()
    board.on_open(SessionInfo("one", "later", clock.now))
    board.on_close(ended())
    board.on_open(SessionInfo("one", "again", clock.now))
    clock.now += 100
    assert shown(board, clock)["state"] == "live"
    for i in range(1000):
        board.on_open(SessionInfo(str(i), "", clock.now))
        board.on_close(ended(str(i)))
    assert len(board.sessions()) <= 201


def test_what_nobody_knows_is_no_fault() -> None:
    board = Board(30)
    board.on_event("nobody", None, SpeechStarted(0))
    board.on_close(ended("nobody"))


@pytest.mark.parametrize("n_frames", [10, 80])
def test_a_result_costs_microseconds(n_frames: int) -> None:
    """It is in the path of every live result, which costs some hundreds."""
    board = Board(30)
    board.on_open(SessionInfo("one", "", time.monotonic()))
    event = result(0, rows(ANGRY, n_frames))
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(100):
            board.on_event("one", None, event)
        best = min(best, (time.perf_counter() - began) / 100)
    assert best < 100e-6
