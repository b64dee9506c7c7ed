"""LiveSession: one client's stream, with a clock, a lock, an engine and a way back to the client.

It thinks nothing itself: bytes go through `intake` into `stream.session`, windows go to the engine, answers come
back, the publisher tells the events. Its lock is held for short, never while waiting for the engine.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial

from server import wire
from server.config import LimitsSection
from server.config.alerts import RuleConfig
from server.decoding.pool import Decoders
from server.engine import Busy, Engine, Timing
from server.errors import RETRYABLE, ClientError
from server.live.channel import Channel
from server.live.elsewhere import Moved
from server.live.intake import Intake
from server.live.outbox import Client, Outbox
from server.live.policy import ChannelSelection
from server.live.publisher import Publisher
from server.live.requests import AudioMessage, SpanRequest, StartRequest, unscored
from server.live.trail import Entry, Trail
from server.metrics import Metrics
from server.observers import AudioObserver, Counters, Observer, SessionInfo, SessionSummary
from server.tenants import split
from stream.custom_labels import CustomLabels
from stream.session import StreamConfig
from stream.types import (
    HOP,
    SAMPLE_RATE,
    Answer,
    Failed,
    Floats,
    FramesScored,
    JsonDict,
    Step,
    UtteranceScored,
    Window,
    frames_in,
)

COUNT_S = 1.0  # audio by which the metrics may be behind a session


def _age_s(started_utc: str) -> float:
    """By the calendar: of a session that was another machine's, whose own clock says nothing here."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(started_utc)).total_seconds())


@dataclass(frozen=True)
class SessionContext:
    """What every session of a server shares."""

    engine: Engine
    metrics: Metrics
    limits: LimitsSection
    decoders: Decoders
    stream: StreamConfig
    model: str
    rules: tuple[RuleConfig, ...]
    labels_zh: tuple[str, ...]  # the nine in Chinese
    observers: tuple[Observer, ...]
    audio: AudioObserver | None
    labels: CustomLabels | None  # labels of the operator's own
    flush_timeout_s: float  # longer than any window's deadline


