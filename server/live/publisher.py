"""Publisher: makes the owner's JSON of a session's events, once; the observers get the events themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from server import wire
from server.alerting.judge import SessionAlerts
from server.config.alerts import RuleConfig
from server.live.outbox import Outbox
from server.metrics import Metrics
from server.observers import Observer, SessionEvent, SessionInfo, SessionSummary
from stream.custom_labels import CustomLabels
from stream.dynamics import Conversation, Dynamics
from stream.gate import GateConfig
from stream.types import (
    HOP,
    SAMPLE_RATE,
    FramesScored,
    JsonDict,
    Lost,
    SpeechEnded,
    SpeechStarted,
    StreamEvent,
    UtteranceScored,
    later,
)

MAX_UTTERANCES = 1000  # kept for the summary


class Publisher:
    """Of one session, which calls it with its lock held. Order is kept: an alert follows what raised it."""

    def __init__(
        self,
        info: SessionInfo,
        outbox: Outbox,
        observers: Sequence[Observer],
        metrics: Metrics,
        rules: Sequence[RuleConfig],
        channels: Sequence[str | None],
        labels_zh: Sequence[str],
        label: str,
        gate: GateConfig,
        labels: CustomLabels | None = None,
        frame_results: bool = False,
        legacy_events: bool = False,
        origin: int = 0,
        utterances: Iterable[JsonDict] = (),
    ) -> None:
        """`labels_zh`: the nine in Chinese, for alerts. `label`: what the owner calls the session. `labels`: the
        operator's own. `gate`: what it adds to the voices.

        `frame_results`: the owner wants an event per frame too. `legacy_events`: these, `results` in each
        `emotion_result`, and a missed deadline as an `error` beside its `lost`.

        `origin`: the frame of the session that its streams here begin with, `utterances`: what was told before;
        of a session that was another worker's.
        """
        self._key = info.key
        self._info, self._outbox, self._observers, self._metrics = info, outbox, observers, metrics
        self._label, self._labels, self._legacy = label, labels, legacy_events
        self._frame_results = frame_results or legacy_events
        self._alerts = SessionAlerts(rules, channels, labels_zh)
        self._utterances: deque[JsonDict] = deque(utterances, maxlen=MAX_UTTERANCES)
        self._origin = origin
        # What was said in another worker is not known here: of half a call nothing is told.
        both = [name for name in channels if name is not None]
        self._dynamics = Dynamics((both[0], both[1]), gate) if len(both) == 2 and not origin else None
        self._conversation: Conversation | None = None  # as it was told last
        for observer in observers:
            observer.on_open(info)

    @property
    def utterances(self) -> tuple[JsonDict, ...]:
        """The last ones, as they were told."""
        return tuple(self._utterances)

    def publish(self, channel: str | None, event: StreamEvent, latency: wire.Latency | None = None) -> None:
        """Tell the owner and the observers. `latency`: of scores that a window brought."""
        frames: list[JsonDict] | None = None
        if self._origin:
            event = later(event, self._origin)
        if isinstance(event, FramesScored) and latency is not None:
            self._metrics.scored(latency, event.probs)
            if self._frame_results:
                frames = wire.frame_list(event)
                for frame in frames:
                    self._outbox.put("frame_result", wire.frame_result(self._label, channel, frame))
        elif isinstance(event, UtteranceScored) and self._labels and event.embedding is not None:
            event = replace(event, custom=self._labels.judge(event.embedding))
        elif isinstance(event, Lost):
            self._metrics.lost(event.code, event.n_frames * HOP / SAMPLE_RATE)
        payload = self._send(channel, event, latency, frames if self._legacy else None)
        if isinstance(event, UtteranceScored):
            self._metrics.uttered(event.probs)
            self._utterances.append(payload)
        elif self._legacy and isinstance(event, Lost) and event.code == "INFERENCE_TIMEOUT":
            self._metrics.error(event.code)
            self._outbox.put("error", wire.lost_error(self._label, channel, event))
        elif isinstance(event, SpeechStarted | SpeechEnded) and self._dynamics and channel:
            self._dynamics.edge(channel, event)
        for where, alert in self._alerts.on_event(channel, event):
            self._send(where, alert)

    def advance(self, channel: str | None, watermark_frame: int) -> None:
        """Tell the alerts that time raises or clears: frames before `watermark_frame` are final."""
        for where, alert in self._alerts.advance(channel, watermark_frame + self._origin):
            self._send(where, alert)
        if self._dynamics and channel:
            for state in self._dynamics.advance(channel, watermark_frame):
                self._converse(state)

    def conversation(self, end: int) -> Conversation | None:
        """All of it, where it is over at frame `end`."""
        if self._dynamics is None:
            return None
        state = self._dynamics.finish(end)
        self._metrics.conversed(self._conversation, state)
        self._conversation = state
        return state

    def _converse(self, state: Conversation) -> None:
        """Told when something has happened; that time passes is known anyway."""
        before = self._conversation
        if before is None or state.news != before.news:
            self._metrics.conversed(before, state)
            self._conversation = state
            self._send(None, state)
        for where, alert in self._alerts.converse(state):
            self._send(where, alert)

    def close(self, summary: SessionSummary) -> None:
        self._outbox.put("session_summary", wire.summary(summary, self._label))
        self.leave(summary)

    def leave(self, summary: SessionSummary) -> None:
        """Its owner is told no more from here."""
        for observer in self._observers:
            observer.on_close(summary)

    def _send(
        self,
        channel: str | None,
        event: SessionEvent,
        latency: wire.Latency | None = None,
        frames: list[JsonDict] | None = None,
    ) -> JsonDict:
        name, payload = wire.to_wire(self._label, channel, event, self._info.model, latency)
        if frames is not None:
            payload["results"] = frames
        self._outbox.put(name, payload)
        for observer in self._observers:
            observer.on_event(self._key, channel, event)
        return payload
