"""The contract's shapes: what clients send → typed values, events → JSON. The only room that knows milliseconds.

Unknown or mistyped fields are refused rather than passed over: a client whose `sampel_rate` is ignored gets
scores of garbled audio and never learns why.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from server.errors import ClientError
from stream.codec import Format, UnsupportedEncoding
from stream.types import (
    AMBIGUOUS,
    LABELS,
    Floats,
    FramesScored,
    JsonDict,
    Lost,
    SpeechStarted,
    StreamEvent,
    UtteranceScored,
)
from stream.types import DIGITS as DIGITS
from stream.types import FRAME_MS as FRAME_MS
from stream.types import STEP_MS as STEP_MS

_START: dict[str, type | tuple[type, ...]] = {
    "session_id": str,
    "encoding": str,
    "sample_rate": int,
    "channels": int,
    "frame_results": bool,
    "resume_token": str,
    "received": int,
    "name": str,
    "tags": dict,
}
_AUDIO: dict[str, type | tuple[type, ...]] = {
    "session_id": str,
    "chunk": (str, bytes, bytearray),
    "sample_rate": int,
    "seq": int,
}
_NAMES = {
    int: "an integer",
    str: "text",
    bool: "true or false",
    dict: "an object of short texts",
    (str, bytes, bytearray): "base64 text or bytes",
}
_MAX_ID = 64
_MAX_NAME, _MAX_TAGS, _MAX_TAG = 80, 8, 64
_TAG_KEY = re.compile(r"[a-z0-9_-]{1,24}")


@dataclass(frozen=True)
class StartRequest:
    format: Format
    session_id: str | None
    frame_results: bool
    resume_token: str | None
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    received: int | None = None  # events of the session that the client has got, when it comes back


@dataclass(frozen=True)
class AudioMessage:
    chunk: str | bytes
    session_id: str | None
    sample_rate: int | None
    seq: int | None

    def data(self, max_bytes: int) -> bytes:
        """The audio. Raises ClientError CHUNK_TOO_LARGE or BAD_AUDIO."""
        chunk = self.chunk
        size = len(chunk) * 3 // 4 - chunk[-2:].count("=") if isinstance(chunk, str) else len(chunk)
        if size > max_bytes:
            raise ClientError(
                "CHUNK_TOO_LARGE", f"the chunk holds {size} bytes; send at most {max_bytes} at a time"
            )
        if isinstance(chunk, bytes):
            return chunk
        try:
            return binascii.a2b_base64(chunk, strict_mode=True)
        except (binascii.Error, ValueError) as wrong:
            raise ClientError("BAD_AUDIO", f"'chunk' is not base64: {wrong}") from None


def parse_start(payload: object) -> StartRequest:
    """Raises ClientError BAD_REQUEST or UNSUPPORTED_ENCODING."""
    fields = _fields(payload, _START)
    declared = {name: fields[name] for name in ("encoding", "sample_rate", "channels") if name in fields}
    try:
        wanted = Format(**declared)
    except UnsupportedEncoding as wrong:
        raise ClientError("UNSUPPORTED_ENCODING", str(wrong)) from None
    return StartRequest(
        wanted,
        fields.get("session_id"),
        bool(fields.get("frame_results")),
        fields.get("resume_token"),
        _text("name", fields.get("name", ""), _MAX_NAME),
        _tags(fields.get("tags", {})),
        fields.get("received"),
    )


def parse_audio(payload: object) -> AudioMessage:
    """Raises ClientError BAD_REQUEST."""
    fields = _fields(payload, _AUDIO)
    chunk, seq = fields.get("chunk"), fields.get("seq")
    if chunk is None:
        raise ClientError("BAD_REQUEST", "audio_stream needs 'chunk': base64 text or bytes")
    if seq is not None and seq < 0:
        raise ClientError("BAD_REQUEST", "'seq' must not be negative")
    chunk = chunk if isinstance(chunk, str) else bytes(chunk)
    return AudioMessage(chunk, fields.get("session_id"), fields.get("sample_rate"), seq)


def parse_session_id(payload: object) -> str | None:
    """The one field of `flush` and `stop`. Raises ClientError BAD_REQUEST."""
    session_id: str | None = _fields(payload, {"session_id": str}).get("session_id")
    return session_id


def _fields(payload: object, known: dict[str, type | tuple[type, ...]]) -> dict[str, Any]:
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        raise ClientError("BAD_REQUEST", f"expected an object with fields, got {type(payload).__name__}")
    for name, value in payload.items():
        wanted = known.get(name)
        if wanted is None:
            raise ClientError("BAD_REQUEST", f"unknown field {str(name)[:40]!r}; known: {', '.join(known)}")
        if value is None:
            continue
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ClientError("BAD_REQUEST", f"{name!r} must be {_NAMES[wanted]}, got {type(value).__name__}")
    given = {name: value for name, value in payload.items() if value is not None}
    if "session_id" in given:
        _check_id(given["session_id"])
    return given


def _tags(given: dict[object, object]) -> dict[str, str]:
    if len(given) > _MAX_TAGS:
        raise ClientError("BAD_REQUEST", f"'tags' holds {len(given)} pairs; give at most {_MAX_TAGS}")
    for key in given:
        if not (isinstance(key, str) and _TAG_KEY.fullmatch(key)):
            wanted = "1 to 24 of a-z, 0-9, '-' and '_'"
            raise ClientError("BAD_REQUEST", f"'tags' has the key {str(key)[:40]!r}; keys are {wanted}")
    return {str(key): _text(f"tags.{key}", value, _MAX_TAG) for key, value in given.items()}


def _text(what: str, value: object, longest: int) -> str:
    """Words that people get to see: of one line, nothing that turns or hides what stands around them."""
    if not isinstance(value, str):
        raise ClientError("BAD_REQUEST", f"{what!r} must be text, got {type(value).__name__}")
    value = value.strip()
    if len(value) > longest or not value.isprintable():
        raise ClientError("BAD_REQUEST", f"{what!r} must be at most {longest} printable characters")
    return value


def _check_id(session_id: str) -> None:
    plain = session_id.replace("-", "").replace("_", "").replace(".", "")
    if not (0 < len(session_id) <= _MAX_ID and plain.isascii() and plain.isalnum()):
        raise ClientError(
            "BAD_REQUEST",
            f"'session_id' must be 1 to {_MAX_ID} letters, digits, '-', '_' or '.'; or leave it out",
        )


# -- Server → client ---------------------------------------------------------------------------------


def scores(probs: Floats) -> JsonDict:
    """`emotion`, `confidence`, `ambiguous` and `scores` of probabilities (N_LABELS,)."""
    values = np.round(probs, DIGITS).tolist()
    best = int(probs.argmax())
    second, first = np.partition(probs, -2)[-2:]
    return {
        "emotion": LABELS[best],
        "confidence": round(values[best], DIGITS),
        "ambiguous": bool(first - second < AMBIGUOUS),
        "scores": {label: round(value, DIGITS) for label, value in zip(LABELS, values, strict=True)},
    }


def frame_rows(probs: Floats) -> JsonDict:
    """`frame_scores`, `frame_emotions` and `frame_confidences` of probabilities (n_frames, N_LABELS)."""
    rounded = np.round(probs, DIGITS)
    best = rounded.argmax(axis=1)
    return {
        "frame_scores": rounded,
        "frame_emotions": [LABELS[i] for i in best],
        "frame_confidences": rounded[np.arange(len(rounded)), best],
    }


def emotion_result(session_id: str, event: FramesScored) -> JsonDict:
    return {
        "session_id": session_id,
        "granularity": "frame",
        "start_ms": event.first_frame * STEP_MS,
        "frame_ms": FRAME_MS,
        "step_ms": STEP_MS,
        **frame_rows(event.probs),
        **scores(event.smoothed),
    }


def frame_results(session_id: str, event: FramesScored) -> list[JsonDict]:
    """One per frame, for clients that asked for them."""
    return [
        {"session_id": session_id, "timestamp": (event.first_frame + i) * STEP_MS, **scores(row)}
        for i, row in enumerate(event.probs)
    ]


def utterance(session_id: str, event: UtteranceScored, model: str) -> JsonDict:
    return {
        "session_id": session_id,
        "start_ms": event.start * STEP_MS,
        "end_ms": event.end * STEP_MS,
        **verdict(event.probs, model, duration_s=(event.end - event.start) * STEP_MS / 1000),
    }


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


def to_wire(session_id: str, event: StreamEvent, model: str) -> tuple[str, JsonDict]:
    """The event's name and payload; of FramesScored, without the times that only its owner knows.

    Frames [start, end) become the milliseconds in which they start, so that neighbours meet and never overlap.
    """
    if isinstance(event, FramesScored):
        return "emotion_result", emotion_result(session_id, event)
    if isinstance(event, UtteranceScored):
        return "utterance_result", utterance(session_id, event, model)
    if isinstance(event, Lost):
        start_ms, end_ms = event.first_frame * STEP_MS, (event.first_frame + event.n_frames) * STEP_MS
        return "lost", {"session_id": session_id, "start_ms": start_ms, "end_ms": end_ms, "code": event.code}
    state = "start" if isinstance(event, SpeechStarted) else "end"
    return "speech", {"session_id": session_id, "state": state, "at_ms": event.frame * STEP_MS}


class Json:
    """What Socket.IO encodes with: several times faster than the standard library, and reads NumPy arrays."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()

    @staticmethod
    def loads(text: str | bytes, **_: object) -> Any:
        return orjson.loads(text)
