"""The rules over one session or one recording, and their alerts in words."""

from __future__ import annotations

from collections.abc import Sequence

from server.config.alerts import NORMAL, RuleConfig
from server.observers import LEVELS, AlertEvent, SessionEvent
from stream.conversation_rules import ConversationRules
from stream.dynamics import Conversation
from stream.rules import Alert, RuleEngine
from stream.types import LABELS, LABELS_ZH, FramesScored, StreamEvent, UtteranceScored

# The labels as nouns: "strong anger" reads better than "strong angry".
FEELINGS = (
    *("anger", "disgust", "fear", "happiness", "neutrality", "other emotion", "sadness", "surprise"),
    "unknown emotion",
)
FEELINGS_ZH = ("愤怒", "厌恶", "恐惧", "喜悦", "平静", "其他情绪", "悲伤", "惊讶", "未知情绪")
CHANNELS_ZH = {"agent": "坐席", "customer": "客户", None: "来电者"}

Told = list[tuple[str | None, AlertEvent]]  # each with its channel; None: the only one, or both


class SessionAlerts:
    """The rules over one session, or over one recording. An alert comes with its channel."""

    def __init__(
        self,
        rules: Sequence[RuleConfig],
        channels: Sequence[str | None],
        labels_zh: Sequence[str] = LABELS_ZH,
    ) -> None:
        """`labels_zh`: what the nine labels are called in Chinese."""
        self._rules, self._labels_zh = {rule.name: rule for rule in rules}, labels_zh
        compiled = [rule.compiled() for rule in rules]
        self._judge = RuleEngine(compiled, channels)
        self._talk = ConversationRules(compiled, channels)

    def on_event(self, channel: str | None, event: StreamEvent) -> Told:
        """The alerts that an event raises or clears."""
        if isinstance(event, FramesScored):
            return self._worded(self._judge.frames(channel, event.first_frame, event.probs))
        if isinstance(event, UtteranceScored):
            return self._worded(self._judge.utterance(channel, event))
        return []

    def advance(self, channel: str | None, watermark_frame: int) -> Told:
        """Those that time raises or clears: frames before `watermark_frame` are final."""
        return self._worded(self._judge.advance(channel, watermark_frame))

    def converse(self, state: Conversation) -> Told:
        """Those that the state of a call of two raises or clears, half second by half second."""
        return self._worded(self._talk.judge(state))

    def finish(self, length: int) -> Told:
        """Those that the end of a recording of `length` frames brings."""
        return self._worded(self._judge.finish(length))

    def _worded(self, alerts: list[Alert]) -> Told:
        return [(a.channel, alert_event(self._rules[a.rule], a, self._labels_zh)) for a in alerts]


def alert_event(rule: RuleConfig, alert: Alert, labels_zh: Sequence[str] = LABELS_ZH) -> AlertEvent:
    """An alert in the rule's words."""
    words = {
        "rule": rule.name,
        "emotion": LABELS[alert.label],
        "emotion_zh": labels_zh[alert.label],
        "feeling": FEELINGS[alert.label],
        "feeling_zh": FEELINGS_ZH[alert.label],
        "percent": round(100 * alert.value),
        "value": f"{alert.value:.0f}",
        "channel": alert.channel or "caller",
        "channel_zh": CHANNELS_ZH[alert.channel],
    }
    chinese = None if rule.message_zh is None else rule.message_zh.format(**words)
    said = rule.message.format(**words)
    return AlertEvent(rule.name, rule.level, alert.state, alert.frame, said, chinese, alert.probs)


def verdict(rules: Sequence[RuleConfig], alerts: Sequence[SessionEvent]) -> str:
    """The name of the worst rule that told something of a recording; of equals the first. NORMAL: none did."""
    told = {alert.rule for alert in alerts if isinstance(alert, AlertEvent)}
    raised = [rule for rule in rules if rule.name in told]
    return max(raised, key=lambda rule: LEVELS.index(rule.level)).name if raised else NORMAL
