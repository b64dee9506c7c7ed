"""Every setting: typed, with its unit in its name, checked once at start.

Values come from, last wins: the defaults here, config.yaml, environment variables (`EMOTION_` and the path with
two underscores between its parts: `EMOTION_SERVER__PORT=8080`), command-line options.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from server import system
from server.config.alerts import Alerts, RuleConfig
from server.config.errors import ConfigError
from server.engine import EngineSettings
from server.language import Language
from server.paths import HOME
from server.peer import Proxies
from stream.batching import BatchLimits
from stream.gate import GateConfig
from stream.prior import Prior, log_weights
from stream.session import StreamConfig
from stream.types import FRAMES_PER_S, LABEL_SETS_ZH, SAMPLE_RATE, STEP_MS, LabelSet, ModelSpec, ceil_div

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["text", "json"]
GridMs = Annotated[int, Field(multiple_of=10)]  # a time on the 10 ms grid


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ServerSection(_Section):
    """Where and how to listen."""

    host: str = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535)
    async_mode: Literal["eventlet", "threading"] = "eventlet"
    # Socket processes, which share one engine; auto: one for each core.
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = 1
    token: str = Field("", pattern=r"^[!-~]*$")  # when set, clients must present it; empty: no check
    open: bool = False  # let everybody in who can reach host, without a token
    # Names, with commas between, by which clients may call this server, beside loopback's and host; "*" for any.
    hosts: str = Field("", max_length=4000)
    trusted_proxies: str = Field("", max_length=4000)  # whose X-Forwarded-* is believed: addresses, networks
    # Where people reach it, https://emotion.example.com, for links in messages; empty: host and port.
    public_url: str = Field("", pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?$", max_length=1000)
    cors_origins: str = ""  # other web origins that may connect, with commas between; "*" for any
    drain_s: float = Field(10, gt=0)  # at SIGTERM: how long sessions get to finish
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "text"
    language: Language = (
        "en"  # en or zh, of errors and steps for clients that ask for neither (Accept-Language)
    )
    labels_zh: LabelSet = (
        "emotion2vec"  # the nine in Chinese: 生气 开心 中立 难过 吃惊; common: 愤怒 快乐 中性 悲伤 惊讶
    )

    @property
    def n_workers(self) -> int:
        """How many socket processes there are."""
        return system.cores() if self.workers == "auto" else self.workers

    @property
    def names_zh(self) -> tuple[str, ...]:
        """The nine labels in Chinese."""
        return LABEL_SETS_ZH[self.labels_zh]

    @field_validator("workers")
    @classmethod
    def _can_share(cls, workers: int | str) -> int | str:
        if workers != 1 and not system.INHERITS_SOCKETS:
            raise ValueError("several workers cannot share an address on this system; leave it at 1")
        return workers

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: str) -> str:
        for name in (part.strip() for part in hosts.split(",")):
            if name and name != "*" and not re.fullmatch(r"[\w.-]+|[0-9a-fA-F:]+", name):
                raise ValueError(f"{name!r} is no host name: give names alone, without scheme, port and path")
        return hosts

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, trusted_proxies: str) -> str:
        Proxies(trusted_proxies)
        return trusted_proxies


class ModelSection(_Section):
    """Which model, and on which device."""

    name: str = "compact"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    # Of emotion2vec (docs/emotion2vec.md); the embedded model has no use for them.
    hub: Literal["modelscope", "huggingface"] = "modelscope"  # where weights are fetched by name
    # auto: bfloat16 where that is faster; never float16 (of emotion2vec, on a GPU) nor int8.
    precision: Literal["float32", "bfloat16", "float16", "int8", "auto"] = "auto"
    # What computes compact; auto: ONNX Runtime, or torch for a GPU or bfloat16. emotion2vec has torch alone.
    runtime: Literal["auto", "onnx", "torch"] = "auto"
    allow_pickle: bool = False  # let a checkpoint run code when it is read: for files of your own only
    # What is likely before anything is heard: conversation (half of all speech is neutral), balanced (all labels
    # alike, for benchmarks), or weights by label, 1 where none is given.
    prior: str | dict[str, float] = "conversation"
    # Of compact: what its embeddings follow. emotion: alike where the emotion is; voice: where voice and room are.
    embedding: Literal["emotion", "voice"] = "emotion"
    custom_labels: str = ""  # a folder made by `./run.sh tools teach`: labels of your own beside the nine

    @field_validator("prior")
    @classmethod
    def _is_prior(cls, prior: Prior) -> Prior:
        log_weights(prior)
        return prior

    @model_validator(mode="after")
    def _float16_on_a_gpu(self) -> Self:
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision float16 is for GPUs; on a CPU take bfloat16, float32, int8 or auto")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """As `stream.models.registry.load_model` takes them."""
        return {
            "hub": self.hub,
            "precision": self.precision,
            "runtime": self.runtime,
            "allow_pickle": self.allow_pickle,
            "prior": self.prior,
            "embedding": self.embedding,
        }


class EngineSection(_Section):
    """How windows are scored."""

    kind: Literal["process", "ray"] = "process"  # of replicas: processes here, or on a Ray cluster
    ray_address: str = Field("auto", min_length=1, max_length=1000)  # auto: that this machine is part of
    replicas: int = Field(1, ge=1, le=64)  # model processes that share the work: a GPU, or cores, for each
    threads: int = Field(1, ge=1, le=256)  # CPU threads, of all of them together
    max_batch: int = Field(32, ge=1, le=4096)  # windows scored together
    max_wait_ms: float = Field(40, ge=0, le=1000)  # how long a window may wait for a batch to fill
    max_queue: int = Field(1024, ge=1)  # live windows held; more are refused as OVERLOADED
    max_background: int = Field(64, ge=1)  # windows of files held beside them
    deadline_ms: float = Field(8000, gt=0)  # a window without scores by then is lost as INFERENCE_TIMEOUT
    background_deadline_s: float = Field(120, gt=0)  # files are given up after so long without any room
    # A model process silent for so long is replaced; null: the model's own, 5 s for compact, 20 s for emotion2vec.
    heartbeat_timeout_s: float | None = Field(None, gt=1, le=3600)
    spare: bool = False  # another model process for each waits to take over: twice the memory


class SpeechSection(_Section):
    """What counts as speech, and how it is cut."""

    aggressiveness: int = Field(2, ge=0, le=3)  # 0 lets most sound pass as speech, 3 least
    onset_ms: GridMs = Field(60, ge=10, le=1000)  # this much voice in a row opens a span of speech
    pre_roll_ms: GridMs = Field(100, ge=0, le=1000)  # how much before it belongs to the span
    hangover_ms: GridMs = Field(400, ge=10, le=5000)  # this much quiet in a row closes it
    max_utterance_s: float = Field(30, ge=1, le=600)  # a longer span is cut into utterances here


class StreamSection(_Section):
    """How a session is scored."""

    hop_ms: GridMs | None = Field(None, ge=10)  # audio per window; null: what the model prefers
    max_hop_ms: GridMs = Field(800, ge=10, le=10_000)  # under load windows grow up to this
    smoothing_ms: float = Field(500, ge=0)  # time constant of the current state
    ring_s: float = Field(14, ge=2, le=600)  # audio held per session while it waits for scores
    # frame_result, `results` and timeouts as `error`, too; auto: for clients that never sent a start.
    legacy_events: Literal["off", "on", "auto"] = "auto"

    @field_validator("legacy_events", mode="before")
    @classmethod
    def _of_yaml(cls, legacy_events: object) -> object:
        """YAML reads a bare on and off as true and false."""
        return {True: "on", False: "off"}[legacy_events] if isinstance(legacy_events, bool) else legacy_events


class LimitsSection(_Section):
    """What one client, and all together, may take."""

    max_connections: int = Field(1000, ge=1)
    max_sessions: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"  # auto: as many as are served live
    max_lag_ms: float = Field(1000, ge=200, le=60_000)  # speech that waits longer for its scores is lost
    max_sessions_per_connection: int = Field(4, ge=1)
    # Sessions whose audio comes in a container (WebM, Ogg, MP3 and so on), each decoded in a process of its own.
    decoders: int = Field(64, ge=0, le=1000)
    max_chunk_bytes: int = Field(1_000_000, ge=1000, le=8_000_000)
    max_chunk_s: float = Field(5, gt=0)  # audio in one chunk
    max_ahead_s: float = Field(12, gt=0)  # audio a client may send ahead of real time
    refill_rate: float = Field(1.5, ge=1, le=100)  # times real time at which that allowance comes back
    messages_per_s: float = Field(500, gt=0)  # per connection
    excess_per_s: float = Field(20, gt=0)  # pings, no-ops, refused events, per connection; a flood closes it
    sockets_per_peer: int | None = Field(None, ge=8)  # TCP connections of one address; null: half of all
    head_timeout_s: float = Field(10, gt=0)  # for a request's line and headers, a WebSocket's handshake
    # For a request's body, plus what body_bytes_per_s allows; longer than a slow upload gets, which is told so.
    body_timeout_s: float = Field(30, gt=0)
    body_bytes_per_s: float = Field(500, gt=0)  # slower bodies are given up
    idle_timeout_s: float = Field(60, gt=0)  # a session without audio for this long is closed
    resume_s: float = Field(10, ge=0)  # a session whose connection broke waits this long for it
    outbox_events: int = Field(1000, ge=10)  # results kept for a client that is slow or away

    @property
    def sockets(self) -> int:
        """TCP connections, in all: of clients, of pages and of those who have not said yet what they want."""
        return 4 * self.max_connections + 1000


class RedisSection(_Section):
    """The Redis that makes several servers one service; see docs/scaling.md."""

    url: str = Field(
        "", max_length=2000
    )  # redis://, rediss:// (TLS) or unix://, with user and password; empty: none
    prefix: str = Field(
        "emotion:", pattern=r"^[\w:.-]{1,100}$"
    )  # of all keys: services that share a Redis have each its own
    timeout_s: float = Field(1.0, ge=0.05, le=10)  # without an answer for so long it counts as away

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url and not re.match(r"(rediss?|unix)://[^\s]+$", url):
            raise ValueError("expected redis://, rediss:// or unix://, and where the Redis is")
        return url

    @property
    def key(self) -> bytes:
        """The same in all servers, unknown to clients: they cannot choose addresses that are counted as one."""
        password = urlsplit(self.url).password or ""
        return hashlib.blake2b(f"{self.prefix} {password}".encode(), digest_size=16).digest()


class FilesSection(_Section):
    """Recordings that are sent as files, and their results."""

    outputs: str = Field("outputs", min_length=1)  # folder of the results; seen from the project's folder
    # Of complete folders, in octal; their files' is the same without x. Nobody but the owner may write.
    folder_mode: str = Field("750", pattern=r"^7[05][05]$")
    absolute_paths: bool = True  # in answers to clients on this machine; others are told relative ones
    samples: str = ""  # a folder of recordings or .npy embeddings that every recording is compared with
    keep_days: float = Field(7, gt=0)  # results of uploads older than this are removed
    keep_gb: float = Field(10, gt=0)  # of uploads and their results; the oldest make room for others
    fresh_s: float = Field(600, ge=0, le=86_400)  # younger results do not: who finds no room is told NO_ROOM
    max_upload_mb: float = Field(500, gt=0, le=100_000)
    max_audio_s: float = Field(14_400, ge=1)  # length of a recording
    max_channels: int = Field(32, ge=1, le=64)
    cpu_s: float = Field(600, ge=1, le=86_400)  # of a processor, to decode one file; else it is BAD_AUDIO
    concurrent: int = Field(2, ge=1, le=64)  # recognized at a time, each in a process of its own
    max_waiting: int = Field(16, ge=0)  # received and waiting for their turn; more are refused as BUSY
    max_receiving: int = Field(64, ge=1)  # uploads on their way in; more are refused as BUSY
    max_receiving_per_peer: int = Field(32, ge=1)  # of one address
    receive_s: float = Field(3600, gt=0)  # how long an upload may take, at 10 KB per second or more
    wait_s: float = Field(10, ge=0)  # for its turn; then it is refused as BUSY

    @property
    def max_upload_bytes(self) -> int:
        return round(self.max_upload_mb * 1e6)

    @field_validator("folder_mode", mode="before")
    @classmethod
    def _of_yaml(cls, folder_mode: object) -> object:
        """YAML reads 750 as a number, and 0750 as one in octal."""
        if not isinstance(folder_mode, int) or isinstance(folder_mode, bool):
            return str(folder_mode).removeprefix("0")
        return f"{folder_mode:o}" if re.fullmatch("7[05][05]", f"{folder_mode:o}") else str(folder_mode)

    @property
    def mode(self) -> int:
        """`folder_mode` as a number."""
        return int(self.folder_mode, 8)

    @property
    def folder(self) -> Path:
        """Where results are kept."""
        return HOME / Path(self.outputs).expanduser()


class MonitorSection(_Section):
    """The call-center desk: who may watch the sessions, and how many."""

    token: str = Field("", pattern=r"^[!-~]*$")  # opens /desk; empty: open, unless server.token is set
    max_desks: int = Field(20, ge=0)
    max_open: int = Field(4, ge=1, le=100)  # sessions that a desk may have open in full
    ended_ttl_s: float = Field(30, ge=0, le=3600)  # how long a session that has ended is still shown


class AccessSection(_Section):
    """Keys: who may do what (docs/access.md)."""

    keys_file: str = Field(
        "", max_length=1000
    )  # made by `keys add`; when set, nobody is let in without a key

    audit_file: str = Field(
        "", max_length=1000
    )  # a line of JSON for each who asks for something; empty: none

    @property
    def keys_path(self) -> Path | None:
        """Where it is, seen from the project's folder; None where there are no keys."""
        return HOME / Path(self.keys_file).expanduser() if self.keys_file else None

    @property
    def audit_path(self) -> Path | None:
        """Likewise."""
        return HOME / Path(self.audit_file).expanduser() if self.audit_file else None


