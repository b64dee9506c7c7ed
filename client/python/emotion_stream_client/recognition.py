"""A file's emotion: the request, the answer read line by line while the server works, the result."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import CustomLabels, Json, Utterance, build, custom_labels_of
from emotion_stream_client.words import said

Callback = Callable[[Json], None]
Source = str | Path | bytes | BinaryIO
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, kw_only=True)
class Recognition(CustomLabels):
    """What the server says of a recording; `raw` is its whole answer.

    `frame_scores` (granularity "frame"): an array (frames, 9), float64, where NumPy is installed, else lists; the
    frames begin at `frame_start_ms` (frames,), int64, since silence is not scored.
    """

    raw: Json = field(repr=False)
    id: str
    granularity: str
    emotion: str
    confidence: float
    scores: dict[str, float]
    utterances: tuple[Utterance, ...] = field(repr=False)
    duration_s: float
    model: str
    files: dict[str, str] = field(repr=False)
    prior: str = "balanced"  # what the model took to be likely beforehand
    model_fingerprint: str = ""  # tells the model's weights from others of its name
    ambiguous: bool = False
    uncertain: bool = False
    second: str | None = None
    arousal: float = 0.0
    valence: float = 0.0
    custom_labels: Json | None = None  # by labels of the operator's own
    # The cosine to the nearest of the operator's reference samples, if any, and to each by its name.
    similarity_to_sample: float | None = None
    similarity_to_samples: dict[str, float] | None = None
    verdict: str | None = None  # the worst alert rule that was raised, or "normal"
    alerts: list[Json] = field(default_factory=list, repr=False)
    steps: list[Json] = field(default_factory=list, repr=False)
    frame_scores: Any = field(default=None, repr=False)
    frame_start_ms: Any = field(default=None, repr=False)
    frame_emotions: list[str] | None = field(default=None, repr=False)
    frame_confidences: list[float] | None = field(default=None, repr=False)
    frame_ms: int | None = None
    step_ms: int | None = None

    @classmethod
    def of(cls, raw: Json, language: str = "") -> Recognition:
        """Raises EmotionError PROTOCOL, in `language`, when it is no result."""
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        for name, kind in (("frame_scores", "f8"), ("frame_start_ms", "i8")):
            if raw.get(name) is not None:
                known[name] = _array(raw[name], kind)
        try:
            found = tuple(build(Utterance, "utterance", each) for each in raw.get("utterances", ()))
            return cls(**{**known, **custom_labels_of(raw), "raw": raw, "utterances": found})
        except TypeError as wrong:
            told = said(language, "not a result of an emotion-stream server: {why}", why=wrong)
            raise EmotionError("PROTOCOL", told) from None


def _array(rows: list[Any], kind: str) -> Any:
    try:
        import numpy as np
    except ImportError:
        return rows
    return np.array(rows, kind)


def array_of(npy: bytes) -> Any:
    """The array in an .npy file. Needs NumPy. Nothing is unpickled."""
    import numpy as np

    return np.load(io.BytesIO(npy), allow_pickle=False)


class AnswerReader:
    """The lines of an answer, fed as bytes; the last one is the result, or the reason why there is none.

    `language`: of what is wrong.
    """

    def __init__(
        self, status: int, on_step: Callback | None, on_progress: Callback | None, language: str = ""
    ) -> None:
        self._status, self._on_step, self._on_progress = status, on_step, on_progress
        self._language = language
        self._rest = bytearray()
        self._last: Json = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises EmotionError when a line is no JSON object of the protocol."""
        self._rest += data
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            if line.strip():
                self._take(parsed(line, self._status, self._language))

    def _take(self, line: Json) -> None:
        if "step" in line and self._on_step:
            self._on_step(line["step"])
        if "progress" in line and self._on_progress:
            self._on_progress(line["progress"])
        if line.keys() & {"result", "error"}:
            self._last = line

    def result(self) -> Json:
        """Raises EmotionError."""
        self.feed(b"\n")
        if "error" in self._last:
            raise failure(self._last, self._status, None, self._language)
        if "result" not in self._last:
            told = said(self._language, "the answer ended without a result")
            raise EmotionError("PROTOCOL", told, self._status)
        result: Json = self._last["result"]
        return result


def parsed(text: bytes, status: int, language: str = "") -> Json:
    """The JSON object in `text`. Raises EmotionError (PROTOCOL) for anything else."""
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    told = said(
        language,
        "HTTP {status}, not an answer of an emotion-stream server: {text}",
        status=status,
        text=text[:80].decode(errors="replace"),
    )
    raise EmotionError("PROTOCOL", told, status)


def failure(answer: Json, status: int, retry_after: str | None, language: str = "") -> EmotionError:
    """The error that an answer holds."""
    error = answer.get("error")
    if not isinstance(error, dict) or "code" not in error:
        told = said(language, "HTTP {status} without a reason", status=status)
        return EmotionError("PROTOCOL", told, status)
    wait = error.get("retry_after", retry_after)
    seconds = None
    with contextlib.suppress(ValueError):
        seconds = None if wait is None else float(wait)
    return EmotionError.of(error, error.get("status", status), seconds)


class _Memory(io.BytesIO):
    """Not closed by the request that reads it: it may be asked for again."""

    def close(self) -> None:
        pass


class _File(io.BufferedIOBase):
    """Likewise, around a file of which the length is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        pass


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[tuple[io.BufferedIOBase, str]]:
    """A recording to read from, and its name."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("open the recording for reading bytes: open(path, 'rb')")
    if isinstance(source, bytes):
        yield _Memory(source), "recording"
    elif isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield _File(file), Path(source).name
    else:
        name = Path(str(getattr(source, "name", "recording"))).name
        if _is_file(source):
            yield _File(source), name
        else:  # what comes over a network or out of an archive: an upload needs to know its length
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(source, copy)
                copy.seek(0)
                yield _File(copy), name


def _is_file(source: BinaryIO) -> bool:
    try:
        source.fileno()
        return source.seekable()
    except (OSError, AttributeError):
        return False


def upload_form(file: io.BufferedIOBase, name: str, fields: dict[str, str]) -> aiohttp.FormData:
    """The multipart form, the file last."""
    data = aiohttp.FormData()
    for field_name, value in fields.items():  # before the file: the server can read them while that arrives
        data.add_field(field_name, value)
    data.add_field("audio_file", file, filename=name, content_type="application/octet-stream")
    return data
