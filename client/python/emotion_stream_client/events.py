"""What a stream tells, as typed values. Each carries the server's own words in `raw`; what the server says that
this package does not know comes as a plain `Event`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from emotion_stream_client.renamed import warn_renamed

Json = dict[str, Any]
E = TypeVar("E", bound="Event")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Any message of the server. `kind`: its name on the wire. Times are milliseconds of the session's audio."""

    kind: str
    raw: Json = field(repr=False)
    session_id: str | None = None
    channel: str | None = None  # of a call with two: "agent" or "customer"


@dataclass(frozen=True, kw_only=True)
class Result(Event):
    """The emotion of some frames, one `step_ms` apart; `emotion` … `scores` are the current, smoothed state.

    `frame_scores`: (frames, 9), probabilities in the order of the session's `labels`. `queue_ms`, `infer_ms`: the
    wait for the batch, and its scoring; `latency_ms`: since the last audio that these frames needed had arrived.
    """

    start_ms: int
    step_ms: int
    frame_ms: int
    emotion: str
    confidence: float
    scores: dict[str, float]
    frame_scores: list[list[float]] = field(repr=False)
    frame_emotions: list[str] = field(repr=False)
    frame_confidences: list[float] = field(repr=False)
    ambiguous: bool = False  # the first label leads the second by little: both are worth showing
    uncertain: bool = False  # less sure than what is right half of the time
    second: str | None = None  # the next likeliest label, where it is present, too
    arousal: float = 0.0  # -1 (calm) to 1 (excited)
    valence: float = 0.0  # -1 (unpleasant) to 1 (pleasant)
    queue_ms: float = 0.0
    infer_ms: float = 0.0
    latency_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Frame(Event):
    """The emotion of one frame; only where `frame_results` was asked for."""

    timestamp: int
    emotion: str
    confidence: float
    scores: dict[str, float]
    ambiguous: bool = False
    uncertain: bool = False
    second: str | None = None
    arousal: float = 0.0
    valence: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Speech(Event):
    """Speech begins (`state` "start") or ends ("end")."""

    state: str
    at_ms: int


class CustomLabels:
    """What has `custom_labels: Json | None`, by its old name as well."""

    custom_labels: Json | None

    @property
    def taught(self) -> Json | None:
        """The old name of `custom_labels`."""
        warn_renamed(".taught", ".custom_labels")
        return self.custom_labels


def custom_labels_of(raw: Mapping[str, Any]) -> Json:
    """The field of the same name, which is `taught` on the wire; nothing where there is none."""
    found = raw.get("taught")
    return {} if found is None else {"custom_labels": found}


@dataclass(frozen=True, kw_only=True)
class Utterance(CustomLabels, Event):
    """The emotion of a stretch of speech."""

    start_ms: int
    end_ms: int
    emotion: str
    confidence: float
    scores: dict[str, float]
    ambiguous: bool = False
    uncertain: bool = False
    second: str | None = None
    arousal: float = 0.0
    valence: float = 0.0
    custom_labels: Json | None = None  # {name, label, confidence, scores}: by labels of the operator's own


@dataclass(frozen=True, kw_only=True)
class Lost(Event):
    """A stretch of speech that gets no scores, and why."""

    start_ms: int
    end_ms: int
    code: str


@dataclass(frozen=True, kw_only=True)
class Alert(Event):
    """A rule of the server's has fired."""

    rule: str
    level: str
    at_ms: int
    message: str
    message_zh: str | None = None  # the same in Chinese, where the rule has it
    state: str | None = None


@dataclass(frozen=True, kw_only=True)
class Summary(Event):
    """The totals of a session that has ended. `reason`: why it has."""

    reason: str
    audio_ms: int
    speech_ms: int
    lost_ms: int
    frames: int
    share: dict[str, float]
    utterances: tuple[Utterance, ...] = field(repr=False)
    channels: dict[str, Json] | None = None  # of a call with two: the totals of each
    dynamics: Json | None = None  # of a call with two that were both heard: how they took turns


@dataclass(frozen=True, kw_only=True)
class Opened(Event):
    """A session is open, again (`resumed`) or anew.

    `replaced`: an earlier one of this stream could not be resumed. `origin_ms`: where this session's 0 ms lies in
    all the audio that was given to `send`.
    """

    session_id: str
    model: str
    resumed: bool
    replaced: bool
    origin_ms: float


@dataclass(frozen=True, kw_only=True)
class SpanResult(Event):
    """What `span` found. `emotion`, `scores` and `present` are empty where nothing was scored.

    `scores`: the mean of its `frames`, 10 ms each. `present`: the labels whose mean reaches their threshold.
    `complete`: all of it is held, and no scores are to come.
    """

    begin_ms: int
    end_ms: int
    complete: bool
    frames: int
    emotion: str | None = None
    confidence: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    ambiguous: bool = False
    uncertain: bool = False
    second: str | None = None
    arousal: float = 0.0
    valence: float = 0.0
    present: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class State(Event):
    """Of the connection: "online" or "offline"."""

    state: str


@dataclass(frozen=True, kw_only=True)
class Waiting(Event):
    """The server wants a pause, or has no room yet; it is asked again."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Refused(Event):
    """The server took some of the audio for none, for good."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Skipped(Event):
    """`events` were given up, frame results first: the program has not taken them for too long."""

    events: int


KINDS: dict[str, type[Event]] = {
    "emotion_result": Result,
    "frame_result": Frame,
    "speech": Speech,
    "utterance_result": Utterance,
    "lost": Lost,
    "alert": Alert,
    "session_summary": Summary,
}


def event_of(kind: str, payload: object) -> Event:
    """The event that a message of the server is."""
    raw: Json = payload if isinstance(payload, dict) else {"payload": payload}
    try:
        return build(KINDS[kind], kind, raw)
    except (KeyError, TypeError):  # unknown, or not of the shape that this version knows
        return Event(kind=kind, raw=raw)


def build(cls: type[E], kind: str, raw: Mapping[str, Any]) -> E:
    """`cls` with those fields of `raw` that it knows. Raises TypeError when one is missing."""
    names = {f.name for f in fields(cls)} - {"kind", "raw"}
    given = {name: raw[name] for name in names & raw.keys()}
    if "custom_labels" in names:
        given |= custom_labels_of(raw)
    if "present" in given:
        given["present"] = tuple(given["present"])
    if "utterances" in given:
        given["utterances"] = tuple(
            build(Utterance, "utterance_result", each) for each in given["utterances"]
        )
    return cls(kind=kind, raw=dict(raw), **given)
