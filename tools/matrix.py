"""All embeddings below a folder as matrices on the disk, one for each model and size, and an index beside them.

They are kept in the hidden folder `.embeddings` of the folder of results; where that cannot be written, in this
user's cache. Whichever tool comes next brings them up to date: what is new is read, what has changed is read
again, what is gone is left out. Two tools at once wait for each other. The server removes the whole of it with the
first result that it removes (`server.storage`): nothing outlives the recording it is of.

The index has a line of JSON per result: its name, where its row is, what is shown of it, and a stamp of the files
that it was read from. An index that cannot be understood is made anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import orjson

from server import system
from server.storage import EMBEDDINGS, replaced_folder
from stream.types import N_LABELS, Floats, JsonDict
from tools import embedding
from tools.folder import BadResult, Record, of_item
from tools.items import EMBEDDING, Broken, Item, reason, walk

FORMAT = 1
INDEX, LOCK, CURRENT = "index.jsonl", "lock", "current"


class Progress(Protocol):
    """Is told how far something is."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the index says of one result."""

    text: bytes  # as JSON
    stamp: str
    model: str  # "": it could not be read
    size: int  # numbers of its embedding; 0: none
    row: int  # of the matrix of that model and size
    broken: tuple[Broken, ...]  # the result, or its embedding

    def record(self, item: Item) -> Record:
        held = orjson.loads(self.text)["record"]
        return Record(
            id=item.id,
            name=held["name"],
            folder=item.folder,
            model=self.model,
            duration_s=held["duration_s"],
            scored=datetime.fromisoformat(held["scored"]),
            recorded=datetime.fromisoformat(held["recorded"]) if held["recorded"] else None,
            scores=np.array(held["scores"], np.float32),
            utterances=held["utterances"],
            embedding=item.embedding if self.size else None,
            taught=held["taught"],
        )


@dataclass(frozen=True, eq=False)
class Matrices:
    """What is known of all results below a folder."""

    items: list[Item]  # those with a line, in order
    lines: list[Line]
    rows: dict[tuple[str, int], Floats]  # by model and size, memory-mapped: (n, size)
    broken: tuple[Broken, ...]  # what could not even be looked at


def matrices(top: Path, progress: Progress = quiet) -> Matrices:
    """All embeddings below `top`, brought up to date. Raises NotADirectoryError and OSError."""
    if not top.is_dir():
        raise NotADirectoryError(f"{top}: there is no such folder")
    with _place(top) as home:
        return _current(top, home, progress)


@contextmanager
def _place(top: Path) -> Iterator[Path]:
    """Where they are kept, held for this process: in `top`, in this user's cache, or for a moment."""
    for home in (top / EMBEDDINGS, _own(top)):
        try:
            file = _locked(home)
        except OSError:
            continue
        with file:
            yield home
        return
    # What is mapped into memory stays there when its folder goes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as passing:
        yield Path(passing)


def _own(top: Path) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - there may be no home
    name = hashlib.sha256(os.fsencode(top.resolve())).hexdigest()[:16]
    return Path(cache, "emotion-stream", "embeddings", name)


def _locked(home: Path) -> IO[bytes]:
    if home.parts[:1] == ("~",):
        raise FileNotFoundError(home)  # nobody's home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # voices are nobody else's business
    file = (home / LOCK).open("ab")
    try:
        system.lock(file, wait=True)
        if not os.access(home, os.W_OK):
            raise PermissionError(home)
    except BaseException:
        file.close()
        raise
    return file


def _current(top: Path, home: Path, progress: Progress) -> Matrices:
    broken: list[Broken] = []
    items: list[Item] = []
    stamps: list[str] = []
    for item in walk(top, broken):
        try:
            stamps.append(item.stamp())
            items.append(item)
        except OSError as gone:
            broken.append(Broken(item.id, reason(gone)))
    try:
        kept, rows = _load(home / CURRENT)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        kept, rows = {}, {}
    same = len(kept) == len(items) and all(
        item.id in kept and kept[item.id].stamp == stamp for item, stamp in zip(items, stamps, strict=True)
    )
    if not same:
        for left in home.glob(".draft.*"):  # a crash's
            shutil.rmtree(left, ignore_errors=True)
        with replaced_folder(home / CURRENT, home) as draft:
            _write(draft, items, stamps, kept, rows, progress)
            rows.clear()  # what is mapped cannot be replaced everywhere
        kept, rows = _load(home / CURRENT)
    return Matrices(items, [kept[item.id] for item in items], rows, tuple(broken))


