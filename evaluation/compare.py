"""`./run.sh compare A B`: two evaluations of the same recordings, clip by clip: which model is better.

Both say something about every clip, so what makes a clip hard cancels out: the speakers are drawn as in
`evaluation.intervals`, the same ones for both, and the difference is taken in every draw (the paired bootstrap:
Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 8; for two systems on one test set, Koehn,
EMNLP 2004). p: twice the share of draws on the other side of no difference. It is not corrected for how many
differences are looked at.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from evaluation.intervals import DRAWS, LEVEL, Assessment, assess, draw, mean, voices
from evaluation.metrics import restrict, tabulate
from evaluation.results import told
from server import wire
from stream.types import LABELS, N_LABELS, Floats, JsonDict

RESTRICTED, NINE = "restricted", "nine-way"
FIGURES = {RESTRICTED: ("uar",), NINE: ("uar", "wa", "ece")}
MEAN = "mean"

ClipName = tuple[str, str]  # corpus, file


class CannotCompare(Exception):
    """Two folders that say nothing of the same clips; the text says why."""


@dataclass(frozen=True, eq=False)
class EvaluatedClips:
    """What one evaluation has said."""

    name: str
    speakers: dict[ClipName, str]
    labels: dict[ClipName, int]
    scores: dict[tuple[str, str], dict[ClipName, Floats]]  # by condition and time; NaN: nothing was said


@dataclass(frozen=True)
class Difference:
    """One figure of both, and the second's less the first's."""

    condition: str
    time: str
    corpus: str
    way: str  # restricted or nine-way
    figure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    n_clips: int
    n_speakers: int


def read(folder: Path) -> EvaluatedClips:
    """Raises CannotCompare."""
    try:
        about = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["about"]
        weights = f" ({about['weights']})" if about["weights"] else ""
        prior = f", {about['prior']}" if about.get("prior") else ""
        found = EvaluatedClips(f"{about['model']}{weights}{prior}", {}, {}, {})
        with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                clip = row["corpus"], row["file"]
                found.speakers[clip], found.labels[clip] = row["speaker"], LABELS.index(row["label"])
                scores = np.array([float(row[f"score_{label}"]) for label in LABELS], np.float32)
                silent = row["speech"] == "0"
                said = np.full(N_LABELS, np.nan, np.float32) if silent else scores
                found.scores.setdefault((row["condition"], row["time"]), {})[clip] = said
    except (OSError, KeyError, ValueError) as wrong:
        raise CannotCompare(
            f"{folder}: not a folder that ./run.sh evaluate has written ({type(wrong).__name__}: {wrong})"
        ) from None
    return found


def compare(first: EvaluatedClips, second: EvaluatedClips, seed: int = 0) -> list[Difference]:
    """Of all conditions and times that both have, on the clips that both have. Raises CannotCompare."""
    clips = [clip for clip in first.labels if clip in second.labels]
    times = [key for key in first.scores if key in second.scores]
    if not clips or not times:
        raise CannotCompare(
            "they have no clip in common, or no condition: evaluate both on the same recordings"
        )
    other = [clip for clip in clips if first.labels[clip] != second.labels[clip]]
    if other:
        raise CannotCompare(f"{len(other)} clips have another label in the second, {other[0][1]} for one")
    found = []
    for condition, time in times:
        sides = [one.scores[condition, time] for one in (first, second)]
        found += _panel(condition, time, clips, first, sides, seed)
    return found


def _panel(
    condition: str,
    time: str,
    clips: Sequence[ClipName],
    about: EvaluatedClips,
    sides: Sequence[dict[ClipName, Floats]],
    seed: int,
) -> list[Difference]:
    assessed: dict[str, dict[str, list[Assessment]]] = {RESTRICTED: {}, NINE: {}}
    counts: dict[str, tuple[int, int]] = {}
    for corpus in dict.fromkeys(name for name, _ in clips):
        mine = [clip for clip in clips if clip[0] == corpus]
        truth = np.array([about.labels[clip] for clip in mine])
        who = voices([about.speakers[clip] for clip in mine])
        drawn_alike = zlib.crc32(f"{seed}/{corpus}".encode())
        labels = tuple(sorted(set(truth.tolist())))
        if len(labels) < 2:
            continue  # nothing to be told apart
        counts[corpus] = len(mine), who.n_speakers
        for side in sides:
            probs = np.stack([side[clip] for clip in mine])
            for way, answers in ((RESTRICTED, restrict(probs, labels)), (NINE, told(probs))):
                one = assess(draw(tabulate(truth, answers), who, drawn_alike))
                assessed[way].setdefault(corpus, []).append(one)
    found = []
    counts[MEAN] = sum(n for n, _ in counts.values()), sum(n for _, n in counts.values())
    for way, pairs in assessed.items():
        if len(pairs) > 1:
            pairs[MEAN] = [mean(side) for side in zip(*pairs.values(), strict=True)]
        for corpus, (one, two) in pairs.items():
            found += [
                Difference(
                    condition, time, corpus, way, figure, *_difference(one, two, figure), *counts[corpus]
                )
                for figure in FIGURES[way]
            ]
    return found


def _difference(
    one: Assessment, two: Assessment, figure: str
) -> tuple[float, float, float, float, float, float]:
    first, second = float(one.figures[figure]), float(two.figures[figure])
    draws = [b[figure] - a[figure] for a, b in zip(one.draws, two.draws, strict=True)]
    ends = np.array([np.nanpercentile(drawn, LEVEL) for drawn in draws])
    p = max(min(1.0, 2 * (1 + min(np.sum(d <= 0), np.sum(d >= 0))) / (DRAWS + 1)) for d in draws)
    return first, second, second - first, float(ends[:, 0].min()), float(ends[:, 1].max()), float(p)


def to_json(first: EvaluatedClips, second: EvaluatedClips, found: Sequence[Difference]) -> JsonDict:
    """For programs."""
    return {"first": first.name, "second": second.name, "differences": [asdict(one) for one in found]}


def tables(first: EvaluatedClips, second: EvaluatedClips, found: Sequence[Difference]) -> Iterator[Table]:
    """For people: one for each figure; second less first, its 95 % interval, p."""
    for way, figures in FIGURES.items():
        for figure in figures:
            title = f"{figure.upper()}, {way}: {first.name} → {second.name}"
            shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
            for name in (
                "condition",
                "time",
                "corpus",
                "first",
                "second",
                "difference",
                "95 %",
                "p",
                "clips",
            ):
                shown.add_column(name, justify="left" if name in ("condition", "time", "corpus") else "right")
            for one in found:
                if (one.way, one.figure) == (way, figure):
                    shown.add_row(
                        *(one.condition, one.time, one.corpus, f"{one.first:.3f}", f"{one.second:.3f}"),
                        *(f"{one.difference:+.3f}", f"{one.low:+.3f} … {one.high:+.3f}", f"{one.p:.3f}"),
                        str(one.n_clips),
                        style="bold" if one.low > 0 or one.high < 0 else "",
                    )
            yield shown


def main(folders: tuple[Path, Path], as_json: bool) -> int:
    """The exit status: 2 where there is nothing to compare."""
    errors = Console(stderr=True)
    try:
        first, second = map(read, folders)
        found = compare(first, second)
    except CannotCompare as wrong:
        errors.print(str(wrong), markup=False, highlight=False, soft_wrap=True)
        return 2
    if as_json:
        print(wire.Json.dumps(to_json(first, second, found)))
        return 0
    for table in tables(first, second, found):
        Console().print(table)
    left_out = len(first.labels) + len(second.labels) - 2 * len(first.labels.keys() & second.labels)
    if left_out:
        errors.print(f"{left_out} clips are in one of them only, and left out.", highlight=False)
    return 0
