"""What the server says, as JSON: the one room that makes milliseconds. `live.requests` reads what clients send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from server.errors import ClientError
from server.observers import AlertEvent, Counters, SessionEvent, SessionSummary
from stream.affect import affect
from stream.dynamics import Conversation
from stream.history import Stretch
from stream.types import (
    AMBIGUOUS,
    LABELS,
    PRESENT,
    UNCERTAIN,
    Floats,
    FramesScored,
    JsonDict,
    Lost,
    SpeechStarted,
    UtteranceScored,
)
from stream.types import DIGITS as DIGITS
from stream.types import FRAME_MS as FRAME_MS
from stream.types import STEP_MS as STEP_MS

# Of a verdict, how sure it is and what else it says: columns of tables, after those that were always there.
ALSO = ("ambiguous", "uncertain", "second", "arousal", "valence")


@dataclass(frozen=True)
class Latency:
    """Where the time went between a window's last sample and its scores, in seconds."""

    queue_s: float
    infer_s: float
    total_s: float


def to_ms(seconds: float) -> int:
    return round(1000 * seconds)


def ms(n_frames: int) -> int:
    """How long so many steps are, or when a frame starts."""
    return n_frames * STEP_MS


def scores(probs: Floats) -> JsonDict:
    """What probabilities (N_LABELS,) say: the verdict that every result carries.

    `second`: the next likeliest label where it is present, too, else None.
    """
    # Rounded as float32, like the rows of frames, and then the decimals themselves: 0.1, not 0.10000000149.
    values = (np.rint(probs * 10**DIGITS).astype(np.float64) / 10**DIGITS).tolist()
    ranked: list[float] = probs.tolist()
    second, first = sorted(ranked)[-2:]
    best = ranked.index(first)
    other = ranked.index(second, best + 1 if second == first else 0)
    arousal, valence = affect(probs)
    return {
        "emotion": LABELS[best],
        "confidence": values[best],
        "ambiguous": first - second < AMBIGUOUS,
        "uncertain": first < UNCERTAIN,
        "second": LABELS[other] if second >= PRESENT else None,
        "arousal": round(arousal, DIGITS),
        "valence": round(valence, DIGITS),
        "scores": dict(zip(LABELS, values, strict=True)),
    }


def also(verdict: Mapping[str, Any]) -> list[Any]:
    """Its fields ALSO as cells of a table: 1 and 0 for yes and no, nothing where there is none."""
    values = (verdict.get(name) for name in ALSO)
    return [int(value) if isinstance(value, bool) else value for value in values]


def frame_rows(probs: Floats) -> JsonDict:
    """`frame_scores`, `frame_emotions` and `frame_confidences` of probabilities (n_frames, N_LABELS)."""
    rounded = probs.round(DIGITS)
    return {
        "frame_scores": rounded,
        "frame_emotions": [LABELS[i] for i in rounded.argmax(axis=1).tolist()],
        "frame_confidences": rounded.max(axis=1),
    }


def emotion_result(session_id: str, event: FramesScored) -> JsonDict:
    return {
        "session_id": session_id,
        "granularity": "frame",
        "start_ms": ms(event.first_frame),
        "frame_ms": FRAME_MS,
        "step_ms": STEP_MS,
        **frame_rows(event.probs),
        **scores(event.smoothed),
    }


def frame_list(event: FramesScored) -> list[JsonDict]:
    """One object per frame: `timestamp` and its scores."""
    return [{"timestamp": ms(event.first_frame + i), **scores(row)} for i, row in enumerate(event.probs)]


def frame_result(session_id: str, channel: str | None, frame: JsonDict) -> JsonDict:
    """One of `frame_list` as an event of its own."""
    return {"session_id": session_id, **frame, **_where(channel)}


def lost_error(session_id: str, channel: str | None, event: Lost) -> JsonDict:
    """A `lost` stretch as the `error` that clients without a `start` listen for."""
    between = f"from {ms(event.first_frame)} to {ms(event.first_frame + event.n_frames)} ms"
    wrong = ClientError(event.code, f"the speech {between} got no scores in time")
    return {"session_id": session_id, **wrong.to_wire(), **_where(channel)}


def utterance(session_id: str, event: UtteranceScored, model: str) -> JsonDict:
    return {
        "session_id": session_id,
        "start_ms": ms(event.start),
        "end_ms": ms(event.end),
        **verdict(event.probs, model, duration_s=ms(event.end - event.start) / 1000),
    }


def span(session_id: str, channel: str | None, of: Stretch, thresholds: Mapping[str, float]) -> JsonDict:
    """The answer to `span`. `thresholds`: from where on a label is present, where that is not PRESENT."""
    told = {
        "session_id": session_id,
        **_where(channel),
        "begin_ms": ms(of.start),
        "end_ms": ms(of.end),
        "complete": of.complete,
        "frames": of.n_scored,
    }
    if of.probs is None:
        return told
    mean = scores(of.probs)
    there = [label for label, p in mean["scores"].items() if p >= thresholds.get(label, PRESENT)]
    return {**told, **mean, "present": there}


