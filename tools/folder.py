"""A folder of results → records. Every broken item is listed with its reason, and nothing else is lost by it."""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from server.files.result import clean_name
from stream.types import LABELS, N_LABELS, Floats, JsonDict
from tools.analyze.journal import entry_at
from tools.items import EMBEDDING, RESULT, SESSION, Broken, Item, reason, walk

LIVE = "a live session"  # where no model is named
MAX_RESULT_BYTES = 256 << 20  # hours of frames


class BadResult(ValueError):
    """A result that cannot be used; the text says why."""


@dataclass(frozen=True, eq=False)
class Record:
    """One recording and what was found in it."""

    id: str  # where it lies in that folder, made printable; unique there
    name: str  # for people: the recording's own name, and where it lies
    folder: Path
    model: str
    duration_s: float
    scored: datetime  # with a zone
    recorded: datetime | None  # when the recording was made, as far as known
    scores: Floats  # (N_LABELS,)
    utterances: int | None  # None: not told
    embedding: Path | None
    taught: JsonDict | None = None

    @property
    def emotion(self) -> str:
        return LABELS[int(self.scores.argmax())]

    @property
    def confidence(self) -> float:
        return float(self.scores.max())

    @property
    def speech(self) -> bool:
        """Whether anybody spoke: a recording without speech is `unknown`, which says nothing of its mood."""
        return self.utterances != 0


@dataclass(frozen=True, eq=False)
class Folder:
    path: Path
    records: tuple[Record, ...]  # in the order of their names
    broken: tuple[Broken, ...]

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(sorted({record.model for record in self.records}))

    def of(self, model: str | None) -> Folder:
        """Only the records of one model (None: all)."""
        if model is None:
            return self
        return replace(self, records=tuple(r for r in self.records if r.model == model))


def read(path: Path) -> Folder:
    """All records below `path`. Raises NotADirectoryError."""
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: there is no such folder")
    records: list[Record] = []
    broken: list[Broken] = []
    for item in walk(path, broken):
        try:
            records.append(of_item(item))
        except (BadResult, OSError) as wrong:
            broken.append(Broken(item.id, reason(wrong)))
    records.sort(key=lambda one: one.name)
    return Folder(path, tuple(records), tuple(broken))


def record(folder: Path, name: str) -> Record:
    """The record in one folder of outputs. Raises BadResult and OSError."""
    return of_item(Item(name, str(folder), RESULT, (folder / EMBEDDING).exists()))


def of_item(item: Item) -> Record:
    """Raises BadResult and OSError."""
    if item.at is not None:
        entry = entry_at(item.file, item.at)
        if entry is None:
            raise BadResult("its line in the journal has changed meanwhile")
        return of_fields(entry.result, item.id, item.folder, item.embedding)
    if item.told == SESSION:
        return session(item.folder, item.id)
    return of_fields(_json(item.file), item.id, item.folder, item.embedding)


def session(folder: Path, name: str) -> Record:
    """A recorded session. Its scores are those of its utterances, weighted by their length."""
    fields = _json(folder / SESSION)
    if not isinstance(fields, dict) or not isinstance(fields.get("utterances"), list):
        raise BadResult(f"{SESSION}: expected an object with 'utterances'")
    said = [one for one in fields["utterances"] if isinstance(one, dict)]
    rows = [_scores(one) for one in said]
    lengths = [_number(one, "end_ms") - _number(one, "start_ms") for one in said]
    scores = np.average(rows, axis=0, weights=lengths) if rows and sum(lengths) > 0 else _nothing()
    began = _time(fields, "started_utc")
    model = fields.get("model")
    return Record(
        id=name,
        name=name,
        folder=folder,
        model=model if isinstance(model, str) else LIVE,
        duration_s=_number(fields, "audio_ms") / 1000 if "audio_ms" in fields else 0.0,
        scored=began,
        recorded=began,
        scores=np.asarray(scores, np.float32),
        utterances=len(said),
        embedding=None,
    )


def _titled(name: str, file_name: object) -> str:
    """With the recording's own name before that of its folder, where the folder's does not tell."""
    if not isinstance(file_name, str) or not (own := clean_name(file_name)) or name.endswith(own):
        return name
    return f"{own} ({name})"


def of_fields(fields: Any, name: str, folder: Path, beside: Path | None) -> Record:
    """A record from the fields of result.json. Raises BadResult."""
    if not isinstance(fields, dict):
        raise BadResult("expected an object with fields")
    utterances = fields.get("utterances")
    taught = fields.get("taught")
    return Record(
        id=name,
        name=_titled(name, fields.get("file_name")),
        folder=folder,
        model=_text(fields, "model"),
        duration_s=_number(fields, "duration_s"),
        scored=_time(fields, "timestamp_utc"),
        recorded=_time(fields, "recorded_utc") if "recorded_utc" in fields else None,
        scores=_scores(fields),
        utterances=len(utterances) if isinstance(utterances, list) else None,
        embedding=beside,
        taught=taught if isinstance(taught, dict) and isinstance(taught.get("label"), str) else None,
    )


def _json(path: Path) -> Any:
    held = path.stat()
    if not stat.S_ISREG(held.st_mode):
        raise BadResult(f"{path.name}: not a file")
    if held.st_size > MAX_RESULT_BYTES:
        raise BadResult(f"{path.name}: {held.st_size:,} bytes; at most {MAX_RESULT_BYTES:,} are read")
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as wrong:
        raise BadResult(f"{path.name}: not JSON: {wrong}") from None


def _nothing() -> Floats:
    """What is told where nobody speaks: `unknown`."""
    scores: Floats = np.eye(N_LABELS, dtype=np.float32)[LABELS.index("unknown")]
    return scores


def _text(fields: JsonDict, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadResult(f"no text in {name!r}")
    return value


def _number(fields: JsonDict, name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadResult(f"no length of time in {name!r}")
    return float(value)


def _time(fields: JsonDict, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(_text(fields, name))
        at.astimezone()
    except (ValueError, OverflowError):
        raise BadResult(f"no date and time in {name!r}") from None
    if at.tzinfo is None:
        raise BadResult(f"{name!r} does not say its time zone")
    return at


def _scores(fields: JsonDict) -> Floats:
    """The nine scores; of a result per frame, its frames' normalized geometric mean: the mean of their logits."""
    if "scores" in fields:
        told = fields["scores"]
        if not isinstance(told, dict) or set(told) != set(LABELS):
            raise BadResult("'scores' is not one number for each of the nine labels")
        return np.asarray(_probabilities([[told[label] for label in LABELS]])[0], np.float32)
    if "frame_scores" not in fields:
        raise BadResult("neither 'scores' nor 'frame_scores'")
    if fields["frame_scores"] == []:
        return _nothing()
    mean = np.exp(np.log(np.maximum(_probabilities(fields["frame_scores"]), 1e-7)).mean(axis=0))
    return np.asarray(mean / mean.sum(), np.float32)


def _probabilities(rows: Any) -> npt.NDArray[np.float64]:
    """(n, N_LABELS), each row a distribution but for what rounding took from it."""
    try:
        found = np.array(rows)
    except ValueError:
        found = np.empty(0)
    if found.dtype.kind not in "fi" or found.ndim != 2 or found.shape[1] != N_LABELS:
        raise BadResult("scores that are not rows of nine numbers")
    if not ((found >= 0) & (found <= 1)).all() or not (abs(found.sum(axis=1) - 1) < 0.01).all():
        raise BadResult("scores that are not probabilities")
    return found.astype(np.float64)
