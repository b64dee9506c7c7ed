"""Which clips there are, who speaks in them, and which split they belong to: `manifest.csv` as typed rows.

The corpora of split `cross` are kept for the final figure and cannot be had from here: nothing in training
may be chosen by them. The speakers of `val` and `test` are in no other split; the manifest says so and
`read_clips` checks it. Designs and temperatures are chosen by `folds`: speakers of `train` and `val` held out
in turn, since `val` alone has one or two voices in most corpora.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.corpora import commercial
from stream.types import LABELS

ROOT = Path(__file__).parents[1]
SPLITS = ("train", "val", "test")
HELD_OUT = {"emodb": 2, "ravdess": 4, "nemo": 2, "rakshak": 15}  # speakers per fold
OTHERS_HELD_OUT = 1 / 7  # of the speakers of other corpora; two at least
SHIPPED = ("emodb", "ravdess", "nemo", "rakshak")  # what the shipped weights learned emotions from
UNKNOWN = LABELS.index("unknown")


@dataclass(frozen=True)
class TrainingClip:
    """One labeled recording. `speaker` is unique across corpora; empty where the corpus does not say."""

    path: Path
    corpus: str
    speaker: str
    label: int  # index into stream.types.LABELS
    split: str
    license: str = ""


def data_folder() -> Path | None:
    """The folder that EMOTION_DATA names; None where it is not set."""
    folder = os.environ.get("EMOTION_DATA")
    return Path(folder) if folder else None


def read_clips(folder: Path, only_commercial: bool = False) -> list[TrainingClip]:
    """The clips of splits train, val and test, in the order of the manifest.

    `only_commercial`: those under a license that lets what is made from them be sold (`evaluation.corpora`).
    Raises ValueError where one speaker is in two splits.
    """
    clips = []
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            # Written in either English.
            license_name = next((value for name, value in row.items() if name.startswith("licen")), "")
            if only_commercial and not commercial(license_name):
                continue
            if row["split"] in SPLITS and row["emotion"] in LABELS:
                name = row["speaker"].strip()
                # A speaker without a name cannot be told from another one.
                speaker = f"{row['corpus']}/{name}" if name.lower() not in ("", "-", "–", "unknown") else ""
                label = LABELS.index(row["emotion"])
                path = folder / row["path"]
                clips.append(
                    TrainingClip(path, row["corpus"], speaker, label, row["split"], license_name.strip())
                )
    check_speakers(clips)
    return clips


def check_speakers(clips: Iterable[TrainingClip]) -> None:
    """Raise ValueError where one speaker is in two splits."""
    heard: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.speaker and clip.corpus != "esc10":
            heard[clip.speaker].add(clip.split)
    shared = sorted(speaker for speaker, splits in heard.items() if len(splits) > 1)
    if shared:
        raise ValueError(f"speakers in more than one split: {', '.join(shared[:5])}")


def judged(clips: Iterable[TrainingClip]) -> tuple[str, ...]:
    """The corpora of emotional speech among `clips`, which mean figures are over: not those of sounds alone."""
    there = {clip.corpus for clip in clips if clip.label != UNKNOWN}
    return (*(corpus for corpus in SHIPPED if corpus in there), *sorted(there - set(SHIPPED)))


def labels_of(clips: Iterable[TrainingClip]) -> dict[str, tuple[int, ...]]:
    """The labels that each corpus has, as indices into LABELS."""
    found: dict[str, set[int]] = defaultdict(set)
    for clip in clips:
        found[clip.corpus].add(clip.label)
    return {corpus: tuple(sorted(labels)) for corpus, labels in found.items()}


def folds(clips: list[TrainingClip], seed: int = 0) -> list[set[int]]:
    """Two sets of indices of clips to hold out, by speaker, none in both: `val` and a few more; others of `train`.

    A corpus without speakers gives a tenth of its clips to each.
    """
    rng = np.random.default_rng(seed)
    held: list[set[int]] = [{i for i, clip in enumerate(clips) if clip.split == "val"}, set()]
    for corpus in sorted({clip.corpus for clip in clips}):
        mine = [i for i, clip in enumerate(clips) if clip.corpus == corpus and clip.split == "train"]
        speakers = sorted({clips[i].speaker for i in mine} - {""})
        if corpus == "esc10" or not speakers:
            held[1] |= set(rng.choice(mine, len(mine) // 10, replace=False).tolist())
            continue
        val = len({clip.speaker for clip in clips if clip.corpus == corpus and clip.split == "val"} - {""})
        others = max(2, round(OTHERS_HELD_OUT * len(speakers)))
        wanted = min(HELD_OUT.get(corpus, others), len(speakers) // 3)
        drawn = list(rng.permutation(speakers))
        for fold, n in ((0, max(0, wanted - val)), (1, wanted)):
            chosen, drawn = set(drawn[:n]), drawn[n:]
            held[fold] |= {i for i in mine if clips[i].speaker in chosen}
    return held