def verdict(probs: Floats, model: str, duration_s: float) -> JsonDict:
    """The fields of result.json at utterance granularity."""
    return {**scores(probs), **provenance("utterance", model, duration_s)}


def provenance(granularity: str, model: str, duration_s: float) -> JsonDict:
    now = datetime.now(UTC)
    return {
        "granularity": granularity,
        "timestamp": now.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        "timestamp_utc": now.isoformat(timespec="milliseconds"),
        "model": model,
        "duration_s": round(duration_s, 3),
    }


def alert(event: AlertEvent) -> JsonDict:
    """Of a session or a recording."""
    chinese = {} if event.message_zh is None else {"message_zh": event.message_zh}
    return {
        "rule": event.rule,
        "level": event.level,
        "state": event.state,
        "at_ms": ms(event.frame),
        "message": event.message,
        **chinese,
    }


def to_wire(
    session_id: str,
    channel: str | None,
    event: SessionEvent,
    model: str,
    latency: Latency | None = None,
) -> tuple[str, JsonDict]:
    """The event's name and payload. `channel` None: the session's only one. `latency`: of FramesScored.

    Frames [start, end) become the milliseconds in which they start, so that neighbors meet and never overlap.
    """
    match event:
        case FramesScored():
            name, payload = "emotion_result", emotion_result(session_id, event)
        case UtteranceScored():
            name, payload = "utterance_result", utterance(session_id, event, model)
        case Lost(first, n, code):
            between = {"start_ms": ms(first), "end_ms": ms(first + n)}
            name, payload = "lost", {"session_id": session_id, **between, "code": code}
        case AlertEvent():
            name, payload = "alert", {"session_id": session_id, **alert(event)}
        case Conversation():
            name, payload = "dynamics", {"session_id": session_id, **dynamics(event)}
        case _:
            state = "start" if isinstance(event, SpeechStarted) else "end"
            name, payload = "speech", {"session_id": session_id, "state": state, "at_ms": ms(event.frame)}
    payload.update(_where(channel))
    if latency is not None:
        payload["queue_ms"] = round(1000 * latency.queue_s, 2)
        payload["infer_ms"] = round(1000 * latency.infer_s, 2)
        payload["latency_ms"] = round(1000 * latency.total_s, 2)
    if isinstance(event, UtteranceScored) and event.custom is not None:
        payload["taught"] = event.custom
    return name, payload


def _where(channel: str | None) -> JsonDict:
    return {} if channel is None else {"channel": channel}


def summary(of: SessionSummary, label: str | None = None) -> JsonDict:
    """The payload of `session_summary`. `label`: what its owner calls the session, where that is not its id."""
    named = {name: counters(each) for name, each in of.counters.items() if name is not None}
    return {
        "session_id": label or of.session_id,
        "reason": of.reason,
        "audio_ms": to_ms(of.audio_s),
        **counters(of.total),
        **({"channels": named} if named else {}),
        **({"dynamics": dynamics(of.dynamics)} if of.dynamics else {}),
        "utterances": list(of.utterances),
        **({"incomplete_bytes": of.leftover_bytes} if of.leftover_bytes else {}),
    }


def dynamics(of: Conversation) -> JsonDict:
    """How two people share a conversation, up to `at_ms`."""
    voice = sum(share.voice for share in of.shares.values())
    by_channel = {
        name: {
            "voice_ms": ms(share.voice),
            "share": round(share.voice / voice, 3) if voice else 0.0,
            "interruptions": share.interruptions,
            "reactions": share.reactions,
            "reaction_ms": round(ms(share.reaction) / share.reactions) if share.reactions else None,
            "longest_reaction_ms": ms(share.longest_reaction) if share.reactions else None,
        }
        for name, share in of.shares.items()
    }
    return {
        "at_ms": ms(of.at),
        "by_channel": by_channel,
        "overlaps": of.overlaps,
        "overlap_ms": ms(of.overlap),
        "silence_ms": ms(of.silence),
        "longest_silence_ms": ms(of.longest_silence),
    }


def counters(of: Counters) -> JsonDict:
    """The fields of a summary that can be added up, of one channel or of several together."""
    by_label = of.by_label.tolist()
    n = sum(by_label)
    share = [round(count / n, DIGITS) if n else 0.0 for count in by_label]
    arousal, valence = affect(np.array(share))
    return {
        "speech_ms": ms(of.speech),
        "lost_ms": ms(of.lost),
        "frames": n,
        "share": dict(zip(LABELS, share, strict=True)),
        "arousal": round(arousal, DIGITS),
        "valence": round(valence, DIGITS),
    }


class Json:
    """What Socket.IO encodes with: several times faster than the standard library, and reads NumPy arrays."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()

    @staticmethod
    def loads(text: str | bytes, **_: object) -> Any:
        return orjson.loads(text)