def _write(
    draft: Path,
    items: list[Item],
    stamps: list[str],
    kept: dict[str, Line],
    rows: dict[tuple[str, int], Floats],
    progress: Progress,
) -> None:
    """Rows are in the order of the results, however often it was brought up to date."""
    matrix: dict[tuple[str, int], _Matrix] = {}
    try:
        with (draft / INDEX).open("wb") as index:
            for done, (item, stamp) in enumerate(zip(items, stamps, strict=True)):
                old = kept.get(item.id)
                if old is not None and old.stamp == stamp:
                    row = rows[old.model, old.size][old.row] if old.size else None
                    told = orjson.loads(old.text)
                else:
                    told, row = _read(item, stamp)
                    progress("reading", done, len(items))
                if row is not None:
                    key = told["record"]["model"], len(row)
                    if key not in matrix:
                        matrix[key] = _Matrix(draft / f"{len(matrix)}.npy", len(row))
                    told["size"], told["row"] = len(row), matrix[key].add(row)
                index.write(orjson.dumps(told) + b"\n")
            heads = [[*key, one.path.name, one.n] for key, one in matrix.items()]
            index.write(orjson.dumps({"format": FORMAT, "matrices": heads}) + b"\n")
    finally:
        for one in matrix.values():
            one.close()
    progress("reading", len(items), len(items))


def _read(item: Item, stamp: str) -> tuple[JsonDict, Floats | None]:
    """The line of a result that is new or has changed, and its embedding."""
    line: JsonDict = {"id": item.id, "stamp": stamp, "size": 0, "row": 0, "broken": []}
    try:
        found = of_item(item)
        told = {
            "name": found.name,
            "model": found.model,
            "duration_s": found.duration_s,
            "scored": found.scored.isoformat(),
            "recorded": found.recorded.isoformat() if found.recorded else None,
            "scores": [float(score) for score in found.scores],
            "utterances": found.utterances,
            "taught": found.taught,
        }
        orjson.dumps(told)  # texts of a journal may hold what is no UTF-8
    except (BadResult, OSError, TypeError) as wrong:
        return {**line, "broken": [[item.id, reason(wrong)]]}, None
    line["record"] = told
    if (beside := item.embedding) is None:
        return line, None
    try:
        return line, embedding.load(beside)
    except (embedding.BadEmbedding, OSError) as wrong:
        return {**line, "broken": [[f"{found.name}/{EMBEDDING}", reason(wrong)]]}, None


def _load(folder: Path) -> tuple[dict[str, Line], dict[tuple[str, int], Floats]]:
    """Lines by id, and the matrices. Raises OSError, ValueError, KeyError and TypeError."""
    lines: dict[str, Line] = {}
    with (folder / INDEX).open("rb") as index:
        *texts, last = index
    head = orjson.loads(last)
    if head["format"] != FORMAT:
        raise ValueError("of another version")
    for text in texts:
        told = orjson.loads(text)
        lines[told["id"]] = _line(text, told)
    rows: dict[tuple[str, int], Floats] = {}
    for model, size, name, n in head["matrices"]:
        held = np.load(folder / Path(name).name, mmap_mode="r", allow_pickle=False)
        if held.shape != (n, size) or held.dtype != np.float32:
            raise ValueError(f"{name}: not as the index says")
        rows[model, size] = held
    for line in lines.values():
        if line.size and not 0 <= line.row < len(rows[line.model, line.size]):
            raise ValueError("a row that is not there")
    return lines, rows


def _line(text: bytes, told: Any) -> Line:
    model = told["record"]["model"] if "record" in told else ""
    broken = tuple(Broken(*one) for one in told["broken"])
    if "record" in told and len(told["record"]["scores"]) != N_LABELS:
        raise ValueError("not nine scores")
    return Line(text, told["stamp"], model, told["size"], told["row"], broken)


class _Matrix:
    """A matrix being written, row by row: how many there will be is not known."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._size, self.n = path, size, 0
        self._file = path.open("wb")
        self._head()

    def add(self, row: Floats) -> int:
        """The number of the row."""
        self._file.write(row.astype("<f4", copy=False).tobytes())
        self.n += 1
        return self.n - 1

    def close(self) -> None:
        self._file.seek(0)
        self._head()
        self._file.close()

    def _head(self) -> None:
        """NumPy leaves room in it for a larger number of rows: its length stays."""
        described = {"descr": "<f4", "fortran_order": False, "shape": (self.n, self._size)}
        np.lib.format.write_array_header_1_0(self._file, described)
