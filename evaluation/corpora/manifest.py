"""Corpora as published → rows of a `manifest.csv`, which `evaluate` and the training recipe read."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path

import soundfile

from evaluation.corpora.corpus import FoundRecording, NotThisCorpus
from evaluation.corpora.published import CORPORA
from evaluation.dataset import MANIFEST

COLUMNS = (
    *("path", "corpus", "language", "license", "speaker"),
    *("gender", "emotion", "source_label", "duration_s", "split"),
)
VAL, TEST = 0.1, 0.2  # of the speakers of a corpus that has no splits of its own


@dataclass
class CorpusCounts:
    """What became of one corpus: how many recordings by split and by label, and what was left out."""

    splits: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    no_label: Counter[str] = field(default_factory=Counter)  # by the corpus' word
    strange: list[Path] = field(default_factory=list)  # files that the corpus, as published, does not have
    broken: list[Path] = field(default_factory=list)  # not there, empty, or no audio


def write(
    out: Path, folders: Mapping[str, Path], done: Callable[[str, int], None] = lambda name, n: None
) -> dict[str, CorpusCounts]:
    """Write `out/manifest.csv` with the corpora of `folders`, by their names; rows of other corpora in it stay.

    `done(name, n)`: n more recordings have been looked at. Nothing is written unless all goes well. Raises
    NotThisCorpus where a folder holds no recording of its corpus, OSError.
    """
    told: dict[str, CorpusCounts] = {}
    rows: list[dict[str, str]] = []
    for name, folder in folders.items():
        told[name] = CorpusCounts()
        rows += _rows(name, folder.resolve(), out.resolve(), told[name], partial(done, name))
    table, columns = out / MANIFEST, list(COLUMNS)
    if table.exists():
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            kept = [row for row in reader if row.get("corpus") not in folders]
            columns = list(dict.fromkeys([*(reader.fieldnames or ()), *COLUMNS]))
        rows = kept + rows
    out.mkdir(parents=True, exist_ok=True)
    unfinished = table.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(table)
    return told


def _rows(
    name: str, folder: Path, out: Path, told: CorpusCounts, done: Callable[[int], None]
) -> list[dict[str, str]]:
    corpus = CORPORA[name]
    if not folder.is_dir():
        raise NotThisCorpus(f"{folder}: there is no such folder")
    placed: list[tuple[FoundRecording, float]] = []
    for found in corpus.find(folder):
        done(1)
        if isinstance(found, Path):
            told.strange.append(found)
        elif found.emotion not in corpus.labels:
            told.no_label[found.emotion] += 1
        elif seconds := _seconds(found.path):
            placed.append((found, seconds))
        else:
            told.broken.append(found.path)
    if not placed:
        raise NotThisCorpus(
            f"{folder}: none of its recordings are of {corpus.title} as it is published ({corpus.source})"
        )
    splits = splits_of(name, [recording for recording, _ in placed])
    rows = []
    for recording, seconds in placed:
        split = recording.split or splits[recording.speaker]
        label = corpus.labels[recording.emotion]
        told.splits[split] += 1
        told.labels[label] += 1
        inside = recording.path.is_relative_to(out)
        values = (
            str(recording.path.relative_to(out) if inside else recording.path),
            name,
            recording.language or corpus.language,
            corpus.license,
            recording.speaker,
            recording.gender,
            label,
            recording.emotion,
            f"{seconds:.3f}",
            split,
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def _seconds(path: Path) -> float:
    """How long a recording is; 0 where there is none."""
    try:
        return float(soundfile.info(path).duration)
    except (soundfile.LibsndfileError, OSError):
        return 0.0


def splits_of(corpus: str, recordings: list[FoundRecording]) -> dict[str, str]:
    """Speaker → train, val or test: a tenth and a fifth of them, women and men in turn, always the same ones.

    With fewer than three speakers there is nobody to hold out: all are `train`. Recordings of nobody in particular
    are `train`, too.
    """
    genders = {recording.speaker: recording.gender for recording in recordings if recording.speaker}
    by_gender: dict[str, list[str]] = defaultdict(list)
    for speaker in sorted(genders, key=lambda name: hashlib.sha256(f"{corpus}/{name}".encode()).digest()):
        by_gender[genders[speaker]].append(speaker)
    turns = zip_longest(*(by_gender[gender] for gender in sorted(by_gender)))
    order = [speaker for turn in turns for speaker in turn if speaker is not None]
    n_test = max(1, round(TEST * len(order))) if len(order) > 2 else 0
    n_val = max(1, round(VAL * len(order))) if len(order) > 2 else 0
    splits = {"": "train"} | dict.fromkeys(order, "train")
    return (
        splits | dict.fromkeys(order[:n_test], "test") | dict.fromkeys(order[n_test : n_test + n_val], "val")
    )
