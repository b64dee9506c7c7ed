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


@dataclass(frozen=True, eq=False)
class Item:
    """One result; nothing of it has been read yet, but of a journal how its lines begin."""

    id: str  # relative to the folder; unique there, printable
    folder: Path
    file: Path  # that tells the scores
    at: int | None = None  # of a journal: where its line begins
    done: journal.Stamp | None = None  # of a journal: what was done
    embedding: Path | None = None

    def stamp(self) -> str:
        """Another one when the result or its embedding has changed. Raises OSError."""
        done = self.done
        told = _changed(self.file) if done is None else f"{done.mtime_ns}:{done.size}:{done.made}"
        return f"{told} {_changed(self.embedding) if self.embedding else '-'}"


def walk(top: Path, broken: list[Broken]) -> Iterator[Item]:
    """Everything below `top`, by name. Hidden folders hold what is not finished, and are passed over."""

    def unreadable(wrong: OSError) -> None:
        broken.append(Broken(shown(os.path.relpath(wrong.filename, top)), reason(wrong)))

    for at, folders, files in os.walk(top, onerror=unreadable):
        here = Path(at)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        name = shown(os.path.relpath(at, top))
        if journal.NAME in files:
            yield from _entries(here, "" if here == top else f"{name}/", broken)
            folders[:] = [name for name in folders if name != EACH]
        own = name if here != top else shown(top.resolve().name)
        told = RESULT if RESULT in files else SESSION
        if told in files:
            beside = here / EMBEDDING if told == RESULT and EMBEDDING in files else None
            yield Item(own, here, here / told, embedding=beside)


def reason(wrong: Exception) -> str:
    return (wrong.strerror or str(wrong)) if isinstance(wrong, OSError) else str(wrong)


def _entries(folder: Path, prefix: str, broken: list[Broken]) -> Iterator[Item]:
    path = folder / journal.NAME
    try:
        places = journal.index(path)
    except OSError as wrong:
        broken.append(Broken(f"{prefix}{journal.NAME}", reason(wrong)))
        return
    for file in sorted(places):
        at, done = places[file]
        home = folder / EACH / file
        beside = home / EMBEDDING
        yield Item(prefix + shown(file), home, path, at, done, beside if beside.exists() else None)


def _changed(path: Path) -> str:
    held = path.stat()
    return f"{held.st_mtime_ns}:{held.st_size}"
