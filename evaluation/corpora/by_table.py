"""Corpora that tell in a table who speaks and how."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.corpora.corpus import FoundRecording, NotThisCorpus, gender_of


def emozionalmente(folder: Path) -> Iterator[FoundRecording | Path]:
    """Emozionalmente: `metadata/samples.csv` (file_name, actor, emotion_expressed), `users.csv`, `audio/`."""
    samples = _one(folder, "samples.csv")
    root = samples.parent.parent
    genders: dict[str, str] = {}
    for users in root.rglob("users.csv"):
        genders = {row["username"]: gender_of(row["gender"]) for row in _rows(users, "username", "gender")}
    for row in _rows(samples, "file_name", "actor", "emotion_expressed"):
        path = root / "audio" / _plain(row["file_name"])
        actor = row["actor"]
        yield FoundRecording(path, actor, row["emotion_expressed"].lower(), genders.get(actor, ""))


def msp_podcast(folder: Path) -> Iterator[FoundRecording | Path]:
    """MSP-Podcast: `Labels/labels_consensus.csv`, `Audios/`. Its splits stay: `Test1` and `Test2` are `test`;
    the labels of `Test3` are its authors' secret.
    """
    table = _one(folder, "labels_consensus.csv")
    audio = next((path for path in sorted(folder.rglob("Audio*")) if path.is_dir()), folder)
    splits = {"train": "train", "development": "val", "validation": "val", "test1": "test", "test2": "test"}
    for row in _rows(table, "FileName", "EmoClass", "SpkrID", "Gender", "Split_Set"):
        split = splits.get(row["Split_Set"].lower())
        if split is not None:
            speaker = "" if row["SpkrID"].lower() == "unknown" else row["SpkrID"]
            path = audio / _plain(row["FileName"])
            yield FoundRecording(path, speaker, row["EmoClass"], gender_of(row["Gender"]), split)


def resd(folder: Path) -> Iterator[FoundRecording | Path]:
    """RESD: `happiness_enthusiasm_32/32_happiness_enthusiasm_h_120.wav`: the dialog, what its two people felt,
    which of them speaks, when. Who they are is not told: a dialog counts as a speaker, though its
    twenty actors are in several. Where it comes as Parquet, each row's `speech` belongs into a file at its `path`.
    """
    name = re.compile(r"(?P<dialog>\d+)_(?P<first>[a-z]+)_(?P<second>[a-z]+)_(?P<who>[a-z])_\d+")
    for path in sorted(folder.rglob("*.wav")):
        told = name.fullmatch(path.stem)
        felt = [word for word in (told["first"], told["second"]) if word[0] == told["who"]] if told else []
        if (
            not told or not felt or len(set(felt)) > 1
        ):  # two emotions with the same letter: it is not told which
            yield path
        else:
            yield FoundRecording(path, told["dialog"], felt[0])


def _one(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        raise NotThisCorpus(f"{folder}: there is no {name} in it or below it")
    return found[0]


def _rows(table: Path, *columns: str) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise NotThisCorpus(f"{table}: no column {' and '.join(missing)}")
        for row in reader:
            yield {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}


def _plain(name: str) -> str:
    """A file's name from a table, which may lead nowhere else."""
    return Path(name.replace("\\", "/")).name
