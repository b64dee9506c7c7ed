"""LiveSession: one client's stream, with a clock, a lock, an engine and a way back to the client.

It thinks nothing itself: bytes go through `codec` into `stream.session`, windows go to the engine, answers come
back, events go out. Its lock is held for short, never while waiting for the engine.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np

from server import wire
from server.alerting.alerts import Watch
from server.config import Limits
from server.config.alerts import Rule
from server.engine import Busy, Engine, Timing
from server.errors import ClientError
from server.live.channel import Track, totals
from server.live.outbox import Client, Outbox
from server.live.policy import Hearing
from server.metrics import Metrics
from server.observers import AudioListener, Listener, SessionInfo
from server.rate_limit import TokenBucket
from stream.codec import BadAudio, Decoder, UnsupportedEncoding
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
    Lost,
    Step,
    StreamEvent,
    UtteranceScored,
    Window,
)

MAX_UTTERANCES = 1000  # kept for the summary


@dataclass(frozen=True)
class Surroundings:
    """What every session of a server shares."""

    engine: Engine
    metrics: Metrics
    limits: Limits
    stream: StreamConfig
    model: str
    rules: tuple[Rule, ...]
    listeners: tuple[Listener, ...]
    audio: AudioListener | None
    taught: CustomLabels | None  # labels of the operator's own
    patience_s: float  # how long a flush may take: longer than any window's deadline


class LiveSession:
    """Every method may be called from any thread."""

    def __init__(
        self, session_id: str, request: wire.StartRequest, heard: Hearing, around: Surroundings
    ) -> None:
        now = time.monotonic()
        self.session_id = session_id
        self.resume_token = secrets.token_urlsafe(24)
        self.next_seq = 0
        self.last_heard_s = now
        self._around = around
        self._frame_results = request.frame_results
        self._decoder = Decoder(request.format, heard.pick)
        self._tracks = [Track(session_id, channel, around.stream) for channel in heard.names]
        self._bucket = TokenBucket(around.limits.catch_up, around.limits.ahead_s, now)
        self._watch = Watch(session_id, around.rules, heard.names)
        self._utterances: deque[JsonDict] = deque(maxlen=MAX_UTTERANCES)
        self._lock = threading.RLock()
        self._settled = threading.Event()
        self._ending = self._closed = False
        self.outbox = Outbox(
            around.limits.outbox_events, lambda event: around.metrics.dropped.labels(event).inc()
        )
        self.info = SessionInfo(
            session_id,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            now,
            request.name,
            request.tags,
            request.format.channels,
            around.model,
            heard.watch,
        )
        for listener in around.listeners:
            listener.opened(self.info)

    @property
    def lines(self) -> int:
        """How many streams of audio are scored: what it takes of a server's room."""
        return len(self._tracks)

    def attach(self, client: Client, received: int | None = None) -> None:
        """Results go to `client` from now on, what waited for it first."""
        with self._lock:
            self.last_heard_s = time.monotonic()
            self.outbox.attach(client, received)

    def detach(self) -> None:
        """The client's connection is gone; it may come back."""
        with self._lock:
            self.last_heard_s = time.monotonic()
            self.outbox.attach(None)

    def feed(self, message: wire.AudioMessage) -> JsonDict:
        """Take a chunk in. Raises ClientError; then the chunk has left no trace in the audio.

        Numbered chunks (`seq`) are taken in order and once. One that is refused for now (RATE_LIMITED) has to be
        sent again before those after it; one that is refused for good is passed over.
        """
        now = time.monotonic()
        with self._lock:
            if self._ending:
                raise ClientError("NOT_READY", "this session is being closed; start another one")
            self.last_heard_s = now
            seq, expected = message.seq, self.next_seq
            if seq is not None and seq < expected:
                return {"ok": True, "received_ms": self._received_ms, "duplicate": True}
            if seq is not None and seq > expected:
                raise ClientError("BAD_REQUEST", f"'seq' {seq} before {expected}: go on from there", expected)
            try:
                lines = self._decode(message, now)
            except ClientError as refused:
                if seq is not None and refused.code != "RATE_LIMITED":
                    self.next_seq = seq + 1
                raise
            if seq is not None:
                self.next_seq = seq + 1
            self._take(lines, now)
            return {"ok": True, "received_ms": self._received_ms}

    def finish(self, patience_s: float | None = None) -> bool:
        """Take nothing more, and `flush`; `close` is to follow."""
        with self._lock:
            self._ending = True
        return self.flush(patience_s)

    def flush(self, patience_s: float | None = None) -> bool:
        """Close open speech and wait until all of it is scored. False when that did not happen in time.

        `patience_s` None: longer than any window's deadline, so that the engine has answered, if only with that.
        """
        with self._lock:
            self._take(self._decoder.finish_each(), time.monotonic())
            self._settled.clear()
            for track in self._tracks:
                self._run(track, track.flush())
            if self._all_settled:
                return True
        return self._settled.wait(self._around.patience_s if patience_s is None else patience_s)

    def close(self, reason: str) -> JsonDict:
        """Tell what was not scored in time, and the summary."""
        with self._lock:
            for track in self._tracks:
                self._run(track, track.give_up("INFERENCE_TIMEOUT"))
            self._closed = True
            summary = self.summary(reason)
            self.outbox.put("session_summary", summary)
            for listener in self._around.listeners:
                listener.closed(self.session_id, summary)
            return summary

    def summary(self, reason: str) -> JsonDict:
        with self._lock:
            books = {track.channel: track.books for track in self._tracks}
            named = {channel: totals(book) for channel, book in books.items() if channel is not None}
            leftover = self._decoder.leftover_bytes
            return {
                "session_id": self.session_id,
                "reason": reason,
                "audio_ms": self._received_ms,
                **totals(np.sum(list(books.values()), axis=0)),
                **({"channels": named} if named else {}),
                "utterances": list(self._utterances),
                **({"incomplete_bytes": leftover} if leftover else {}),
            }

    def answered(self, track: Track, window: Window, answer: Answer, timing: Timing) -> None:
        """The engine's reply to a window of this session."""
        with self._lock:
            if self._closed:
                return  # this window has been told as lost
            self._run(track, track.absorb(window, answer), window, timing)
            if self._all_settled:
                self._settled.set()

    # -- below: called with the lock held --------------------------------------------------------------

    @property
    def _received_ms(self) -> int:
        return round(self._decoder.received_ms)

    @property
    def _all_settled(self) -> bool:
        return all(track.settled for track in self._tracks)

    def _decode(self, message: wire.AudioMessage, now: float) -> list[Floats]:
        limits = self._around.limits
        data = message.data(limits.max_chunk_bytes)
        try:
            chunk = self._decoder.parse(data, message.sample_rate)
            if chunk.seconds > limits.max_chunk_s:
                raise ClientError(
                    "CHUNK_TOO_LARGE",
                    f"the chunk holds {chunk.seconds:.1f} s of audio;"
                    f" send at most {limits.max_chunk_s:g} s at a time",
                )
            if not self._bucket.take(chunk.seconds, now):
                again = (
                    f"more than {limits.ahead_s:g} s ahead of real time; send this chunk again a little later"
                )
                raise ClientError("RATE_LIMITED", again, self.next_seq)
            return self._decoder.decode_each(chunk)
        except UnsupportedEncoding as wrong:
            raise ClientError("UNSUPPORTED_ENCODING", str(wrong)) from None
        except BadAudio as wrong:
            raise ClientError("BAD_AUDIO", str(wrong)) from None

    def _take(self, lines: list[Floats], now: float) -> None:
        for track, samples in zip(self._tracks, lines, strict=True):
            if not len(samples):
                continue
            if self._around.audio is not None:
                self._around.audio.heard(self.session_id, track.channel, samples)
            self._run(track, track.take(samples, now))
            track.count(self._around.metrics)

    def _run(
        self, track: Track, turn: Step, window: Window | None = None, timing: Timing | None = None
    ) -> None:
        """Tell a turn's events and have its window scored; `window` and `timing` are those of the answer."""
        while True:
            for event in turn.events:
                self._tell(track, event, window, timing)
            for alert in self._watch.passed(track.channel, track.watermark_frame):
                self._emit("alert", alert)
            if turn.window is None:
                return
            try:
                self._around.engine.submit(turn.window, partial(self.answered, track))
                return
            except Busy:
                full = Failed("OVERLOADED", "the engine holds as many windows as it may")
                turn = track.absorb(turn.window, full)

    def _tell(self, track: Track, event: StreamEvent, window: Window | None, timing: Timing | None) -> None:
        channel = {} if track.channel is None else {"channel": track.channel}
        name, payload = wire.to_wire(self.session_id, event, self._around.model)
        payload.update(channel)
        if isinstance(event, FramesScored) and window is not None and timing is not None:
            latency_s = time.monotonic() - track.arrival_of(window.end_sample)
            payload["queue_ms"] = round(1000 * timing.queue_s, 2)
            payload["infer_ms"] = round(1000 * timing.infer_s, 2)
            payload["latency_ms"] = round(1000 * latency_s, 2)
            self._around.metrics.scored(timing, latency_s, event.probs)
            if self._frame_results:
                for row in wire.frame_results(self.session_id, event):
                    self.outbox.put("frame_result", {**row, **channel})
        elif isinstance(event, UtteranceScored):
            if self._around.taught and event.embedding is not None:
                payload["taught"] = self._around.taught.judge(event.embedding)
            self._utterances.append(payload)
        elif isinstance(event, Lost):
            self._around.metrics.lost(event.code, event.n_frames * HOP / SAMPLE_RATE)
        self._emit(name, payload)
        for alert in self._watch.told(track.channel, event):
            self._emit("alert", alert)

    def _emit(self, name: str, payload: JsonDict) -> None:
        self.outbox.put(name, payload)
        for listener in self._around.listeners:
            listener.told(self.session_id, name, payload)
