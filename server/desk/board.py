"""The desk's board: of every session a card, kept up to date as the session speaks, in memory that is bounded.

The board is a listener: it is told every event in the path of the live results, and takes microseconds over each.
`server.desk.monitor` asks it for what a card shows, whole or as what has changed since the last time. How cards
are ordered is said at `trouble`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from server.desk.history import Heat, History, Recent
from server.observers import SessionInfo
from server.wire import STEP_MS
from stream.types import LABELS, JsonDict

LEVELS = ("info", "warning", "critical")  # of alerts, the worst last
MAX_UTTERANCES, MAX_ALERTS, MAX_LOST = 200, 100, 100  # kept for whoever opens the session
MAX_ENDED = 200  # sessions that have ended and are still shown

MONO = "mono"  # the timeline of a session that has only one


class _Timeline:
    """One voice of a session: all of it, unless its two channels are told apart."""

    def __init__(self, watched: bool) -> None:
        self.watched = watched  # by the operator's policy; an unwatched one stays empty
        self.history, self.recent, self.heat = History(), Recent(), Heat()
        self.emotion: str | None = None
        self.confidence = 0.0
        self.scores: dict[str, float] = {}  # the current, smoothed state
        self.speech_since: int | None = None  # ms of audio; None: nobody speaks
        self.speech_ms = 0  # of the stretches that have ended
        self.heard_ms = 0  # audio up to here has been scored

    def scored(self, payload: JsonDict, age_s: float) -> None:
        probs = payload["frame_scores"]
        n = len(probs)
        first = payload["start_ms"] // STEP_MS
        total = np.add.reduce(probs)
        self.history.add(first, probs)
        self.recent.add(total, age_s)
        self.heat.add(total.tolist(), n, age_s)
        self.emotion, self.confidence = payload["emotion"], payload["confidence"]
        self.scores = payload["scores"]
        self.heard_ms = (first + n) * STEP_MS

    def speech(self, state: str, at_ms: int) -> None:
        if state == "start":
            self.speech_since = at_ms
        elif self.speech_since is not None:
            self.speech_ms += at_ms - self.speech_since
            self.speech_since = None

    def now(self, age_s: float) -> JsonDict:
        speech_ms = self.speech_ms
        if self.speech_since is not None:
            speech_ms += max(0, self.heard_ms - self.speech_since)
        return {
            "emotion": self.emotion,
            "confidence": round(self.confidence, 2),
            "speaking": self.speech_since is not None,
            "speech_share": round(min(1.0, speech_ms / max(1.0, 1000 * age_s, self.heard_ms)), 2),
            "negative": round(self.heat.at(age_s), 2),
            "watched": self.watched,
        }


class Card:
    """What is known of one session. Written by the session, read by the desk: under its own lock."""

    def __init__(self, info: SessionInfo) -> None:
        names = ("agent", "customer") if info.channels == 2 else (MONO,)
        self._info = info
        self._lock = threading.Lock()
        self._timelines = {name: _Timeline(info.watch in ("both", name) or name == MONO) for name in names}
        self._utterances: deque[JsonDict] = deque(maxlen=MAX_UTTERANCES)
        self._alerts: deque[JsonDict] = deque(maxlen=MAX_ALERTS)
        self._lost: deque[JsonDict] = deque(maxlen=MAX_LOST)
        self._open: dict[tuple[str, str | None], str] = {}  # (rule, channel) → level: raised and not cleared
        self._counts = dict.fromkeys(LEVELS, 0)
        self._last_alert: JsonDict | None = None
        self._n_utterances = self._n_alerts = self._n_lost = self._lost_ms = 0
        self._reason: str | None = None
        self.ended_at_s: float | None = None  # on the board's clock
        self._told: JsonDict = {}  # what the last `news` showed
        self._told_points = dict.fromkeys(names, -1)
        self._told_counts = (0, 0, 0)  # utterances, alerts, losses that `particulars` has told

    # -- from the session ------------------------------------------------------------------------------

    def told(self, event: str, payload: JsonDict, now_s: float) -> None:
        age_s = now_s - self._info.started_s
        with self._lock:
            timeline = self._timelines.get(payload.get("channel") or MONO)
            if event == "emotion_result" and timeline:
                timeline.scored(payload, age_s)
            elif event == "speech" and timeline:
                timeline.speech(payload["state"], payload["at_ms"])
            elif event == "utterance_result":
                self._n_utterances += 1
                self._utterances.append(_utterance(self._n_utterances, payload))
            elif event == "alert":
                self._alert(payload)
            elif event == "lost":
                self._n_lost += 1
                self._lost_ms += payload["end_ms"] - payload["start_ms"]
                self._lost.append({"n": self._n_lost, **_without_id(payload)})

    def _alert(self, payload: JsonDict) -> None:
        self._n_alerts += 1
        alert = {"n": self._n_alerts, **_without_id(payload)}
        self._alerts.append(alert)
        what, level, state = (payload["rule"], payload.get("channel")), payload["level"], payload["state"]
        if state == "cleared":
            self._open.pop(what, None)
            return
        if state == "raised":
            self._open[what] = level
        self._counts[level] += 1
        self._last_alert = alert

    def closed(self, reason: str, now_s: float) -> None:
        with self._lock:
            self._reason = reason
            self.ended_at_s = now_s
            for timeline in self._timelines.values():
                timeline.speech("end", timeline.heard_ms)

    # -- for the desk ----------------------------------------------------------------------------------

    def summary(self, now_s: float) -> JsonDict:
        """All of what a card shows."""
        with self._lock:
            state = self._state(now_s)
            for name, timeline in self._timelines.items():
                state["timelines"][name]["spark"] = _spark(timeline.recent, 0)
            return {**self._who(now_s), **state}

    def news(self, now_s: float) -> JsonDict | None:
        """What a card shows otherwise than at the last `news`, whole where there was none; None: nothing."""
        with self._lock:
            state, before = self._state(now_s), self._told
            self._told = state
            news = {k: v for k, v in state.items() if k != "timelines" and (not before or v != before[k])}
            voices: JsonDict = {}
            for name, timeline in self._timelines.items():
                voice = state["timelines"][name]
                if before and voice == before["timelines"][name]:
                    continue  # if a point has moved at all, it goes with the next change
                voices[name] = {**voice, "spark": _spark(timeline.recent, max(0, self._told_points[name]))}
                self._told_points[name] = timeline.recent.newest
            if voices:
                news["timelines"] = voices
            if not before:
                return {**self._who(now_s), **news}
            return {"session_id": self._info.session_id, **news} if news else None

    def particulars(self, whole: bool) -> JsonDict:
        """What an opened session shows beyond its card: everything, or what came since the last time."""
        with self._lock:
            after = (0, 0, 0) if whole else self._told_counts
            if not whole:
                self._told_counts = (self._n_utterances, self._n_alerts, self._n_lost)
            timelines = {}
            for name, timeline in self._timelines.items():
                history = timeline.history
                start = 0 if whole else history.changed
                rows = history.rows(start)
                if not (whole or rows):
                    continue
                timelines[name] = {
                    "bin_ms": history.bin_frames * STEP_MS,
                    "from": start,
                    "rows": rows,
                    "scores": [round(timeline.scores[label], 3) for label in LABELS]
                    if timeline.scores
                    else None,
                }
                if not whole:
                    history.settle()
            return {
                "timelines": timelines,
                "utterances": [x for x in self._utterances if x["n"] > after[0]],
                "alerts": [x for x in self._alerts if x["n"] > after[1]],
                "lost": [x for x in self._lost if x["n"] > after[2]],
            }

    def _who(self, now_s: float) -> JsonDict:
        info = self._info
        return {
            "session_id": info.session_id,
            "name": info.name,
            "tags": dict(info.tags),
            "channels": info.channels,
            "started_utc": info.started_utc,
            "age_ms": round(1000 * self._age(now_s)),
        }

    def _age(self, now_s: float) -> float:
        return (now_s if self.ended_at_s is None else self.ended_at_s) - self._info.started_s

    def _state(self, now_s: float) -> JsonDict:
        age_s = self._age(now_s)
        level = max(self._open.values(), key=LEVELS.index, default=None) if self._reason is None else None
        timelines = {name: timeline.now(age_s) for name, timeline in self._timelines.items()}
        return {
            "state": "live" if self._reason is None else "ended",
            "reason": self._reason,
            "timelines": timelines,
            "utterances": self._n_utterances,
            "lost_ms": self._lost_ms,
            "alerts": {**self._counts, "open": level, "last": self._last_alert},
            "trouble": trouble(level, [x["negative"] for x in timelines.values()]),
        }


def trouble(level: str | None, negative: list[float]) -> float:
    """By what cards are sorted, the greatest first: the worst open alert counts before anything else (critical 3,
    warning 2, info 1), and among equals the most negative voice of the last seconds (0 to 0.99).
    """
    rank = 0 if level is None else LEVELS.index(level) + 1
    return round(rank + min(0.99, max(negative, default=0.0)), 2)


class Board:
    """The cards of all sessions; of those that ended too, for `linger_s`."""

    def __init__(self, linger_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._linger_s, self._clock = linger_s, clock
        self._cards: dict[str, Card] = {}
        self._lock = threading.Lock()

    def opened(self, info: SessionInfo) -> None:
        with self._lock:
            self._cards[info.session_id] = Card(info)  # in place of an ended one of the same id

    def told(self, session_id: str, event: str, payload: JsonDict) -> None:
        card = self._cards.get(session_id)
        if card is not None:
            card.told(event, payload, self._clock())

    def closed(self, session_id: str, summary: JsonDict) -> None:
        card = self._cards.get(session_id)
        if card is not None:
            card.closed(summary["reason"], self._clock())
            self._forget()

    def find(self, session_id: str) -> Card | None:
        return self._cards.get(session_id)

    def cards(self) -> dict[str, Card]:
        """Those to be shown now, by session id."""
        self._forget()
        with self._lock:
            return dict(self._cards)

    def _forget(self) -> None:
        """Let go of sessions that ended a while ago, and of the oldest of too many."""
        due = self._clock() - self._linger_s
        with self._lock:
            ended = [(c.ended_at_s, i) for i, c in self._cards.items() if c.ended_at_s is not None]
            ended.sort()
            for place, (at, session_id) in enumerate(ended):
                if at < due or place < len(ended) - MAX_ENDED:
                    del self._cards[session_id]


def _spark(recent: Recent, start: int) -> JsonDict:
    first, points = recent.points(start)
    return {"from": first, "points": points}


def _utterance(number: int, payload: JsonDict) -> JsonDict:
    channel = {"channel": payload["channel"]} if payload.get("channel") else {}
    return {
        "n": number,
        **channel,
        "start_ms": payload["start_ms"],
        "end_ms": payload["end_ms"],
        "emotion": payload["emotion"],
        "confidence": round(payload["confidence"], 3),
        "scores": [round(payload["scores"][label], 3) for label in LABELS],
    }


def _without_id(payload: JsonDict) -> JsonDict:
    return {name: value for name, value in payload.items() if name != "session_id"}
