"""What `analyze --out` has done, one line of JSON per recording: a run that was cut short goes on where it was.

A line that was half written when the power went is passed over. Lines are only ever added, by one run at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from server import system
from stream.types import JsonDict

NAME = "journal.jsonl"
EACH = "files"  # the folder beside it, for the outputs of each recording


class Taken(OSError):
    """Another run writes there."""


@dataclass(frozen=True)
class Stamp:
    """What must be the same for a recording to count as done."""

    size: int
    mtime_ns: int
    made: str  # a fingerprint of model and options


@dataclass(frozen=True)
class Entry:
    file: str  # relative to the folder of recordings, as the file system has it
    stamp: Stamp
    result: JsonDict


class Journal:
    """Open for adding. `with Journal(folder) as journal:`; raises Taken, and OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: IO[bytes] = self._path.open("a+b")
        try:
            system.lock(self._file)
        except OSError:
            self._file.close()
            raise Taken(
                f"{folder}: another analyze is writing there; wait for it, or choose another --out"
            ) from None
        self._places = index(self._path)
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - 1))
        if size and self._file.read(1) != b"\n":
            self._file.write(b"\n")  # ends the line that was half written

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def holds(self, file: str, stamp: Stamp) -> bool:
        """Whether this recording, as it is, has been done in this way."""
        place = self._places.get(file)
        return place is not None and place[1] == stamp

    def add(self, entry: Entry) -> None:
        """Kept from here on, whatever happens to the process."""
        head = {"file": entry.file, "size": entry.stamp.size, "mtime_ns": entry.stamp.mtime_ns}
        line = json.dumps({**head, "made": entry.stamp.made, "result": entry.result}) + "\n"
        at = self._file.seek(0, os.SEEK_END)
        self._file.write(line.encode("ascii"))
        self._file.flush()
        self._places[entry.file] = (at, entry.stamp)

    def reread(self) -> None:
        """After an interruption, which may have come between a line and the note of its place."""
        self._file.flush()
        self._places = index(self._path)

    def entries(self, files: list[str]) -> Iterator[Entry]:
        """The latest of each of these files, in their order; those never done are left out."""
        with self._path.open("rb") as lines:
            for file in files:
                if file in self._places:
                    lines.seek(self._places[file][0])
                    entry = parse(lines.readline())
                    if entry is not None:
                        yield entry


def index(path: Path) -> dict[str, tuple[int, Stamp]]:
    """Where the latest line of each file begins, and its stamp."""
    found: dict[str, tuple[int, Stamp]] = {}
    at = 0
    with path.open("rb") as lines:
        for line in lines:
            entry = parse(line)
            if entry is not None:
                found[entry.file] = (at, entry.stamp)
            at += len(line)
    return found


def entry_at(path: Path, at: int) -> Entry | None:
    """The entry whose line begins there; None when none does."""
    with path.open("rb") as lines:
        lines.seek(at)
        return parse(lines.readline())


def parse(line: bytes) -> Entry | None:
    """None for a line that is not whole, or not ours."""
    try:
        fields: Any = json.loads(line)
        stamp = Stamp(int(fields["size"]), int(fields["mtime_ns"]), str(fields["made"]))
        file, result = fields["file"], fields["result"]
    except (ValueError, KeyError, TypeError):
        return None
    return Entry(file, stamp, result) if isinstance(file, str) and isinstance(result, dict) else None


def shown(name: str) -> str:
    """A file's name as text that can be printed and written as UTF-8: other bytes and line breaks are escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
