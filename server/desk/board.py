"""The desk's board: the state of every session, kept up to date as it speaks, in memory that is bounded.

The board is an observer: it gets every event in the path of the live results, and takes microseconds over each.
`server.desk.monitor` asks it for what a desk shows, as a snapshot or as what has changed since the last time. How
sessions are ordered is said at `priority`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from server import wire
from server.desk.history import History, NegativityEma, Sparkline
from server.observers import LEVELS, AlertEvent, Level, SessionEvent, SessionInfo, SessionSummary
from stream.affect import affect
from stream.dynamics import Conversation
from stream.types import (
    LABELS,
    Floats,
    FramesScored,
    JsonDict,
    Lost,
    SpeechEnded,
    SpeechStarted,
    UtteranceScored,
)

MAX_UTTERANCES, MAX_ALERTS, MAX_LOST = 200, 100, 100  # kept for whoever opens the session
MAX_ENDED = 200  # sessions that have ended and are still shown

MONO = "mono"  # the timeline of a session that has only one channel


class _Timeline:
    """One channel of a session. Positions in frames of its audio."""

    def __init__(self, watched: bool) -> None:
        self.watched = watched  # by the operator's policy; an unwatched one stays empty
        self.history, self.sparkline, self.negativity = History(), Sparkline(), NegativityEma()
        self.state: Floats | None = None  # (N_LABELS,): the current, smoothed one
        self.speech_since: int | None = None  # None: nobody speaks
        self.speech = 0  # of the stretches that have ended
        self.scored_to = 0

    def scored(self, event: FramesScored, age_s: float) -> None:
        n = len(event.probs)
        total = np.add.reduce(event.probs)
        self.history.add(event.first_frame, event.probs)
        self.sparkline.add(total, age_s)
        self.negativity.add(total.tolist(), n, age_s)
        self.state = event.smoothed
        self.scored_to = event.first_frame + n

    def speech_started(self, frame: int) -> None:
        self.speech_since = frame

    def speech_ended(self, frame: int) -> None:
        if self.speech_since is not None:
            self.speech += frame - self.speech_since
            self.speech_since = None

    def now(self, age_s: float) -> JsonDict:
        speech = self.speech
        if self.speech_since is not None:
            speech += max(0, self.scored_to - self.speech_since)
        return {
            **_two_likeliest(self.state),
            "speaking": self.speech_since is not None,
            "speech_share": round(
                min(1.0, wire.ms(speech) / max(1.0, 1000 * age_s, wire.ms(self.scored_to))), 2
            ),
            "negative": round(self.negativity.at(age_s), 2),
            "watched": self.watched,
        }


class SessionState:
    """What is known of one session. Written by the session, read by the desk: under its own lock."""

    def __init__(self, info: SessionInfo) -> None:
        names = ("agent", "customer") if info.channels == 2 else (MONO,)
        self._info = info
        self._lock = threading.Lock()
        self._timelines = {name: _Timeline(info.watch in ("both", name) or name == MONO) for name in names}
        self._utterances: deque[JsonDict] = deque(maxlen=MAX_UTTERANCES)
        self._alerts: deque[JsonDict] = deque(maxlen=MAX_ALERTS)
        self._lost: deque[JsonDict] = deque(maxlen=MAX_LOST)
        # (rule, channel) → the alert that was raised and is not cleared; the latest is the last of them
        self._open: dict[tuple[str, str | None], JsonDict] = {}
        self._counts = dict.fromkeys(LEVELS, 0)
        self._last_alert: JsonDict | None = None
        self._n_utterances = self._n_alerts = self._n_lost = self._lost_frames = 0
        self._dynamics: JsonDict | None = None  # of a call of two
        self._reason: str | None = None
        self.ended_at_s: float | None = None  # on the board's clock
        self._shown: JsonDict = {}  # what the last `delta` showed
        self._shown_points = dict.fromkeys(names, -1)
        self._shown_counts = (0, 0, 0)  # utterances, alerts, losses that `details` has shown

    # -- from the session ------------------------------------------------------------------------------

    def on_event(self, channel: str | None, event: SessionEvent, now_s: float) -> None:
        age_s = now_s - self._info.started_s
        with self._lock:
            timeline = self._timelines.get(channel or MONO)
            match event:
                case FramesScored() if timeline:
                    timeline.scored(event, age_s)
                case SpeechStarted(frame) if timeline:
                    timeline.speech_started(frame)
                case SpeechEnded(frame) if timeline:
                    timeline.speech_ended(frame)
                case UtteranceScored():
                    self._n_utterances += 1
                    self._utterances.append(_utterance(self._n_utterances, channel, event))
                case AlertEvent():
                    self._alert(channel, event)
                case Conversation():
                    self._dynamics = wire.dynamics(event)
                case Lost():
                    self._n_lost += 1
                    self._lost_frames += event.n_frames
                    self._lost.append({"n": self._n_lost, **_as_told(channel, event)})

    def _alert(self, channel: str | None, event: AlertEvent) -> None:
        self._n_alerts += 1
        alert = {"n": self._n_alerts, **_as_told(channel, event)}
        self._alerts.append(alert)
        what = (event.rule, channel)
        if event.state == "cleared":
            self._open.pop(what, None)
            return
        if event.state == "raised":
            self._open[what] = alert
        self._counts[event.level] += 1
        self._last_alert = alert

    def closed(self, summary: SessionSummary, now_s: float) -> None:
        with self._lock:
            self._reason = summary.reason
            self._dynamics = wire.dynamics(summary.dynamics) if summary.dynamics else None
            self.ended_at_s = now_s
            for timeline in self._timelines.values():
                timeline.speech_ended(timeline.scored_to)

    # -- for the desk ----------------------------------------------------------------------------------

    def summary(self, now_s: float) -> JsonDict:
        """All of what a card shows."""
        with self._lock:
            state = self._state(now_s)
            for name, timeline in self._timelines.items():
                state["timelines"][name]["spark"] = _spark(timeline.sparkline, 0)
            return {**self._who(now_s), **state}

    def delta(self, now_s: float) -> JsonDict | None:
        """What a card shows otherwise than at the last `delta`, all of it where there was none; None: nothing."""
        with self._lock:
            state, before = self._state(now_s), self._shown
            self._shown = state
            delta = {k: v for k, v in state.items() if k != "timelines" and (not before or v != before[k])}
            timelines: JsonDict = {}
            for name, timeline in self._timelines.items():
                shown = state["timelines"][name]
                if before and shown == before["timelines"][name]:
                    continue  # if a point has moved at all, it goes with the next change
                timelines[name] = {
                    **shown,
                    "spark": _spark(timeline.sparkline, max(0, self._shown_points[name])),
                }
                self._shown_points[name] = timeline.sparkline.newest
            if timelines:
                delta["timelines"] = timelines
            if not before:
                return {**self._who(now_s), **delta}
            return {"session_id": self._info.session_id, **delta} if delta else None

    def details(self, snapshot: bool) -> JsonDict:
        """What an opened session shows beyond its card: everything, or what came since the last time."""
        with self._lock:
            after = (0, 0, 0) if snapshot else self._shown_counts
            if not snapshot:
                self._shown_counts = (self._n_utterances, self._n_alerts, self._n_lost)
            timelines = {}
            for name, timeline in self._timelines.items():
                history = timeline.history
                start = 0 if snapshot else history.changed
                rows = history.rows(start)
                if not (snapshot or rows):
                    continue
                timelines[name] = {
                    "bin_ms": wire.ms(history.bin_frames),
                    "from": start,
                    "rows": rows,
                    "scores": None if timeline.state is None else _rounded(timeline.state),
                }
                if not snapshot:
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
        worst = self._worst() if self._reason is None else None
        level = None if worst is None else worst["level"]
        timelines = {name: timeline.now(age_s) for name, timeline in self._timelines.items()}
        return {
            "state": "live" if self._reason is None else "ended",
            "reason": self._reason,
            "timelines": timelines,
            "utterances": self._n_utterances,
            "lost_ms": wire.ms(self._lost_frames),
            "dynamics": self._dynamics,
            "alerts": {**self._counts, "open": level, "worst": worst, "last": self._last_alert},
            "trouble": priority(level, [x["negative"] for x in timelines.values()]),
        }

    def _worst(self) -> JsonDict | None:
        """Of the alerts that are open the worst, and of several the latest."""
        latest_first = reversed(self._open.values())
        return max(latest_first, key=lambda alert: LEVELS.index(alert["level"]), default=None)


def priority(level: Level | None, negative: list[float]) -> float:
    """By what cards are sorted, the greatest first: the worst open alert counts before anything else (critical 3,
    warning 2, info 1), and among equals the most negative channel of the last seconds (0 to 0.99).
    """
    rank = 0 if level is None else LEVELS.index(level) + 1
    return round(rank + min(0.99, max(negative, default=0.0)), 2)


class Board:
    """The states of all sessions; of those that ended too, for `ended_ttl_s`."""

    def __init__(self, ended_ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ended_ttl_s, self._clock = ended_ttl_s, clock
        self._sessions: dict[str, SessionState] = {}
        self._lock = threading.Lock()

    def on_open(self, info: SessionInfo) -> None:
        with self._lock:
            self._sessions[info.session_id] = SessionState(info)  # in place of an ended one of the same id

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        state = self._sessions.get(session_id)
        if state is not None:
            state.on_event(channel, event, self._clock())

    def on_close(self, summary: SessionSummary) -> None:
        state = self._sessions.get(summary.session_id)
        if state is not None:
            state.closed(summary, self._clock())
            self._forget()

    def refresh(self, wanted: set[str]) -> None:
        """Nothing to do: it is told of all that happens. A board of several workers asks (`desk.others`)."""

    def find(self, session_id: str) -> SessionState | None:
        return self._sessions.get(session_id)

    def sessions(self) -> dict[str, SessionState]:
        """Those to be shown now, by session id."""
        self._forget()
        with self._lock:
            return dict(self._sessions)

    def _forget(self) -> None:
        """Let go of sessions that ended a while ago, and of the oldest of too many."""
        due = self._clock() - self._ended_ttl_s
        with self._lock:
            ended = [(s.ended_at_s, i) for i, s in self._sessions.items() if s.ended_at_s is not None]
            ended.sort()
            for place, (at, session_id) in enumerate(ended):
                if at < due or place < len(ended) - MAX_ENDED:
                    del self._sessions[session_id]


def _two_likeliest(state: Floats | None) -> JsonDict:
    """Whoever looks sees how sure it is by what comes second."""
    if state is None:
        nothing = {"emotion": None, "confidence": 0.0, "second": None, "second_confidence": 0.0}
        return {**nothing, "arousal": 0.0, "valence": 0.0}
    second, first = np.argsort(state)[-2:]
    return {
        "emotion": LABELS[first],
        "confidence": round(float(state[first]), 2),
        "second": LABELS[second],
        "second_confidence": round(float(state[second]), 2),
        **{name: round(value, 2) for name, value in affect(state)._asdict().items()},
    }


def _spark(line: Sparkline, start: int) -> JsonDict:
    first, points = line.points(start)
    return {"from": first, "points": points}


def _rounded(probs: Floats) -> list[float]:
    return [round(p, 3) for p in probs.tolist()]


def _utterance(number: int, channel: str | None, event: UtteranceScored) -> JsonDict:
    best = int(event.probs.argmax())
    return {
        "n": number,
        **({"channel": channel} if channel else {}),
        "start_ms": wire.ms(event.start),
        "end_ms": wire.ms(event.end),
        "emotion": LABELS[best],
        "confidence": round(float(event.probs[best]), 3),
        "scores": _rounded(event.probs),
    }


def _as_told(channel: str | None, event: SessionEvent) -> JsonDict:
    """As the session's owner is told it; whose it is, is said elsewhere."""
    _, payload = wire.to_wire("", channel, event, "")
    del payload["session_id"]
    return payload