class DoorsSection(_Section):
    """Telephone systems: how they show who they are, and where they call."""

    twilio_auth_token: str = Field("", pattern=r"^[!-~]*$")  # of the account: signatures are checked with it
    genesys_api_key: str = Field(
        "", pattern=r"^[A-Za-z0-9+/_=-]*$"
    )  # of the AudioHook integration; empty: closed
    genesys_client_secret: str = Field("", max_length=1000)  # in base64: handshakes have to be signed with it
    audiosocket_port: int = Field(0, ge=0, le=65535)  # of Asterisk's AudioSocket, at server.host; 0: none
    audiosocket_from: str = Field(
        "127.0.0.1, ::1", max_length=4000
    )  # addresses and networks that may call there

    @field_validator("genesys_client_secret")
    @classmethod
    def _base64(cls, genesys_client_secret: str) -> str:
        try:
            base64.b64decode(genesys_client_secret, validate=True)
        except binascii.Error:
            raise ValueError("not base64: give the client secret as it stands in Genesys") from None
        return genesys_client_secret

    @field_validator("audiosocket_from")
    @classmethod
    def _networks(cls, audiosocket_from: str) -> str:
        Proxies(audiosocket_from)
        return audiosocket_from


Person = Literal["agent", "customer"]


class ChannelsSection(_Section):
    """Who speaks on which channel of a session with two."""

    left: Person = "agent"
    right: Person = "customer"

    @model_validator(mode="after")
    def _two_people(self) -> ChannelsSection:
        if self.left == self.right:
            raise ValueError(f"left and right are both the {self.left}; one is the other's")
        return self


