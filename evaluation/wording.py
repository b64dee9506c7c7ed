"""Figures and their caveats in words: what report and terminal share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evaluation.about import About
from evaluation.intervals import Estimate
from evaluation.known import CAVEATS
from evaluation.results import WHOLE, Results
from stream.types import LABELS

SMALL = 20  # clips of a label: its recall is rough below


def number(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"


def interval(estimate: Estimate, mark: str = "") -> str:
    """0.61 (0.55–0.67)."""
    value, low, high = (float(part) for part in (estimate.value, estimate.low, estimate.high))
    return "–" if value != value else f"{value:.2f} ({low:.2f}–{high:.2f}){mark}"


def percentage(estimate: Estimate) -> str:
    value, low, high = (100 * float(part) for part in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} % ({low:.1f}–{high:.1f})"


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def time_name(time: str) -> str:
    return "whole utterance" if time == WHOLE else f"after {time} s"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def mark(results: Results, corpus: str) -> str:
    """* where speakers are few, † where the interval is over clips."""
    who = results.who[corpus]
    return "†" if who.over_clips else "*" if who.few else ""


def mean_mark(results: Results) -> str:
    """Of means over corpora with two labels or more."""
    return "*" if any(mark(results, corpus) for corpus in results.emotional) else ""


def caveats(results: Results, about: About, corpus: str) -> list[str]:
    who, first = results.who[corpus], about.conditions[0]
    found = [CAVEATS[corpus]] if corpus in CAVEATS else []
    if who.over_clips and len(results.labels[corpus]) > 1:
        found.append("no speakers to draw from: intervals are over clips, and too narrow for new voices")
    elif who.few:
        found.append(f"{who.n_speakers} speakers: the interval can only hint at what other voices would give")
    clips = [results.clips[i] for i in results.rows(corpus)]
    sizes = {label: sum(clip.label == label for clip in clips) for label in results.labels[corpus]}
    rare = [f"{LABELS[label]} {n}" for label, n in sizes.items() if 0 < n < SMALL]
    if rare:
        found.append(f"few clips of a label: {', '.join(rare)}")
    absent = [LABELS[label] for label, n in sizes.items() if n == 0]
    if absent:
        found.append(f"labels of the corpus without a clip here: {', '.join(absent)}")
    silent = results.silent(first, corpus)
    if silent > 0.05 * len(clips) and len(sizes) > 1:
        found.append(f"no speech found in {silent} of {len(clips)} clips, each a wrong answer")
    mute = sorted({LABELS[label] for label in sizes} & set(about.cannot_say))
    if mute:
        found.append(f"the model cannot say {', '.join(mute)}")
    return found
