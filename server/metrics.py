"""Prometheus metrics of the contract. Labels take few values, none of which grows with users."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from server import logs
from server.config import Config
from server.engine import Health
from server.errors import CODES, Code
from server.gpu import Gpus
from server.replica_metrics import ReplicaFigures
from server.wire import Latency
from stream.affect import affect
from stream.dynamics import Conversation, Share
from stream.types import FRAMES_PER_S, LABELS, UNCERTAIN, Floats, ModelSpec

# From what an idle machine answers in (1 ms) to a person's patience (5 s); the library's own start at 5 ms.
LATENCY_BUCKETS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    1.0,
    2.0,
    5.0,
)
LOSSES = ("OVERLOADED", "INFERENCE_TIMEOUT", "INFERENCE_FAILED", "NOT_READY")  # why speech may get no scores
FILE_RESULTS = (
    "ok",
    "gone",
    "FILE_TOO_LARGE",
    "UNSUPPORTED_MEDIA",
    "BAD_AUDIO",
    "NO_AUDIO",
    "BUSY",
    "NO_ROOM",
    "INTERNAL",
)
DECODING_FAILURES = ("BAD_AUDIO", "UNSUPPORTED_ENCODING", "INTERNAL")  # why a container could not be read on
RECORD_RESULTS = ("saved", "incomplete", "failed")
CUTS = ("flood", "too_long", "malformed", "slow", "crowded")  # why a connection was closed
CHANNELS = ("agent", "customer")
DOORS = ("websocket", "twilio", "telnyx", "audiosocket", "freeswitch", "genesys", "chan_websocket")
FILE_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
AFFECT_BUCKETS = (-0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5)  # arousal and valence, around neutral's 0
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """A registry of its own, so that two servers in one process (tests) do not share counters."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a `_created` series beside each of the others doubles a scrape for nothing
        self.registry = r = CollectorRegistry()
        r.register(Gpus())
        self.connections = Gauge("emotion_connections", "Open client connections", registry=r)
        self._doors = Counter(
            "emotion_door_connections", "Connections let in beside Socket.IO", ["door"], registry=r
        )
        for door in DOORS:
            self._doors.labels(door)
        self.sockets = Gauge("emotion_sockets", "Open TCP connections, whatever they are for", registry=r)
        self._cuts = Counter(
            "emotion_connections_cut", "Connections closed for what they did", ["reason"], registry=r
        )
        for reason in CUTS:
            self._cuts.labels(reason)
        self.sessions = Gauge("emotion_sessions", "Open sessions", registry=r)
        self.desks = Gauge("emotion_desks", "Call-center desks that watch", registry=r)
        self.channels = Gauge("emotion_channels", "Channels of open sessions that are scored", registry=r)
        self.decoders = Gauge("emotion_decoders", "Sessions whose container is being decoded", registry=r)
        self.decoding_failures = Counter(
            "emotion_decoding_failures", "Containers that could not be read on", ["code"], registry=r
        )
        for failure in DECODING_FAILURES:
            self.decoding_failures.labels(failure)
        self.audio = Counter("emotion_audio_seconds", "Audio received", registry=r)
        self.speech = Counter("emotion_speech_seconds", "Audio inside detected speech", registry=r)
        self.silence = Counter("emotion_silence_seconds", "Audio outside detected speech", registry=r)
        frames = Counter("emotion_frames", "Scored frames by likeliest emotion", ["emotion"], registry=r)
        self._frames = [frames.labels(label) for label in LABELS]
        kinds = {"arousal": "Calm (-1) to excited (1)", "valence": "Unpleasant (-1) to pleasant (1)"}
        self._affect = [
            Histogram(
                f"emotion_utterance_{name}", f"{what}, of utterances", buckets=AFFECT_BUCKETS, registry=r
            )
            for name, what in kinds.items()
        ]
        self._uncertain = Counter(
            "emotion_uncertain_utterances", "Utterances whose emotion is not sure", registry=r
        )
        self.latency = Histogram(
            "emotion_frame_latency_seconds",
            "From the arrival of the last audio a result needed to its emission",
            buckets=LATENCY_BUCKETS,
            registry=r,
        )
        self.known = Histogram(
            "emotion_utterance_known_seconds",
            "From the end of speech to its utterance_result",
            buckets=LATENCY_BUCKETS,
            registry=r,
        )
        self._queue = Histogram(
            "emotion_queue_seconds", "A window's wait for its batch", buckets=LATENCY_BUCKETS, registry=r
        )
        self._inference = Histogram(
            "emotion_inference_seconds", "Scoring one batch", buckets=LATENCY_BUCKETS, registry=r
        )
        self._batch = Histogram(
            "emotion_batch_windows", "Windows scored together", buckets=BATCH_BUCKETS, registry=r
        )
        self.requests = Counter("emotion_requests", "Requests over HTTP", ["endpoint", "status"], registry=r)
        self._errors = Counter("emotion_errors", "Errors told to clients", ["code"], registry=r)
        self._lost = Counter("emotion_lost_seconds", "Speech that got no scores", ["code"], registry=r)
        for code in CODES:  # so that a rate is 0, not absent, before the first one
            self._errors.labels(code)
        for failure in LOSSES:
            self._lost.labels(failure)
        self.dropped = Counter(
            "emotion_results_dropped", "Results given up because a client did not read", ["event"], registry=r
        )
        self.resumes = Counter("emotion_resumes", "Sessions taken up again by their client", registry=r)
        self.files = Counter(
            "emotion_files", "Files sent for recognition, by how that ended", ["result"], registry=r
        )
        for result in FILE_RESULTS:
            self.files.labels(result)
        self.file_seconds = Counter("emotion_file_seconds", "Audio of recognized files", registry=r)
        self.file_results = Counter(
            "emotion_file_results", "Recognized files by the emotion of all of it", ["emotion"], registry=r
        )
        for label in LABELS:
            self.file_results.labels(label)
        self.file_recognition = Histogram(
            "emotion_file_recognition_seconds",
            "From the end of a file's upload to its answer",
            buckets=FILE_BUCKETS,
            registry=r,
        )
        self.files_receiving = Gauge("emotion_files_receiving", "Files being received now", registry=r)
        self.files_running = Gauge("emotion_files_running", "Files being recognized now", registry=r)
        self._interruptions = Counter(
            "emotion_interruptions",
            "Interruptions in calls of two, by who interrupts",
            ["channel"],
            registry=r,
        )
        self._reactions = Counter(
            "emotion_reactions",
            "Gaps before an answer in calls of two, by who answers",
            ["channel"],
            registry=r,
        )
        self._reaction_seconds = Counter(
            "emotion_reaction_seconds", "How long these gaps were together", ["channel"], registry=r
        )
        self._overlap = Counter(
            "emotion_overlap_seconds", "Time in which both of a call spoke at once", registry=r
        )
        for name in CHANNELS:
            for counter in (self._interruptions, self._reactions, self._reaction_seconds):
                counter.labels(name)
        self.alerts = Counter("emotion_alerts", "Alerts raised", ["rule", "level"], registry=r)
        self.webhooks = Counter(
            "emotion_webhooks",
            "Alerts and results sent over HTTP, by how that ended",
            ["target", "result"],
            registry=r,
        )
        self.records = Counter(
            "emotion_records", "Session records, by how they ended", ["result"], registry=r
        )
        for result in RECORD_RESULTS:
            self.records.labels(result)
        self._log_dropped = Counter(
            "emotion_log_lines_dropped", "Log lines that nobody took in time", registry=r
        )
        self._log_dropped_seen = logs.dropped()
        self._up = Gauge("emotion_engine_up", "1 while the model answers", registry=r)
        self._restarts = Counter("emotion_engine_restarts", "Restarts of the model process", registry=r)
        self._fallbacks = Counter(
            "emotion_engine_fallbacks",
            "Times the model ran short of memory, by remedy",
            ["remedy"],
            registry=r,
        )
        for remedy in ("halved", "cpu"):
            self._fallbacks.labels(remedy)
        self._waiting = Gauge("emotion_queue_windows", "Windows accepted and not answered yet", registry=r)
        self.load_level = Gauge(
            "emotion_load_level",
            "0 normal, 1 slower, 2 files paused, 3 refusing sessions, 4 shedding",
            registry=r,
        )
        self.lag = Gauge("emotion_lag_seconds", "p95 of how late the channels' oldest speech is", registry=r)
        self.engine_busy = Gauge(
            "emotion_engine_busy_ratio", "Share of real time spent on scoring live windows", registry=r
        )
        self.server_busy = Gauge(
            "emotion_server_busy_ratio", "Share of real time that the socket process is busy", registry=r
        )
        self._limits = {
            "max_sessions": Gauge("emotion_sessions_limit", "Sessions that may be open", registry=r),
            "max_connections": Gauge("emotion_connections_limit", "Connections that may be open", registry=r),
            "max_queue": Gauge("emotion_queue_limit", "Windows that may wait for the model", registry=r),
        }
        self._model = Gauge(
            "emotion_model_info", "The model in use", ["model", "device", "dtype"], registry=r
        )

    def scored(self, latency: Latency, probs: Floats) -> None:
        """One result went out."""
        self.latency.observe(latency.total_s)
        self._queue.observe(latency.queue_s)
        for index, n in enumerate(np.bincount(probs.argmax(axis=1)).tolist()):
            if n:
                self._frames[index].inc(n)

    def uttered(self, probs: Floats) -> None:
        """The result of an utterance went out."""
        for histogram, value in zip(self._affect, affect(probs), strict=True):
            histogram.observe(value)
        self._uncertain.inc(bool(probs.max() < UNCERTAIN))

    def batch(self, n_windows: int, infer_s: float) -> None:
        """The engine has scored a batch."""
        self._batch.observe(n_windows)
        self._inference.observe(infer_s)

    def error(self, code: Code) -> None:
        self._errors.labels(code).inc()

    def door(self, name: str) -> None:
        """A connection was let in through it."""
        self._doors.labels(name).inc()

    def cut(self, reason: str) -> None:
        self._cuts.labels(reason).inc()

    def lost(self, code: str, seconds: float) -> None:
        self._lost.labels(code).inc(seconds)

    def conversed(self, before: Conversation | None, now: Conversation) -> None:
        """How two people shared a conversation from one state to another."""
        for name, share in now.shares.items():
            old = before.shares[name] if before else Share()
            self._interruptions.labels(name).inc(share.interruptions - old.interruptions)
            self._reactions.labels(name).inc(share.reactions - old.reactions)
            self._reaction_seconds.labels(name).inc((share.reaction - old.reaction) / FRAMES_PER_S)
        self._overlap.inc((now.overlap - (before.overlap if before else 0)) / FRAMES_PER_S)

    def allow(self, config: Config) -> None:
        """What the settings allow, so that a dashboard can tell how near the server is to it."""
        limits = config.limits
        allowed = {
            "max_sessions": limits.max_connections if limits.max_sessions == "auto" else limits.max_sessions,
            "max_connections": limits.max_connections,
            "max_queue": config.engine.max_queue,
        }
        for name, limit in allowed.items():
            self._limits[name].set(limit)

    def watch_redis(self, up: Callable[[], bool], servers: Callable[[], int]) -> None:
        """Of a server that is one of several."""
        gauge = Gauge(
            "emotion_redis_up", "Whether the service's Redis answers this server", registry=self.registry
        )
        gauge.set_function(lambda: float(up()))
        gauge = Gauge(
            "emotion_servers", "Servers of the service, this one among them", registry=self.registry
        )
        gauge.set_function(lambda: float(servers()))

    def watch_engine(self, health: Callable[[], Health], spec: Callable[[], ModelSpec | None]) -> None:
        """Read the engine's state at each scrape."""
        self._up.set_function(lambda: float(health().up))
        self._waiting.set_function(lambda: float(health().waiting))
        self._health, self._spec = health, spec
        self.registry.register(ReplicaFigures(health))
        self._restarts_seen = 0
        self._fallbacks_seen: dict[str, int] = {}

    def refresh(self) -> None:
        """Bring what is read at a scrape up to date."""
        health = self._health()
        log_dropped = logs.dropped()
        self._log_dropped.inc(log_dropped - self._log_dropped_seen)
        self._log_dropped_seen = log_dropped
        self._restarts.inc(health.restarts - self._restarts_seen)
        self._restarts_seen = health.restarts
        for remedy, n in health.fallbacks.items():
            self._fallbacks.labels(remedy).inc(n - self._fallbacks_seen.get(remedy, 0))
        self._fallbacks_seen = health.fallbacks
        if spec := self._spec():
            self._model.labels(spec.name, spec.device, spec.dtype).set(1)

    def render(self) -> bytes:
        self.refresh()
        return generate_latest(self.registry)