class PolicySection(_Section):
    """Whose voice is scored: docs/policy.md."""

    watch: Literal["both", "customer", "agent"] = "both"
    mono: Literal["refuse", "allow"] = "refuse"  # sessions of one channel while not both are watched


class RecordingSection(_Section):
    """What is kept of sessions, below files.outputs."""

    sessions: bool = False
    audio: bool = False  # with sessions: what was scored, too
    keep_days: float = Field(30, gt=0)
    keep_gb: float = Field(10, gt=0)

    @model_validator(mode="after")
    def _with_sessions(self) -> RecordingSection:
        if self.audio and not self.sessions:
            raise ValueError("audio is kept with the record of its session: set sessions too")
        return self


class FileSettings(_Section):
    """What the process that reads strangers' files is told: how to hear them, and nothing that is secret."""

    log_level: LogLevel
    log_format: LogFormat
    model: ModelSection
    speech: SpeechSection
    stream: StreamSection
    files: FilesSection
    rules: tuple[RuleConfig, ...]
    labels_zh: LabelSet

    @property
    def names_zh(self) -> tuple[str, ...]:
        """The nine labels in Chinese."""
        return LABEL_SETS_ZH[self.labels_zh]

    def stream_config(self, spec: ModelSpec) -> StreamConfig:
        """As `Config.stream_config`."""
        return _stream_config(self.model, self.speech, self.stream, spec)


