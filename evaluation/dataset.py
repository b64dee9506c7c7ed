"""Labeled recordings: a CSV manifest, or a folder with one sub-folder per label, as typed clips. No audio here.

A manifest needs the columns `path` (relative to the manifest) and `emotion`; `corpus`, `language`, `speaker` and
`split` are used where they are there. In a folder, `LABEL/clip.wav` has no speaker, `LABEL/SPEAKER/clip.wav` has
one. Names of files are never guessed from: a wrong guess would put one speaker on both sides of an interval.
"""

from __future__ import annotations

import csv
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.files import find
from stream.types import LABELS

MANIFEST = "manifest.csv"
ALL = "all"
NAMED = 8  # how many offenders an error message names
NOBODY = frozenset({"", "-", "–", "?", "unknown", "none", "nan"})  # not a speaker's name


class BadDataset(Exception):
    """The data cannot be evaluated; the text says what is wrong, where, and what would do."""


@dataclass(frozen=True)
class Clip:
    """One labeled recording."""

    path: Path
    name: str  # the path as the dataset writes it
    corpus: str
    language: str
    speaker: str  # within its corpus; empty: not known
    label: int  # index into stream.types.LABELS
    split: str


@dataclass(frozen=True)
class Dataset:
    """The clips to evaluate, and the labels that each of their corpora has in all of its splits."""

    path: Path
    split: str  # `all` where there are no splits, or none was asked for
    clips: list[Clip]
    labels: dict[str, tuple[int, ...]]


def read(
    path: Path, split: str | None = None, corpora: Iterable[str] = (), limit: int | None = None, seed: int = 0
) -> Dataset:
    """The clips of `path` in `split` (None: `test` where there are splits) and `corpora` (none: all of them).

    `limit`: at most so many clips per corpus, evenly by label. Raises BadDataset.
    """
    if path.is_dir() and (path / MANIFEST).is_file():
        path = path / MANIFEST
    if path.is_dir():
        rows = _folder(path)
    elif path.is_file():
        rows = _manifest(path)
    else:
        raise BadDataset(f"{path}: there is no such file or folder")
    if split is None:
        split = "test" if any(row.clip.split for row in rows) else ALL
    chosen = _chosen(path, rows, split, set(corpora))
    labels: dict[str, set[int]] = {row.clip.corpus: set() for row in chosen}
    for row in rows:
        if row.clip.corpus in labels and row.clip.label >= 0:
            labels[row.clip.corpus].add(row.clip.label)
    clips = [row.clip for row in chosen]
    if limit is not None:
        clips = limited(clips, limit, seed)
    lost = [clip.name for clip in clips if not clip.path.is_file()]
    if lost:
        raise BadDataset(f"{path}: {len(lost)} of {len(clips)} files are not there: {_listed(lost)}")
    return Dataset(path, split, clips, {corpus: tuple(sorted(found)) for corpus, found in labels.items()})


def _chosen(path: Path, rows: list[_Row], split: str, corpora: set[str]) -> list[_Row]:
    """The rows asked for. Raises BadDataset when there are none, or when one of them has an unknown label."""
    chosen = [
        row for row in rows if split in (ALL, row.clip.split) and (not corpora or row.clip.corpus in corpora)
    ]
    there = {row.clip.corpus for row in rows}
    if corpora - there or not chosen:
        splits = sorted({row.clip.split for row in rows} - {""}) or ["(none)"]
        asked = f"split {split!r}" + (f", corpora {_listed(sorted(corpora))}" if corpora else "")
        raise BadDataset(
            f"{path}: no clips of {asked}. "
            f"There are: corpora {_listed(sorted(there))}; splits {_listed(splits)}, or {ALL!r}"
        )
    strange = [row.place for row in chosen if row.clip.label < 0]
    if strange:
        raise BadDataset(
            f"{path}: {len(strange)} rows without one of the nine labels ({', '.join(LABELS)}): {_listed(strange)}"
        )
    return chosen


def limited(clips: list[Clip], limit: int, seed: int) -> list[Clip]:
    """At most `limit` clips of each corpus, its labels taking turns, in the order given."""
    kept: set[Clip] = set()
    for corpus in {clip.corpus for clip in clips}:
        rng = np.random.default_rng([seed, zlib.crc32(corpus.encode())])
        by_label: dict[int, list[Clip]] = defaultdict(list)
        mine = [clip for clip in clips if clip.corpus == corpus]
        for i in rng.permutation(len(mine)):
            by_label[mine[i].label].append(mine[i])
        turns = sorted((turn, label) for label, group in by_label.items() for turn in range(len(group)))
        kept.update(by_label[label][turn] for turn, label in turns[:limit])
    return [clip for clip in clips if clip in kept]


@dataclass(frozen=True)
class _Row:
    clip: Clip  # label -1: none of the nine
    place: str  # where it was found, for messages


def _manifest(path: Path) -> list[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            missing = [name for name in ("path", "emotion") if name not in names]
            if missing:
                found = ", ".join(names) or "nothing"
                raise BadDataset(f"{path}: no column {' and '.join(missing)}; its first line names {found}")
            rows = [
                _row(path, reader.line_num, {k: v for k, v in row.items() if isinstance(v, str)})
                for row in reader
            ]
    except (UnicodeDecodeError, csv.Error, OSError) as broken:
        raise BadDataset(f"{path}: not a CSV file in UTF-8: {broken}") from None
    if not rows:
        raise BadDataset(f"{path}: has no rows")
    return rows


def _row(path: Path, line: int, cells: dict[str, str]) -> _Row:
    def cell(name: str) -> str:
        return cells.get(name, "").strip()

    speaker = cell("speaker")
    clip = Clip(
        path=path.parent / cell("path"),
        name=cell("path"),
        corpus=cell("corpus") or path.resolve().parent.name or "data",
        language=cell("language"),
        speaker="" if speaker.lower() in NOBODY else speaker,
        label=_label(cell("emotion")),
        split=cell("split"),
    )
    return _Row(clip, f"line {line} ({cell('emotion') or 'empty'})")


def _folder(root: Path) -> list[_Row]:
    """Recordings below `root/LABEL/`; the folder right below the label, where there is one, names the speaker."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    strange = [folder.name for folder in folders if _label(folder.name) < 0]
    if strange or not folders:
        what = f"these are not: {_listed(strange)}" if strange else "there are none"
        raise BadDataset(
            f"{root}: expected {MANIFEST}, or sub-folders named by label; {what}. "
            f"The nine labels are: {', '.join(LABELS)}"
        )
    corpus = root.resolve().name or "data"
    rows = []
    for folder in folders:
        for path in find.find([folder]):
            name, below = path.relative_to(root).as_posix(), path.relative_to(folder).parts
            speaker = below[0] if len(below) > 1 and below[0].lower() not in NOBODY else ""
            rows.append(_Row(Clip(path, name, corpus, "", speaker, _label(folder.name), ""), name))
    if not rows:
        raise BadDataset(f"{root}: no recordings there. Read are: {' '.join(sorted(find.SUFFIXES))}")
    return rows


def _label(name: str) -> int:
    """Index into LABELS; -1: none of them."""
    name = name.strip().lower()
    return LABELS.index(name) if name in LABELS else -1


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
