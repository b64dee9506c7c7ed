"""What clients send → typed values.

Unknown or mistyped fields are refused rather than passed over: a client whose `sampel_rate` is ignored gets
scores of garbled audio and never learns why.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from server.access.identity import EVERYBODY, Identity
from server.errors import ClientError
from server.language import LANGUAGES, Language
from stream.codec import Format, UnsupportedEncoding
from stream.types import LABELS, STEP_MS, ceil_div

START_FIELDS: dict[str, type | tuple[type, ...]] = {
    "session_id": str,
    "encoding": str,
    "sample_rate": int,
    "channels": int,
    "frame_results": bool,
    "load_events": bool,
    "resume_token": str,
    "received": int,
    "name": str,
    "tags": dict,
    "language": str,
}
AUDIO_FIELDS: dict[str, type | tuple[type, ...]] = {
    "session_id": str,
    "chunk": (str, bytes, bytearray),
    "sample_rate": int,
    "seq": int,
}
SPAN_FIELDS: dict[str, type | tuple[type, ...]] = {
    "session_id": str,
    "begin_ms": int,
    "end_ms": int,
    "channel": str,
    "present": dict,
}
_NAMES = {
    int: "an integer",
    str: "text",
    bool: "true or false",
    dict: "an object",
    (str, bytes, bytearray): "base64 text or bytes",
}
MAX_ID = 64
MAX_MS = 1 << 40
THRESHOLDS = "'present' must hold labels, each with a threshold from 0 to 1"
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
    load_events: bool = False
    language: Language | None = None  # of what the client is told; None: as its connection asks
    received: int | None = None  # events of the session that the client has, when it comes back
    identity: Identity = EVERYBODY  # whose it is: no field that a client could send


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
    fields = _fields(payload, START_FIELDS)
    declared = {name: fields[name] for name in ("encoding", "sample_rate", "channels") if name in fields}
    try:
        wanted = Format(**{"encoding": "auto", **declared})
    except UnsupportedEncoding as wrong:
        raise ClientError("UNSUPPORTED_ENCODING", str(wrong)) from None
    return StartRequest(
        wanted,
        fields.get("session_id"),
        bool(fields.get("frame_results")),
        fields.get("resume_token"),
        _text("name", fields.get("name", ""), _MAX_NAME),
        _tags(fields.get("tags", {})),
        bool(fields.get("load_events")),
        _language(fields.get("language")),
        fields.get("received"),
    )


def parse_audio(payload: object) -> AudioMessage:
    """Raises ClientError BAD_REQUEST."""
    fields = _fields(payload, AUDIO_FIELDS)
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


@dataclass(frozen=True)
class SpanRequest:
    start: int  # frames [start, end)
    end: int
    session_id: str | None = None
    channel: str | None = None
    present: dict[str, float] = field(default_factory=dict)  # thresholds of some labels


def parse_span(payload: object) -> SpanRequest:
    """Raises ClientError BAD_REQUEST."""
    fields = _fields(payload, SPAN_FIELDS)
    begin_ms, end_ms = fields.get("begin_ms"), fields.get("end_ms")
    if begin_ms is None or end_ms is None or not 0 <= begin_ms < end_ms <= MAX_MS:
        raise ClientError("BAD_REQUEST", "span needs 'begin_ms' and 'end_ms', the first of them smaller")
    present = fields.get("present", {})
    for label, threshold in present.items():
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if label not in LABELS or not number or not 0 <= threshold <= 1:
            raise ClientError("BAD_REQUEST", THRESHOLDS)
    # The frames that start in [begin_ms, end_ms), as everywhere on the wire.
    start, end = (ceil_div(ms, STEP_MS) for ms in (begin_ms, end_ms))
    return SpanRequest(start, end, fields.get("session_id"), fields.get("channel"), present)


def unscored(names: Sequence[str]) -> ClientError:
    """A channel that is none of `names`; of a session that has only one, `names` is empty."""
    scored = ", ".join(names) or "none"
    return ClientError("BAD_REQUEST", f"'channel' must be one that is scored: {scored}")


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


def _language(given: str | None) -> Language | None:
    """`zh`, and `zh-CN` and the like."""
    for language in LANGUAGES:
        if given is not None and given.lower().partition("-")[0] == language:
            return language
    if given is not None:
        raise ClientError("BAD_REQUEST", f"'language' must be one of: {', '.join(LANGUAGES)}")
    return None


def _check_id(session_id: str) -> None:
    plain = session_id.replace("-", "").replace("_", "").replace(".", "")
    if not (0 < len(session_id) <= MAX_ID and plain.isascii() and plain.isalnum()):
        raise ClientError(
            "BAD_REQUEST",
            f"'session_id' must be 1 to {MAX_ID} letters, digits, '-', '_' or '.'; or leave it out",
        )
