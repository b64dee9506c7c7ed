"""Alert rules: what scores must do for somebody to be told. Positions in frames come with the scores; no clock.

A rule measures utterances, a sliding window, or how two people's moods cross. It is raised above one threshold
and cleared below another (or the other way round: `Rule.below`), and once raised not again before its cool-down is
over. Everything is judged on a grid of half seconds of the session's audio: how it was cut never changes an alert.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stream.affect import affect
from stream.crossing import Mood, MoodConfig, MoodState, MoodTransition
from stream.types import AMBIGUOUS, N_LABELS, UNCERTAIN, Floats, UtteranceScored
from stream.windowed_sums import GRID, Sums, WindowedSums, split_on_grid

Measure = Literal[
    "any_of", "all_of", "sum_of", "share_of", "confidence", "ambiguous", "uncertain", "arousal", "valence"
]
Crossing = Literal["both_raised", "escalation", "recovery"]
Talk = Literal["silence_s", "interruptions"]  # judged in `stream.conversation_rules`
AlertStatus = Literal["raised", "cleared", "noted"]
# Measures whose labels are those that may be the likeliest: of others nothing is measured.
OF_THE_LIKELIEST = ("confidence", "ambiguous", "uncertain", "arousal", "valence")
FLAGS = ("ambiguous", "uncertain")  # true or not, of utterances: they have no thresholds
AFFECT = ("arousal", "valence")  # from -1 to 1
CROSSINGS: tuple[Crossing, ...] = ("both_raised", "escalation", "recovery")
TALK: tuple[Talk, ...] = ("silence_s", "interruptions")


@dataclass(frozen=True)
class Rule:
    """Times in frames. `channel` None: any.

    `window` None: measured on utterances. Of a crossing rule: how much speech a mood is the mean of.
    """

    name: str
    measure: Measure | Crossing | Talk
    labels: tuple[int, ...]
    above: float
    clear_below: float
    window: int | None = None
    min_speech: int = 0  # scored frames, below which nothing is judged
    hold: int = 0  # it must last for so long
    cool_down: int = 6000  # from one time it is raised to the next
    forget: int = 6000  # cleared when nothing could be judged for so long
    channel: str | None = None
    below: bool = False  # raised below `above`, cleared above `clear_below`

    @property
    def waits(self) -> bool:
        """Whether it is judged only once its whole window has been heard: a share, or too little, of a minute is
        nothing that its first seconds could tell."""
        return self.below or self.measure == "share_of"


@dataclass(frozen=True)
class Alert:
    """`state` noted: of a moment, and over with it."""

    rule: str
    state: AlertStatus
    frame: int
    channel: str | None  # None: of a session with one channel, or of both
    label: int  # of the rule's, the one with most of the value
    value: float  # as measured; of a crossing, whether it holds
    # (N_LABELS,): of the utterance, or the mean of the window; None of a crossing.
    probs: Floats | None = field(default=None, compare=False)


class AlertState:
    """One rule on one channel: hysteresis, holding, cool-down, forgetting."""

    def __init__(self, rule: Rule, channel: str | None) -> None:
        self.rule, self.channel = rule, channel
        self.raised = False
        self._since: int | None = None  # since when it has been above
        self._quiet_until = 0
        self._judged_at = 0
        self.peak: float | None = None  # the value that went furthest so far
        self._probs: Floats | None = None  # what was judged last

    def measured(self, frame: int, value: float, label: int, probs: Floats | None = None) -> list[Alert]:
        """`value` was measured up to `frame`; `label` has most of it. `probs`: what it was measured in."""
        sign = -1 if self.rule.below else 1
        if self.peak is None or sign * value > sign * self.peak:
            self.peak = value
        self._probs = probs
        beyond = sign * value > sign * self.rule.above
        return self.update(frame, beyond, sign * value < sign * self.rule.clear_below, value, label)

    def update(self, frame: int, above: bool, below: bool, value: float, label: int) -> list[Alert]:
        """As `measured`, where comparing has been done already."""
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

    def expire(self, frame: int) -> list[Alert]:
        """Nothing could be measured up to `frame`: cleared once that has gone on for `forget`."""
        if self.raised and frame - self._judged_at >= self.rule.forget:
            self._probs = None
            return self._clear(frame, 0.0, self.rule.labels[0])
        return []

    def _clear(self, frame: int, value: float, label: int) -> list[Alert]:
        self.raised = False
        return [self._alert("cleared", frame, value, label)]

    def _alert(self, state: AlertStatus, frame: int, value: float, label: int) -> Alert:
        return Alert(self.rule.name, state, frame, self.channel, label, value, self._probs)


class RuleEngine:
    """All rules over one session. It takes each channel's frames, utterances and watermark, in order."""

    def __init__(self, rules: Sequence[Rule], channels: Sequence[str | None] = (None,)) -> None:
        single = [rule for rule in rules if rule.measure not in (*CROSSINGS, *TALK)]
        longest = max([rule.window or 0 for rule in single], default=0)
        self._channels = {channel: _ChannelRules(single, channel, longest) for channel in channels}
        crossing = [rule for rule in rules if rule.measure in CROSSINGS]
        self._crossings: list[_CrossingRules] = []
        if len(channels) == 2 and crossing:
            self._crossings = [_CrossingRules(mood, some, channels) for mood, some in _by_mood(crossing)]

    def frames(self, channel: str | None, first_frame: int, probs: Floats) -> list[Alert]:
        """Scores (n, N_LABELS) of the frames from `first_frame` on."""
        alerts: list[Alert] = []
        sums = self._channels[channel].sums
        for at, part in split_on_grid(first_frame, probs):
            alerts += self.advance(channel, at)
            sums.add(part)
        return alerts + self.advance(channel, first_frame + len(probs))

    def sums(self, channel: str | None, first_frame: int, sums: Sums) -> list[Alert]:
        """As `frames`, of frames within a half second that have been added up: scores, then counts by label."""
        alerts = self.advance(channel, first_frame)
        self._channels[channel].sums.add_sums(sums)
        return alerts

    def utterance(self, channel: str | None, event: UtteranceScored) -> list[Alert]:
        """The alerts that the utterance of a channel brings, after those that time alone does."""
        alerts = self.advance(channel, event.end)
        for state in self._channels[channel].per_utterance:
            if event.n_scored >= state.rule.min_speech and (found := _measured(state.rule, event.probs)):
                alerts += state.measured(event.end, *found, event.probs)
        return alerts

    def advance(self, channel: str | None, watermark_frame: int) -> list[Alert]:
        """Results are final before `watermark_frame`."""
        rules = self._channels[channel]
        alerts: list[Alert] = []
        while rules.sums.at + GRID <= watermark_frame:
            rules.sums.tick()
            alerts += rules.evaluate()
            for crossing in self._crossings:
                alerts += crossing.step(channel, rules.sums)
        return alerts

    def finish(self, length: int) -> list[Alert]:
        """A recording of `length` frames is over: what waits for a window that is longer than it is judged now.

        So much less speech is enough, as the recording is shorter than the window.
        """
        return [alert for rules in self._channels.values() for alert in rules.finish(length)]

    def peaks(self) -> dict[str, float | None]:
        """The furthest that each rule has measured: None where it had nothing to; crossings measure nothing."""
        found: dict[str, float | None] = {}
        for state in [state for rules in self._channels.values() for state in rules.states]:
            name, furthest = state.rule.name, min if state.rule.below else max
            known = [peak for peak in (found.get(name), state.peak) if peak is not None]
            found[name] = furthest(known, default=None)
        return found


