"""What lies below a folder of results: where each is to be read from, and how one sees that it has changed.

Found are, at any depth: outputs of the server and of `analyze --each` (`result.json`, `embedding.npy`), what
`analyze --out` keeps in its journal, and recorded sessions. Links to folders are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.analyze import journal
from tools.analyze.journal import EACH, shown

RESULT, EMBEDDING = "result.json", "embedding.npy"
SESSION = "record.json"


@dataclass(frozen=True)
class Broken:
    """What could not be read, and why."""

    name: str
    why: str


@dataclass(frozen=True, eq=False, slots=True)
class Item:
    """One result, of which nothing has been read yet. There may be very many: paths are made when asked for."""

    id: str  # relative to the folder of results; unique there, printable
    home: str  # the path of its own folder
    told: str  # the name of the file there that tells the scores; of a journal its path
    embedded: bool  # an embedding is beside it
    at: int | None = None  # of a journal: where its line begins
    done: journal.Stamp | None = None  # of a journal: what was done

    @property
    def folder(self) -> Path:
        return Path(self.home)

    @property
    def file(self) -> Path:
        return Path(self.home, self.told)

    @property
    def embedding(self) -> Path | None:
        return Path(self.home, EMBEDDING) if self.embedded else None

    def stamp(self) -> str:
        """Another one when the result or its embedding has changed. Raises OSError."""
        done = self.done
        told = (
            _changed(f"{self.home}/{self.told}")
            if done is None
            else f"{done.mtime_ns}:{done.size}:{done.made}"
        )
        return f"{told} {_changed(f'{self.home}/{EMBEDDING}') if self.embedded else '-'}"


def walk(top: Path, broken: list[Broken]) -> Iterator[Item]:
    """Everything below `top`, by name. Hidden folders hold what is not finished, and are passed over."""

    def unreadable(wrong: OSError) -> None:
        broken.append(Broken(shown(os.path.relpath(wrong.filename, top)), reason(wrong)))

    start = len(os.path.join(top, ""))  # noqa: PTH118 - as os.walk joins
    for at, folders, files in os.walk(top, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        name = shown(at[start:])
        if journal.NAME in files:
            yield from _entries(at, f"{name}/" if name else "", broken)
            folders[:] = [name for name in folders if name != EACH]
        told = RESULT if RESULT in files else SESSION
        if told in files:
            yield Item(name or shown(top.resolve().name), at, told, told == RESULT and EMBEDDING in files)


def reason(wrong: Exception) -> str:
    return (wrong.strerror or str(wrong)) if isinstance(wrong, OSError) else str(wrong)


def _entries(folder: str, prefix: str, broken: list[Broken]) -> Iterator[Item]:
    path = os.path.abspath(f"{folder}/{journal.NAME}")  # noqa: PTH100 - joined to a folder it stays what it is
    try:
        places = journal.index(Path(path))
    except OSError as wrong:
        broken.append(Broken(f"{prefix}{journal.NAME}", reason(wrong)))
        return
    for file in sorted(places):
        at, done = places[file]
        home = f"{folder}/{EACH}/{file}"
        embedded = os.path.exists(f"{home}/{EMBEDDING}")  # noqa: PTH110 - a hundred thousand times
        yield Item(prefix + shown(file), home, path, embedded, at, done)


def _changed(path: str) -> str:
    held = os.stat(path)  # noqa: PTH116 - a hundred thousand times
    return f"{held.st_mtime_ns}:{held.st_size}"
