"""Rules: what scores must do for somebody to be told. Positions in frames come in with the scores; no clock.

A rule measures utterances, a sliding window, or how two people's moods cross. It is raised above one threshold and
cleared below another, and once raised not again before its cool-down is over. Everything is judged on a grid of
half seconds of the session's audio, so how the audio was cut never changes an alert.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream.crossing import Course, Mood, MoodConfig, State
from stream.tally import GRID, Sums, Tally, pieces
from stream.types import N_LABELS, Floats, UtteranceScored

Measure = Literal["any_of", "all_of", "sum_of", "share_of"]
Crossing = Literal["both_raised", "escalation", "recovery"]
AlertState = Literal["raised", "cleared", "noted"]
CROSSINGS: tuple[Crossing, ...] = ("both_raised", "escalation", "recovery")


@dataclass(frozen=True)
class Rule:
    """Times in frames. `channel` None: any.

    `window` None: measured on utterances. Of a crossing rule: how much speech a mood is the mean of.
    """

    name: str
    measure: Measure | Crossing
    labels: tuple[int, ...]
    above: float
    clear_below: float
    window: int | None = None
    min_speech: int = 0  # scored frames, below which nothing is judged
    hold: int = 0  # it must last for so long
    cool_down: int = 6000  # from one time it is raised to the next
    forget: int = 6000  # cleared when nothing could be judged for so long
    channel: str | None = None


@dataclass(frozen=True)
class Alert:
    """`state` noted: of a moment, and over with it."""

    rule: str
    state: AlertState
    frame: int
    channel: str | None  # None: of a session with one channel, or of both
    label: int  # of the rule's, the one with most of the value
    value: float  # as measured; of a crossing, whether it holds


class Switch:
    """One rule on one channel: hysteresis, holding, cool-down, forgetting."""

    def __init__(self, rule: Rule, channel: str | None) -> None:
        self.rule, self.channel = rule, channel
        self.raised = False
        self._since: int | None = None  # since when it has been above
        self._quiet_until = 0
        self._judged_at = 0
        self.peak: float | None = None  # the highest value so far

    def judge(self, frame: int, value: float, label: int) -> list[Alert]:
        """`value` was measured up to `frame`; `label` has most of it."""
        if self.peak is None or value > self.peak:
            self.peak = value
        return self.turn(frame, value > self.rule.above, value < self.rule.clear_below, value, label)

    def turn(self, frame: int, above: bool, below: bool, value: float, label: int) -> list[Alert]:
        rule = self.rule
        self._judged_at = frame
        if self.raised:
            return self._clear(frame, value, label) if below else []
        if not above:
            self._since = None
            return []
        if self._since is None:
            self._since = frame
        if frame - self._since < rule.hold or frame < self._quiet_until:
            return []
        self.raised = rule.measure != "recovery"
        self._since, self._quiet_until = None, frame + rule.cool_down
        return [self._alert("raised" if self.raised else "noted", frame, value, label)]

    def pass_by(self, frame: int) -> list[Alert]:
        """Nothing could be measured up to `frame`."""
        if self.raised and frame - self._judged_at >= self.rule.forget:
            return self._clear(frame, 0.0, self.rule.labels[0])
        return []

    def _clear(self, frame: int, value: float, label: int) -> list[Alert]:
        self.raised = False
        return [self._alert("cleared", frame, value, label)]

    def _alert(self, state: AlertState, frame: int, value: float, label: int) -> Alert:
        return Alert(self.rule.name, state, frame, self.channel, label, value)


class Judge:
    """All rules over one session. Tell it of each channel in order: frames, utterances, and how far it is told."""

    def __init__(self, rules: Sequence[Rule], channels: Sequence[str | None] = (None,)) -> None:
        alone = [rule for rule in rules if rule.measure not in CROSSINGS]
        longest = max([rule.window or 0 for rule in alone], default=0)
        self._lines = {channel: _Line(alone, channel, longest) for channel in channels}
        pair = [rule for rule in rules if rule.measure in CROSSINGS]
        self._pairs: list[_Pair] = []
        if len(channels) == 2 and pair:
            self._pairs = [_Pair(config, rules, channels) for config, rules in _by_mood(pair)]

    def frames(self, channel: str | None, first_frame: int, probs: Floats) -> list[Alert]:
        """Scores (n, N_LABELS) of the frames from `first_frame` on."""
        alerts: list[Alert] = []
        tally = self._lines[channel].tally
        for at, part in pieces(first_frame, probs):
            alerts += self.advance(channel, at)
            tally.add(part)
        return alerts + self.advance(channel, first_frame + len(probs))

    def sums(self, channel: str | None, first_frame: int, sums: Sums) -> list[Alert]:
        """As `frames`, of frames within a half second that have been added up: scores, then counts by label."""
        alerts = self.advance(channel, first_frame)
        self._lines[channel].tally.add_sums(sums)
        return alerts

    def utterance(self, channel: str | None, event: UtteranceScored) -> list[Alert]:
        alerts = self.advance(channel, event.end)
        for switch in self._lines[channel].spoken:
            if event.n_scored >= switch.rule.min_speech:
                value, label = _measured(switch.rule, event.probs)
                alerts += switch.judge(event.end, value, label)
        return alerts

    def advance(self, channel: str | None, told_to: int) -> list[Alert]:
        """Nothing more will be told of frames before `told_to`."""
        line = self._lines[channel]
        alerts: list[Alert] = []
        while line.tally.at + GRID <= told_to:
            line.tally.tick()
            alerts += line.look()
            for pair in self._pairs:
                alerts += pair.step(channel, line.tally)
        return alerts

    def peaks(self) -> dict[str, float | None]:
        """The highest that each rule has measured: None where it had nothing to; crossings measure nothing."""
        found: dict[str, float | None] = {}
        for switch in [switch for line in self._lines.values() for switch in line.switches]:
            name = switch.rule.name
            known = [peak for peak in (found.get(name), switch.peak) if peak is not None]
            found[name] = max(known, default=None)
        return found


class _Line:
    """One channel by itself."""

    def __init__(self, rules: Sequence[Rule], channel: str | None, longest: int) -> None:
        self.tally = Tally(longest + GRID)
        self.switches = [Switch(rule, channel) for rule in rules if rule.channel in (None, channel)]
        self.spoken = [switch for switch in self.switches if switch.rule.window is None]
        self._sliding = [switch for switch in self.switches if switch.rule.window is not None]

    def look(self) -> list[Alert]:
        alerts: list[Alert] = []
        at = self.tally.at
        for switch in self._sliding:
            sums = self.tally.last(switch.rule.window or 0)
            n = float(sums[N_LABELS:].sum())
            if n and n >= switch.rule.min_speech:
                value, label = _measured(switch.rule, sums / n)
                alerts += switch.judge(at, value, label)
            elif switch.raised:
                alerts += switch.pass_by(at)
        for switch in self.spoken:
            if switch.raised:
                alerts += switch.pass_by(at)
        return alerts


class _Pair:
    """Two channels, stepped where both are known."""

    def __init__(self, config: MoodConfig, rules: Sequence[Rule], channels: Sequence[str | None]) -> None:
        self._channels = channels
        self._moods = {channel: Mood(config) for channel in channels}
        self._courses = {channel: Course() for channel in channels}
        self._known: dict[str | None, deque[State]] = {channel: deque() for channel in channels}
        self._at = 0
        self._both = [Switch(rule, None) for rule in rules if rule.measure == "both_raised"]
        self._one = [
            Switch(rule, channel)
            for rule in rules
            for channel in channels
            if rule.measure != "both_raised" and rule.channel in (None, channel)
        ]

    def step(self, channel: str | None, tally: Tally) -> list[Alert]:
        """A half second of `channel` has been closed."""
        mood = self._moods[channel]
        self._known[channel].append(mood.step(tally.newest, tally.last(GRID), tally.at))
        alerts: list[Alert] = []
        while all(self._known.values()):
            self._at += GRID
            now = {name: states.popleft() for name, states in self._known.items()}
            for name, state in now.items():
                self._courses[name].step(state, self._at)
            alerts += self._look(now)
        return alerts

    def _look(self, now: dict[str | None, State]) -> list[Alert]:
        alerts: list[Alert] = []
        for switch in self._both:
            holds = all(state == "raised" for state in now.values())
            alerts += switch.turn(self._at, holds, not holds, float(holds), switch.rule.labels[0])
        for switch in self._one:
            course, state = self._courses[switch.channel], now[switch.channel]
            (other,) = (now[name] for name in self._channels if name != switch.channel)
            if switch.rule.measure == "escalation":
                holds = state == "raised" and course.rose and other == "calm"
            else:
                holds = state == "calm" and course.came_back
            told = switch.turn(self._at, holds, not holds, float(holds), switch.rule.labels[0])
            if told and told[0].state == "noted":
                course.came_back = False  # told once
            alerts += told
        return alerts


def _by_mood(rules: Sequence[Rule]) -> list[tuple[MoodConfig, list[Rule]]]:
    """Rules that mean the same by raised and calm share the moods."""
    found: dict[MoodConfig, list[Rule]] = {}
    for rule in rules:
        assert rule.window, "a crossing rule has the length of its mood"
        mood = MoodConfig(
            rule.labels, rule.above, rule.clear_below, rule.window, rule.min_speech, rule.forget
        )
        found.setdefault(mood, []).append(rule)
    return list(found.items())


def _measured(rule: Rule, scores: Floats | Sums) -> tuple[float, int]:
    """What `rule` measures in mean scores (N_LABELS,) or, of a window, sums over its frames (2 * N_LABELS,)."""
    offset = N_LABELS if rule.measure == "share_of" else 0
    values = [float(scores[offset + label]) for label in rule.labels]
    label = rule.labels[int(np.argmax(values))]
    if rule.measure == "any_of":
        return max(values), label
    if rule.measure == "all_of":
        return min(values), label
    return sum(values), label