class Config(BaseSettings):
    """All settings, frozen."""

    model_config = SettingsConfigDict(
        env_prefix="EMOTION_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSection = ServerSection()
    model: ModelSection = ModelSection()
    engine: EngineSection = EngineSection()
    speech: SpeechSection = SpeechSection()
    stream: StreamSection = StreamSection()
    limits: LimitsSection = LimitsSection()
    redis: RedisSection = RedisSection()
    channels: ChannelsSection = ChannelsSection()
    access: AccessSection = AccessSection()
    doors: DoorsSection = DoorsSection()
    alerts: Alerts = Alerts()
    policy: PolicySection = PolicySection()
    recording: RecordingSection = RecordingSection()
    monitor: MonitorSection = MonitorSection()
    files: FilesSection = FilesSection()

    _warnings: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: object,
        **__: object,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is called with, and nothing else: `loading` reads file and environment."""
        return (init_settings,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever starts the program should read: a line for each key that was given under an old name."""
        return self._warnings

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.limits.max_ahead_s + 1 > self.stream.ring_s:
            raise ValueError("stream.ring_s must exceed limits.max_ahead_s by a second, or audio is lost")
        if self.limits.max_chunk_s > self.limits.max_ahead_s:
            raise ValueError(
                "limits.max_chunk_s must not exceed limits.max_ahead_s, or no such chunk is accepted"
            )
        return self

    @property
    def engine_settings(self) -> EngineSettings:
        e = self.engine
        return EngineSettings(
            model=self.model.name,
            device=self.model.device,
            model_options=self.model.options,
            kind=e.kind,
            ray_address=e.ray_address,
            replicas=e.replicas,
            threads=e.threads,
            batching=BatchLimits(e.max_batch, e.max_wait_ms / 1000),
            max_queue=e.max_queue,
            max_background=e.max_background,
            deadline_s=e.deadline_ms / 1000,
            background_deadline_s=e.background_deadline_s,
            heartbeat_timeout_s=e.heartbeat_timeout_s,
            spare=e.spare,
        )

    @property
    def of_worker(self) -> Config:
        """As one of several workers is to keep it: files, which are counted by each for itself, are shared out."""
        n = self.server.n_workers
        shared = ("concurrent", "max_waiting", "max_receiving", "max_receiving_per_peer")
        files = {name: ceil_div(getattr(self.files, name), n) for name in shared}
        engine = {"max_background": ceil_div(self.engine.max_background, n)}
        return self.model_copy(
            update={
                "files": self.files.model_copy(update=files),
                "engine": self.engine.model_copy(update=engine),
            }
        )

    @property
    def rules(self) -> tuple[RuleConfig, ...]:
        """Those of the alerts."""
        return self.alerts.rules

    @property
    def names_zh(self) -> tuple[str, ...]:
        """The nine labels in Chinese."""
        return self.server.names_zh

    @property
    def for_files(self) -> FileSettings:
        """The part of it that the process that reads strangers' files needs."""
        return FileSettings(
            log_level=self.server.log_level,
            log_format=self.server.log_format,
            model=self.model,
            speech=self.speech,
            stream=self.stream,
            files=self.files,
            rules=self.rules,
            labels_zh=self.server.labels_zh,
        )

    def stream_config(self, spec: ModelSpec) -> StreamConfig:
        """How sessions listen for this model. Raises ConfigError."""
        return _stream_config(self.model, self.speech, self.stream, spec)


def _stream_config(
    model: ModelSection, s: SpeechSection, stream: StreamSection, spec: ModelSpec
) -> StreamConfig:
    hop = spec.hop_frames if stream.hop_ms is None else stream.hop_ms // STEP_MS
    if hop % spec.hop_frames:
        wanted = f"use a multiple of {STEP_MS * spec.hop_frames}"
        raise ConfigError(f"stream.hop_ms: {stream.hop_ms} does not suit {spec.name}; {wanted}")
    if stream.ring_s * FRAMES_PER_S < spec.left_frames + hop + spec.right_frames + FRAMES_PER_S:
        raise ConfigError(f"stream.ring_s: {stream.ring_s:g} is too short for the windows of {spec.name}")
    return StreamConfig(
        gate=GateConfig(
            aggressiveness=s.aggressiveness,
            onset=s.onset_ms // STEP_MS,
            pre_roll=s.pre_roll_ms // STEP_MS,
            hangover=s.hangover_ms // STEP_MS,
            max_span=round(s.max_utterance_s * FRAMES_PER_S),
        ),
        hop=hop,
        max_hop=hop if spec.fixed_hop else max(hop, stream.max_hop_ms // STEP_MS),
        left=spec.left_frames,
        right=spec.right_frames,
        ring=round(stream.ring_s * SAMPLE_RATE),
        smoothing=stream.smoothing_ms / STEP_MS,
        embed=bool(model.custom_labels),
    )