class _ChannelRules:
    """The rules over one channel by itself."""

    def __init__(self, rules: Sequence[Rule], channel: str | None, longest: int) -> None:
        self.sums = WindowedSums(longest + GRID)
        self.states = [AlertState(rule, channel) for rule in rules if rule.channel in (None, channel)]
        self.per_utterance = [state for state in self.states if state.rule.window is None]
        self._sliding = [state for state in self.states if state.rule.window is not None]

    def evaluate(self) -> list[Alert]:
        """A half second has been closed."""
        alerts: list[Alert] = []
        at = self.sums.at
        for state in self._sliding:
            if not (state.rule.waits and at < (state.rule.window or 0)):
                alerts += self._judged(state, at, state.rule.min_speech)
        for state in self.per_utterance:
            if state.raised:
                alerts += state.expire(at)
        return alerts

    def finish(self, length: int) -> list[Alert]:
        """The recording is over."""
        if self.sums.at < length:
            self.sums.tick()  # the half second that the end has cut off
        alerts: list[Alert] = []
        for state in self._sliding:
            window = state.rule.window or 0
            if state.rule.waits and 0 < length < window:
                alerts += self._judged(state, length, max(1, state.rule.min_speech * length // window))
        return alerts

    def _judged(self, state: AlertState, at: int, min_speech: int) -> list[Alert]:
        sums = self.sums.last(state.rule.window or 0)
        n = float(sums[N_LABELS:].sum())
        if n and n >= min_speech and (found := _measured(state.rule, sums / n)):
            return state.measured(at, *found, (sums[:N_LABELS] / n).astype(np.float32))
        return state.expire(at) if state.raised else []


class _CrossingRules:
    """The rules over two channels, which share a mood's definition; stepped where both are known."""

    def __init__(self, config: MoodConfig, rules: Sequence[Rule], channels: Sequence[str | None]) -> None:
        self._channels = channels
        self._moods = {channel: Mood(config) for channel in channels}
        self._transitions = {channel: MoodTransition() for channel in channels}
        self._known: dict[str | None, deque[MoodState]] = {channel: deque() for channel in channels}
        self._at = 0
        self._both = [AlertState(rule, None) for rule in rules if rule.measure == "both_raised"]
        self._one = [
            AlertState(rule, channel)
            for rule in rules
            for channel in channels
            if rule.measure != "both_raised" and rule.channel in (None, channel)
        ]

    def step(self, channel: str | None, sums: WindowedSums) -> list[Alert]:
        """A half second of `channel` has been closed."""
        mood = self._moods[channel]
        self._known[channel].append(mood.step(sums.newest, sums.last(GRID), sums.at))
        alerts: list[Alert] = []
        while all(self._known.values()):
            self._at += GRID
            now = {name: states.popleft() for name, states in self._known.items()}
            for name, state in now.items():
                self._transitions[name].step(state, self._at)
            alerts += self._evaluate(now)
        return alerts

    def _evaluate(self, now: dict[str | None, MoodState]) -> list[Alert]:
        alerts: list[Alert] = []
        for state in self._both:
            holds = all(mood == "raised" for mood in now.values())
            alerts += state.update(self._at, holds, not holds, float(holds), state.rule.labels[0])
        for state in self._one:
            transition, mood = self._transitions[state.channel], now[state.channel]
            (other,) = (now[name] for name in self._channels if name != state.channel)
            if state.rule.measure == "escalation":
                holds = mood == "raised" and transition.escalated and other == "calm"
            else:
                holds = mood == "calm" and transition.recovered
            found = state.update(self._at, holds, not holds, float(holds), state.rule.labels[0])
            if found and found[0].state == "noted":
                transition.recovered = False  # noted once
            alerts += found
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


def _measured(rule: Rule, scores: Floats | Sums) -> tuple[float, int] | None:
    """What `rule` measures in mean scores (N_LABELS,) or, of a window, sums over its frames (2 * N_LABELS,).

    None where it has nothing to: another label than the rule's is the likeliest.
    """
    if rule.measure in OF_THE_LIKELIEST:
        second, first = np.argsort(scores[:N_LABELS])[-2:].tolist()
        if first not in rule.labels:
            return None
        lead, sure = scores[first] - scores[second], scores[first]
        found = {
            "confidence": sure,
            "ambiguous": lead < AMBIGUOUS,
            "uncertain": sure < UNCERTAIN,
            **affect(scores[:N_LABELS])._asdict(),
        }
        return float(found[rule.measure]), first
    offset = N_LABELS if rule.measure == "share_of" else 0
    values = [float(scores[offset + label]) for label in rule.labels]
    label = rule.labels[int(np.argmax(values))]
    if rule.measure == "any_of":
        return max(values), label
    if rule.measure == "all_of":
        return min(values), label
    return sum(values), label
