"""Rules about how two people share a call: a silence that lasts, interruptions that add up. See `stream.rules`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from stream.dynamics import Conversation
from stream.rules import Alert, AlertState, Rule
from stream.types import FRAMES_PER_S

KEPT = 1000  # interruptions of one person that are counted; no rule asks for more


class ConversationRules:
    """Those over one call, judged at every half second of it that is known of both."""

    def __init__(self, rules: Sequence[Rule], channels: Sequence[str | None]) -> None:
        self._silence = [AlertState(rule, None) for rule in rules if rule.measure == "silence_s"]
        self._interruptions = [
            AlertState(rule, channel)
            for rule in rules
            for channel in channels
            if rule.measure == "interruptions" and rule.channel in (None, channel)
        ]
        # When each interrupted.
        self._times: dict[str | None, deque[int]] = {name: deque(maxlen=KEPT) for name in channels}
        self._counted: dict[str | None, int] = dict.fromkeys(channels, 0)

    def judge(self, state: Conversation) -> list[Alert]:
        """What it raises or clears."""
        alerts: list[Alert] = []
        for each in self._silence:
            alerts += each.measured(state.at, state.silence / FRAMES_PER_S, 0)
        for name, share in state.shares.items():
            self._times[name].extend([state.at] * (share.interruptions - self._counted[name]))
            self._counted[name] = share.interruptions
        for each in self._interruptions:
            since = 0 if each.rule.window is None else state.at - each.rule.window
            n = sum(at > since for at in self._times[each.channel])
            alerts += each.measured(state.at, n, 0)
        return alerts
