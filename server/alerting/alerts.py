"""Alerts: a session's rules at work, in the wire's words; and who is told beside the session's owner."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from server import wire
from server.alerting.webhooks import RESULTS, Receiver
from server.config.alerts import Alerts, Level, Rule
from server.metrics import Metrics
from server.observers import SessionInfo
from stream.rules import Alert, RuleEngine
from stream.types import LABELS, LABELS_ZH, FramesScored, JsonDict, StreamEvent, UtteranceScored

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


class Watch:
    """The rules over one session."""

    def __init__(self, session_id: str, rules: Sequence[Rule], channels: Sequence[str | None]) -> None:
        self._session_id = session_id
        self._rules = {rule.name: rule for rule in rules}
        self._judge = RuleEngine([rule.compiled() for rule in rules], channels)

    def told(self, channel: str | None, event: StreamEvent) -> list[JsonDict]:
        """The alerts that an event raises or clears."""
        if isinstance(event, FramesScored):
            return self._worded(self._judge.frames(channel, event.first_frame, event.probs))
        if isinstance(event, UtteranceScored):
            return self._worded(self._judge.utterance(channel, event))
        return []

    def passed(self, channel: str | None, watermark_frame: int) -> list[JsonDict]:
        """Those that time does: nothing more will be told of frames before `watermark_frame`."""
        return self._worded(self._judge.advance(channel, watermark_frame))

    def _worded(self, alerts: list[Alert]) -> list[JsonDict]:
        return [alert_event(self._session_id, self._rules[alert.rule], alert) for alert in alerts]


def alert_event(session_id: str, rule: Rule, alert: Alert) -> JsonDict:
    words = {
        "rule": rule.name,
        "emotion": LABELS[alert.label],
        "emotion_zh": LABELS_ZH[alert.label],
        "feeling": FEELINGS[alert.label],
        "feeling_zh": FEELINGS_ZH[alert.label],
        "percent": round(100 * alert.value),
        "channel": alert.channel or "caller",
        "channel_zh": CHANNELS_ZH[alert.channel],
    }
    chinese = {} if rule.message_zh is None else {"message_zh": rule.message_zh.format(**words)}
    channel = {} if alert.channel is None else {"channel": alert.channel}
    return {
        "session_id": session_id,
        "rule": rule.name,
        "level": rule.level,
        "state": alert.state,
        "at_ms": alert.frame * wire.STEP_MS,
        "message": rule.message.format(**words),
        **chinese,
        **channel,
    }


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
    """A listener that passes alerts on: a metric, a log line, the webhooks."""

    def __init__(self, metrics: Metrics, receivers: Sequence[Receiver]) -> None:
        self._metrics, self._receivers = metrics, receivers
        self._sessions: dict[str, SessionInfo] = {}

    def start(self) -> None:
        """Begin to send."""
        for receiver in self._receivers:
            receiver.start()

    def opened(self, info: SessionInfo) -> None:
        self._sessions[info.session_id] = info

    def told(self, session_id: str, event: str, payload: JsonDict) -> None:
        if event != "alert":
            return
        if payload["state"] != "cleared":
            self._metrics.alerts.labels(payload["rule"], payload["level"]).inc()
        # Not the message: it may hold scores.
        fields = {"session": session_id, **{k: payload[k] for k in ("rule", "state", "at_ms")}}
        fields["severity"] = payload["level"]
        if "channel" in payload:
            fields["channel"] = payload["channel"]
        log.log(_GRAVITY[payload["level"]], "alert", extra=fields)
        for receiver in self._receivers:
            receiver.offer(payload, self._sessions[session_id])

    def closed(self, session_id: str, summary: JsonDict) -> None:
        self._sessions.pop(session_id, None)
