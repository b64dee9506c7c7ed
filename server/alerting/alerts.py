"""Alerts: a session's rules at work, in words; and who is told beside the session's owner."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from server import wire
from server.alerting.webhooks import RESULTS, Receiver
from server.config.alerts import Alerts, RuleConfig
from server.metrics import Metrics
from server.observers import AlertEvent, Level, SessionEvent, SessionInfo, SessionSummary
from stream.rules import Alert, RuleEngine
from stream.types import LABELS, LABELS_ZH, FramesScored, StreamEvent, UtteranceScored

log = logging.getLogger("alerts")

# Never ERROR: somebody's anger is no fault of the server.
_GRAVITY: dict[Level, int] = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.WARNING}

# The labels as nouns: "strong anger" reads better than "strong angry".
FEELINGS = (
    *("anger", "disgust", "fear", "happiness", "neutrality", "other emotion", "sadness", "surprise"),
    "unknown emotion",
)
FEELINGS_ZH = ("愤怒", "厌恶", "恐惧", "喜悦", "平静", "其他情绪", "悲伤", "惊讶", "未知情绪")
CHANNELS_ZH = {"agent": "坐席", "customer": "客户", None: "来电者"}


class SessionAlerts:
    """The rules over one session. An alert comes with its channel; None: the only one, or both."""

    def __init__(
        self,
        rules: Sequence[RuleConfig],
        channels: Sequence[str | None],
        labels_zh: Sequence[str] = LABELS_ZH,
    ) -> None:
        """`labels_zh`: what the nine labels are called in Chinese."""
        self._rules = {rule.name: rule for rule in rules}
        self._labels_zh = labels_zh
        self._judge = RuleEngine([rule.compiled() for rule in rules], channels)

    def on_event(self, channel: str | None, event: StreamEvent) -> list[tuple[str | None, AlertEvent]]:
        """The alerts that an event raises or clears."""
        if isinstance(event, FramesScored):
            return self._worded(self._judge.frames(channel, event.first_frame, event.probs))
        if isinstance(event, UtteranceScored):
            return self._worded(self._judge.utterance(channel, event))
        return []

    def advance(self, channel: str | None, watermark_frame: int) -> list[tuple[str | None, AlertEvent]]:
        """Those that time raises or clears: frames before `watermark_frame` are final."""
        return self._worded(self._judge.advance(channel, watermark_frame))

    def _worded(self, alerts: list[Alert]) -> list[tuple[str | None, AlertEvent]]:
        return [
            (alert.channel, alert_event(self._rules[alert.rule], alert, self._labels_zh)) for alert in alerts
        ]


def alert_event(rule: RuleConfig, alert: Alert, labels_zh: Sequence[str] = LABELS_ZH) -> AlertEvent:
    """An alert in the rule's words."""
    words = {
        "rule": rule.name,
        "emotion": LABELS[alert.label],
        "emotion_zh": labels_zh[alert.label],
        "feeling": FEELINGS[alert.label],
        "feeling_zh": FEELINGS_ZH[alert.label],
        "percent": round(100 * alert.value),
        "channel": alert.channel or "caller",
        "channel_zh": CHANNELS_ZH[alert.channel],
    }
    chinese = None if rule.message_zh is None else rule.message_zh.format(**words)
    return AlertEvent(rule.name, rule.level, alert.state, alert.frame, rule.message.format(**words), chinese)


def announce(config: Alerts, metrics: Metrics) -> Announcer:
    """The announcer of these settings. Nothing is sent before there is an alert."""
    receivers = []
    for hook in config.webhooks:
        for result in RESULTS:  # so that a rate is 0, not absent, before the first one
            metrics.webhooks.labels(hook.name, result)
        receivers.append(Receiver(hook, partial(_count, metrics, hook.name)))
    for rule in config.rules:
        metrics.alerts.labels(rule.name, rule.level)
    return Announcer(metrics, receivers)


def _count(metrics: Metrics, target: str, result: str) -> None:
    metrics.webhooks.labels(target, result).inc()


class Announcer:
    """An observer that passes alerts on: a metric, a log line, the webhooks."""

    def __init__(self, metrics: Metrics, receivers: Sequence[Receiver]) -> None:
        self._metrics, self._receivers = metrics, receivers
        self._sessions: dict[str, SessionInfo] = {}

    def start(self) -> None:
        """Begin to send."""
        for receiver in self._receivers:
            receiver.start()

    def on_open(self, info: SessionInfo) -> None:
        self._sessions[info.session_id] = info

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        if not isinstance(event, AlertEvent):
            return
        if event.state != "cleared":
            self._metrics.alerts.labels(event.rule, event.level).inc()
        info = self._sessions[session_id]
        _, payload = wire.to_wire(session_id, channel, event, info.model)
        # Not the message: it may hold scores.
        fields = {"session": session_id, **{k: payload[k] for k in ("rule", "state", "at_ms")}}
        fields["severity"] = event.level
        if channel is not None:
            fields["channel"] = channel
        log.log(_GRAVITY[event.level], "alert", extra=fields)
        for receiver in self._receivers:
            receiver.offer(payload, info)

    def on_close(self, summary: SessionSummary) -> None:
        self._sessions.pop(summary.session_id, None)
