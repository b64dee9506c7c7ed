"""A multipart form with one file, read piece by piece: the file goes to the disk and is never whole in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from server.errors import ClientError
from server.files.result import GRANULARITIES, clean_name

PIECE = 1 << 16
HEAD_ROOM = 1 << 20  # what a form may take beside its file, and what of it may wait in memory
VALUE_ROOM = 100  # bytes of a field's value
FILE_FIELDS = ("audio_file", "file")  # the second: as code has it that was written for other servers
FIELDS = (*FILE_FIELDS, "granularity", "extract_embedding")
_YES_NO = {"true": True, "false": False}


@dataclass(frozen=True)
class Form:
    """What was asked for; the file is on the disk."""

    granularity: str
    embed: bool
    size: int  # bytes of the file
    file_name: str = ""  # as its sender calls it, cleaned


def receive(
    read: Callable[[int], bytes],
    content_type: str,
    length: int | None,
    into: Path,
    max_bytes: int,
    count: Callable[[int], None],
) -> Form:
    """Read a request's body as it comes, its file into the path `into`; `count` is told of every piece's bytes.

    `read(n)` gives at most n bytes, and none at the end. Others get their turn after each piece: a sender who is
    as fast as this loop would else have the whole server. Raises ClientError, and OSError of the disk.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= 200 or not boundary.isascii():
        raise ClientError(
            "BAD_REQUEST", "send multipart/form-data with the recording in the field 'audio_file'"
        )
    if length is not None and length > max_bytes + HEAD_ROOM:
        raise too_large(max_bytes)
    reader = _Reader(into, max_bytes)
    decoder = MultipartDecoder(boundary.encode(), HEAD_ROOM, max_parts=2 * len(FIELDS))
    received = 0
    try:
        with into.open("wb") as file:
            while piece := _read(read):
                received += len(piece)
                if received > max_bytes + HEAD_ROOM:
                    raise too_large(max_bytes)
                count(len(piece))
                time.sleep(0)
                decoder.receive_data(piece)
                reader.take(decoder, file.write)
            decoder.receive_data(None)
            reader.take(decoder, file.write)
    except (ValueError, AttributeError, RequestEntityTooLarge) as wrong:
        raise ClientError(
            "BAD_REQUEST", f"the multipart form is malformed or incomplete: {_words(wrong)}"
        ) from None
    return reader.form()


def too_large(max_bytes: int) -> ClientError:
    return ClientError(
        "FILE_TOO_LARGE", f"the file is larger than {max_bytes / 1e6:g} MB (files.max_upload_mb)"
    )


class _Reader:
    """Follows the decoder's events and keeps what they say."""

    def __init__(self, into: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: dict[str, bytes] = {}
        self._name = ""  # of the part that is being read
        self._is_file = False
        self._size: int | None = None  # of the file, once there is one
        self._file_name = ""

    def take(self, decoder: MultipartDecoder, write: Callable[[bytes], object]) -> None:
        while not isinstance(event := decoder.next_event(), NeedData):
            if isinstance(event, File | Field):
                self._open(event)
            elif isinstance(event, Data) and self._is_file:
                self._size = (self._size or 0) + len(event.data)
                if self._size > self._max_bytes:
                    raise too_large(self._max_bytes)
                write(event.data)
            elif isinstance(event, Data):
                self._values[self._name] += event.data
                if len(self._values[self._name]) > VALUE_ROOM:
                    raise ClientError("BAD_REQUEST", f"{self._name!r}: the value is too long")
            elif isinstance(event, Epilogue):
                return

    def form(self) -> Form:
        if self._size is None:
            raise ClientError("BAD_REQUEST", "the recording is missing: send it in the field 'audio_file'")
        granularity = self._value("granularity", GRANULARITIES)
        embed = self._value("extract_embedding", ("false", *_YES_NO))
        return Form(granularity, _YES_NO[embed], self._size, self._file_name)

    def _open(self, part: File | Field) -> None:
        name, self._is_file = part.name, isinstance(part, File)
        if name not in FIELDS:
            hint = "; the recording goes into 'audio_file'" if self._is_file else ""
            known = ", ".join(FIELDS)
            raise ClientError("BAD_REQUEST", f"unknown field {str(name)[:40]!r}{hint}; known: {known}")
        if name in self._values or (name in FILE_FIELDS and self._size is not None):
            raise ClientError("BAD_REQUEST", f"{name!r} was sent twice; send one recording at a time")
        if self._is_file != (name in FILE_FIELDS):
            wanted = "a file, with a filename" if name in FILE_FIELDS else "text, not a file"
            raise ClientError("BAD_REQUEST", f"{name!r} must be {wanted}")
        self._name = name
        if isinstance(part, File):
            self._size, self._file_name = 0, clean_name(part.filename or "")
        else:
            self._values[name] = b""

    def _value(self, name: str, allowed: tuple[str, ...]) -> str:
        """The field's value; the first of those allowed where it was left out."""
        text = self._values.get(name, allowed[0].encode()).decode(errors="replace").strip()
        if text not in allowed:
            listed = " or ".join(dict.fromkeys(allowed))
            raise ClientError("BAD_REQUEST", f"{name!r} must be {listed}, got {text[:40]!r}")
        return text


def _read(read: Callable[[int], bytes]) -> bytes:
    try:
        return read(PIECE)
    except (OSError, ValueError):
        raise ClientError("BAD_REQUEST", "the upload broke off") from None


def _words(wrong: Exception) -> str:
    return str(getattr(wrong, "description", None) or wrong)[:200]