class LiveSession:
    """Every method may be called from any thread."""

    def __init__(
        self,
        session_id: str,
        request: StartRequest,
        selection: ChannelSelection,
        context: SessionContext,
        legacy_events: bool = False,
        moved: Moved | None = None,
    ) -> None:
        """`session_id`: among those of all tenants. `legacy_events`: told as clients expect that send no `start`.
        `moved`: it was another worker's.
        """
        now = time.monotonic()
        past = self._past = moved.past if moved else None
        self.session_id = session_id
        self.tenant, plain = split(session_id)
        self.identity = request.identity
        self.refusal: ClientError | None = None  # why it takes no more audio
        self.label = request.session_id or plain  # what its owner calls it
        self.resume_token = (
            request.resume_token if moved and request.resume_token else secrets.token_urlsafe(24)
        )
        self.next_seq = past.next_seq if past else 0
        self.last_activity_s = now
        self._context = context
        self._intake = Intake(
            request.format,
            selection.pick,
            context.limits,
            context.decoders,
            self._on_decoded,
            self._on_decoding_failed,
            now,
        )
        self._trail: Trail | None = None
        self._heard = past.samples if past else 0  # at 16 kHz; kept up to date where there is a trail
        if past:
            self._intake.go_on(past.resting)
        self._before_s = self._heard / SAMPLE_RATE
        self._pass_over = past.origin * HOP - past.samples if past else 0  # samples before the next frame
        self._channels = [Channel(session_id, name, context.stream) for name in selection.names]
        self._lock = threading.RLock()
        self._settled = threading.Event()
        self._ending = self._closed = False
        self._tells_load = request.load_events
        self._format, self._frame_results = request.format, request.frame_results
        self.outbox = Outbox(
            session_id,
            context.limits.outbox_events,
            lambda event: context.metrics.dropped.labels(event).inc(),
        )
        self.info = SessionInfo(
            plain,
            past.opening["started_utc"] if past else datetime.now(UTC).isoformat(timespec="milliseconds"),
            now - _age_s(past.opening["started_utc"]) if past else now,
            request.name,
            request.tags,
            request.format.channels,
            context.model,
            selection.watch,
            self.tenant,
        )
        self._publisher = Publisher(
            self.info,
            self.outbox,
            context.observers,
            context.metrics,
            context.rules,
            selection.names,
            context.labels_zh,
            self.label,
            context.stream.gate,
            context.labels,
            request.frame_results,
            legacy_events,
            past.origin if past else 0,
            past.utterances if past else (),
        )
        for event, _, payload in moved.events if moved else ():
            self._tell_of_past(event, payload)

    def leave_trail(self, trail: Trail) -> None:
        """Write down from now on what another worker needs to go on with it."""
        self._trail = self.outbox.trail = trail

    @property
    def opening(self) -> JsonDict:
        """Of its trail: how it was opened. The token is not in it."""
        return {
            "session_id": self.session_id,
            "label": self.label,
            "format": asdict(self._format),
            "frame_results": self._frame_results,
            "load_events": self._tells_load,
            "name": self.info.name,
            "tags": dict(self.info.tags),
            "started_utc": self.info.started_utc,
        }

    @property
    def received_s(self) -> float:
        """Of audio, wherever the session was."""
        return self._before_s + self._intake.received_s

    @property
    def resume_key(self) -> str:
        """Its token among those of all tenants: one that was overheard is of no use to another tenant."""
        return f"{self.tenant}:{self.resume_token}"

    @property
    def n_channels(self) -> int:
        """How many streams of audio are scored: what it takes of a server's room."""
        return len(self._channels)

    def attach(self, client: Client, last_received: int | None = None) -> None:
        """Results go to `client` from now on, what waited for it first."""
        with self._lock:
            self.last_activity_s = time.monotonic()
            self.outbox.attach(client, last_received)

    def tell_taken_up(self) -> None:
        """Tell whoever owns it that somebody else does from now on: they need not have asked for that."""
        lost = ClientError("NOT_YOUR_SESSION", "this session was taken up by another connection")
        self.outbox.tell_now("error", {"session_id": self.label, **lost.to_wire()})

    def detach(self) -> None:
        """The client's connection is gone; it may come back."""
        with self._lock:
            self.last_activity_s = time.monotonic()
            self.outbox.attach(None)

    def feed(self, message: AudioMessage) -> JsonDict:
        """Take a chunk in. Raises ClientError; then the chunk has left no trace in the audio.

        Numbered chunks (`seq`) are taken in order and once. One that is refused for now (RATE_LIMITED) has to be
        sent again before those after it; one that is refused for good is passed over.
        """
        now = time.monotonic()
        with self._lock:
            if self._ending:
                raise ClientError("NOT_READY", "this session is being closed; start another one")
            if self.refusal is not None:
                raise self.refusal
            self.last_activity_s = now
            seq, expected = message.seq, self.next_seq
            if seq is not None and seq < expected:
                return {"ok": True, "received_ms": self._received_ms, "duplicate": True}
            if seq is not None and seq > expected:
                wanted = f"expected seq {expected}, got {seq}; resend from {expected}"
                raise ClientError("BAD_REQUEST", wanted, expected)
            try:
                samples = self._intake.take(message, expected, now)
            except ClientError as refused:
                if seq is not None and refused.code not in RETRYABLE:
                    self.next_seq = seq + 1
                    self._mark()
                raise
            if seq is not None:
                self.next_seq = seq + 1
            if samples:
                self._take(samples, now)
            else:
                self._mark()
            return {"ok": True, "received_ms": self._received_ms}

    def span(self, asked: SpanRequest) -> JsonDict:
        """The scores of a stretch of the last minutes, as far as they are there. Raises ClientError."""
        with self._lock:
            names = [channel.name for channel in self._channels]
            if asked.channel is None and len(names) == 1:
                channel = self._channels[0]
            elif asked.channel in names:
                channel = self._channels[names.index(asked.channel)]
            else:
                raise unscored([name for name in names if name])
            final = channel.stream.watermark_frame
            stretch = channel.history.stretch(asked.start, asked.end, final)
        return wire.span(self.label, channel.name, stretch, asked.present)

    def lags(self, now: float) -> list[float]:
        """Of each channel, how long its oldest unscored speech has been due, in seconds."""
        with self._lock:
            return [channel.lag_s(now) for channel in self._channels]

    def shed(self, now: float, max_lag_s: float) -> None:
        """Tell as lost what has been due for longer."""
        with self._lock:
            for channel in self._channels:
                if not self._closed and channel.lag_s(now) > max_lag_s:
                    self._run(channel, channel.shed(now, max_lag_s))
            if self._all_settled:
                self._settled.set()

    def slow_down(self, factor: int, level: str) -> None:
        """Windows of at least `factor` hops from now on; the owner is told if it wants to know."""
        with self._lock:
            hops = [channel.stream.slow_down(factor) for channel in self._channels]
            if self._tells_load and not self._closed:
                self.outbox.put(
                    "load", {"session_id": self.label, "level": level, "hop_ms": wire.ms(hops[0])}
                )

    def finish(self, timeout_s: float | None = None) -> bool:
        """Take nothing more, and `flush`; `close` is to follow."""
        with self._lock:
            self._ending = True
        began = time.monotonic()
        complete = self._intake.finish(self._decoding_timeout_s(timeout_s))
        if timeout_s is not None:
            timeout_s = max(0.0, timeout_s - (time.monotonic() - began))
        return self.flush(timeout_s) and complete

    def flush(self, timeout_s: float | None = None) -> bool:
        """Close open speech and wait until all of it is scored. False when that did not happen in time.

        `timeout_s` None: longer than any window's deadline, so that the engine has answered, if only with that.
        """
        decoded = self._intake.settle(self._decoding_timeout_s(timeout_s))
        with self._lock:
            self._take(self._intake.finish_each(), time.monotonic())
            self._settled.clear()
            for channel in self._channels:
                self._run(channel, channel.stream.flush())
            if self._all_settled:
                return decoded
        timeout_s = self._context.flush_timeout_s if timeout_s is None else timeout_s
        return self._settled.wait(timeout_s) and decoded

    def close(self, reason: str) -> SessionSummary:
        """Tell what was not scored in time, and the summary."""
        with self._lock:
            for channel in self._channels:
                self._run(channel, channel.stream.give_up("INFERENCE_TIMEOUT"))
                channel.count(self._context.metrics)
            self._closed = True
            summary = self.summary(reason)
            self._publisher.close(summary)
            self._intake.close()
            if self._trail is not None:
                self._trail.remove()
            return summary

    @property
    def can_move(self) -> bool:
        """Whether another worker could go on with it: a container is decoded where its beginning was."""
        return self._trail is not None and self._intake.resting is not None

    def hand_over(self, received: int | None, timeout_s: float) -> list[Entry]:
        """End here, for another worker to go on: what its client is to be told, who has got so many events."""
        self.finish(timeout_s)
        with self._lock:
            for channel in self._channels:
                self._run(channel, channel.stream.give_up("NOT_READY"))
                channel.count(self._context.metrics)
            self._closed = True
            self._mark()
            if self._trail is not None:
                self._trail.leave()
            self._publisher.leave(replace(self.summary("disconnect"), moved=True))
            self._intake.close()
            events = self.outbox.hand_over(received)
            return [(event, payload.get("channel"), payload) for event, payload in events]

    def summary(self, reason: str) -> SessionSummary:
        with self._lock:
            return SessionSummary(
                self.session_id,
                reason,
                self.received_s,
                {channel.name: self._counters(channel) for channel in self._channels},
                self._publisher.utterances,
                self._intake.leftover_bytes,
                self._publisher.conversation(frames_in(max(c.stream.received for c in self._channels))),
            )

    def answered(self, channel: Channel, window: Window, answer: Answer, timing: Timing) -> None:
        """The engine's reply to a window of this session."""
        with self._lock:
            if self._closed:
                return  # this window has been told as lost
            self._run(channel, channel.stream.absorb(window, answer), window, timing)
            if self._all_settled:
                self._settled.set()

    def _on_decoded(self, samples: list[Floats]) -> float:
        """Samples that come from a decoder: 0 when they were taken, else in how many seconds they may be."""
        now = time.monotonic()
        with self._lock:
            wait_s = 0.0 if self._closed else self._intake.admit(samples, now)
            if not self._closed and not wait_s:
                self._take(samples, now)
            return wait_s

    def _on_decoding_failed(self, failure: ClientError) -> None:
        """Nothing more comes of a container; its client may have asked for no answers."""
        with self._lock:
            if self._closed:
                return
            self._intake.failed(failure)
            self._context.metrics.error(failure.code)
            self.outbox.put("error", {"session_id": self.label, **failure.to_wire()})

    def _decoding_timeout_s(self, timeout_s: float | None) -> float:
        """How long to wait for samples that are still being decoded: they come no faster than they may."""
        return (
            self._context.flush_timeout_s + self._context.limits.max_ahead_s
            if timeout_s is None
            else timeout_s
        )

    # -- below: called with the lock held --------------------------------------------------------------

    @property
    def _received_ms(self) -> int:
        return wire.to_ms(self.received_s)

    def _counters(self, channel: Channel) -> Counters:
        here = channel.counters
        return here + self._past.counters(channel.name) if self._past else here

    def _mark(self) -> None:
        """Write down where the audio stands, before it is acknowledged."""
        if self._trail is not None:
            self._trail.at(self.next_seq, self._heard, self._intake.resting)

    def _tell_of_past(self, event: str, payload: JsonDict) -> None:
        """What its client had not been told when another worker had it."""
        if event == "lost" and payload["code"] == "NOT_READY":
            self._context.metrics.lost("NOT_READY", (payload["end_ms"] - payload["start_ms"]) / 1000)
        self.outbox.put(event, payload)

    @property
    def _all_settled(self) -> bool:
        return all(channel.stream.settled for channel in self._channels)

    def _take(self, samples: list[Floats], now: float) -> None:
        """Samples (n,) of each channel."""
        if self._trail is not None:
            self._heard += len(samples[0]) if samples else 0
            self._mark()
        if self._pass_over:
            n = self._pass_over
            self._pass_over = max(0, n - len(samples[0]))
            samples = [its[n:] for its in samples]
        for channel, its in zip(self._channels, samples, strict=True):
            if not len(its):
                continue
            if self._context.audio is not None:
                self._context.audio.on_audio(self.session_id, channel.name, its)
            self._run(channel, channel.push(its, now))
            channel.count(self._context.metrics, COUNT_S)

    def _run(
        self, channel: Channel, step: Step, window: Window | None = None, timing: Timing | None = None
    ) -> None:
        """Tell a step's events and have its window scored; `window` and `timing` are those of the answer."""
        while True:
            for event in step.events:
                latency = None
                if window is not None and timing is not None and isinstance(event, FramesScored):
                    total_s = time.monotonic() - channel.arrival_of(window.end_sample)
                    latency = wire.Latency(timing.queue_s, timing.infer_s, total_s)
                if isinstance(event, FramesScored):
                    channel.history.add(event.first_frame, event.probs)
                elif isinstance(event, UtteranceScored):
                    known_s = channel.since_s(event.end * HOP, time.monotonic())
                    self._context.metrics.known.observe(known_s)
                self._publisher.publish(channel.name, event, latency)
            self._publisher.advance(channel.name, channel.stream.watermark_frame)
            if step.window is None:
                return
            try:
                self._context.engine.submit(step.window, partial(self.answered, channel))
                return
            except Busy:
                full = Failed("OVERLOADED", "the engine holds as many windows as it may")
                step = channel.stream.absorb(step.window, full)
