"""Alerts and results on their way: who is told of them beside the session's owner."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

from server import wire
from server.alerting.reports import SessionReport
from server.alerting.subject import Links, Subject
from server.alerting.webhooks import RESULTS, Receiver
from server.config import Config
from server.metrics import Metrics
from server.observers import AlertEvent, Level, SessionEvent, SessionInfo, SessionSummary
from stream.types import UtteranceScored

log = logging.getLogger("alerts")

# Never ERROR: somebody's anger is no fault of the server.
_GRAVITY: dict[Level, int] = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.WARNING}


def announce(config: Config, metrics: Metrics) -> Announcer:
    """The announcer of these settings. Nothing is sent before there is an alert."""
    receivers = []
    for hook in config.alerts.webhooks:
        for result in RESULTS:  # so that a rate is 0, not absent, before the first one
            metrics.webhooks.labels(hook.name, result)
        receivers.append(Receiver(hook, partial(_count, metrics, hook.name), config.names_zh))
    for rule in config.rules:
        metrics.alerts.labels(rule.name, rule.level)
    return Announcer(metrics, receivers, Links(config))


def _count(metrics: Metrics, target: str, result: str) -> None:
    metrics.webhooks.labels(target, result).inc()


class Announcer:
    """An observer that passes alerts on: a metric, a log line, the webhooks. Those of recordings, too.

    Webhooks that want more of a live session than its alerts have its SessionReport.
    """

    def __init__(self, metrics: Metrics, receivers: Sequence[Receiver], links: Links) -> None:
        self._metrics, self._receivers, self._links = metrics, receivers, links
        self._sessions: dict[str, tuple[Subject, SessionReport]] = {}

    def start(self) -> None:
        """Begin to send."""
        for receiver in self._receivers:
            receiver.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Give what was told last, summaries above all, a moment to be delivered."""
        end = time.monotonic() + timeout_s
        for receiver in self._receivers:
            receiver.settle(end - time.monotonic())

    def on_open(self, info: SessionInfo) -> None:
        subject = self._links.of_session(info)
        receivers = [receiver for receiver in self._receivers if receiver.serves(info.tenant)]
        self._sessions[info.key] = subject, SessionReport(info, subject, receivers)

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        if isinstance(event, AlertEvent):
            self._pass_on(event, channel, self._sessions[session_id][0], session=session_id)
        elif isinstance(event, UtteranceScored):
            self._sessions[session_id][1].utterance(channel, event)

    def on_close(self, summary: SessionSummary) -> None:
        if found := self._sessions.pop(summary.session_id, None):
            found[1].close(summary)

    def on_file(
        self, alerts: Sequence[AlertEvent], result: str, file_name: str, duration_s: float, tenant: str
    ) -> None:
        """A recording has been recognized: the first alert of each rule is passed on."""
        subject, seen = self._links.of_file(result, file_name, duration_s, tenant), set()
        for alert in alerts:
            if alert.state != "cleared" and alert.rule not in seen:
                seen.add(alert.rule)
                self._pass_on(alert, None, subject, result=result)

    def _pass_on(self, alert: AlertEvent, channel: str | None, subject: Subject, **of: str) -> None:
        if alert.state != "cleared":
            self._metrics.alerts.labels(alert.rule, alert.level).inc()
        # Not the message: it may hold scores.
        fields = {**of, "rule": alert.rule, "state": alert.state, "at_ms": wire.ms(alert.frame)}
        fields["severity"] = alert.level
        if channel is not None:
            fields["channel"] = channel
        log.log(_GRAVITY[alert.level], "alert", extra=fields)
        for receiver in self._receivers:
            receiver.offer(alert, channel, subject)
