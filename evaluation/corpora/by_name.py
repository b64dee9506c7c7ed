"""Corpora whose file names tell who speaks and how."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evaluation.corpora.corpus import Find, FoundRecording, gender_of


def by_name(pattern: str) -> Find:
    """`pattern`: a name without its suffix; its groups: `speaker`, `emotion` and, where it is told, `gender`."""
    whole = re.compile(pattern)

    def find(folder: Path) -> Iterator[FoundRecording | Path]:
        for path in sorted(folder.rglob("*.wav")):
            told = whole.fullmatch(path.stem)
            if told is None:
                yield path
            else:
                groups = told.groupdict()
                yield FoundRecording(
                    path, groups["speaker"], groups["emotion"], gender_of(groups.get("gender") or "")
                )

    return find


def crema_d(folder: Path) -> Iterator[FoundRecording | Path]:
    """CREMA-D: `AudioWAV/1001_DFA_ANG_XX.wav`; who is a woman, stands in `VideoDemographics.csv`."""
    genders = {}
    for table in folder.rglob("VideoDemographics.csv"):
        with table.open(encoding="utf-8-sig", newline="") as file:
            genders = {row["ActorID"]: gender_of(row["Sex"]) for row in csv.DictReader(file)}
    for found in by_name(r"(?P<speaker>1\d{3})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}")(folder):
        if isinstance(found, FoundRecording):
            found = replace(found, gender=genders.get(found.speaker, ""))
        yield found


def oreau(folder: Path) -> Iterator[FoundRecording | Path]:
    """Oréau: `OréauFR_02/f/sessc/01a01C1.wav`: speaker, utterance, style, take; women and men in folders."""
    for found in by_name(r"(?P<speaker>\d{2})\w{3}(?P<emotion>[A-Z])\w?")(folder):
        if isinstance(found, FoundRecording):
            kinds = [part for part in found.path.relative_to(folder).parts[:-1] if part in ("f", "m")]
            found = replace(found, gender=kinds[-1] if kinds else "")
        yield found


def cafe(folder: Path) -> Iterator[FoundRecording | Path]:
    """CaFE: `Colère/Fort/01-C-2-3.wav`: actor, emotion, intensity, sentence; men have odd numbers."""
    for found in by_name(r"(?P<speaker>\d{2})-(?P<emotion>[A-Z])-[12]-\d")(folder):
        if isinstance(found, FoundRecording):
            found = replace(found, gender="m" if int(found.speaker) % 2 else "f")
        yield found


def esd(folder: Path) -> Iterator[FoundRecording | Path]:
    """ESD: `0001/Angry/0001_000351.wav`, in older copies `0001/Angry/train/…`; to 0010 Mandarin, then English."""
    for path in sorted(folder.rglob("*.wav")):
        above = [part for part in path.relative_to(folder).parts[:-1] if part[:1].isupper()]
        if re.fullmatch(r"\d{4}_\d+", path.stem) and above:
            speaker = path.stem[:4]
            yield FoundRecording(path, speaker, above[-1], language="zh" if int(speaker) <= 10 else "en")
        else:
            yield path
