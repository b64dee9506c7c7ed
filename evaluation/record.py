"""metrics.json and predictions.csv: the results as a program reads them."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.about import About
from evaluation.intervals import Assessment, Estimate
from evaluation.life import Life
from evaluation.metrics import NOTHING, bins, confusion, said
from evaluation.results import Panel, Results, UnknownCheck, told
from stream.types import DIGITS, LABELS, JsonDict


def to_json(results: Results, about: About) -> JsonDict:
    """Everything in the report, and the counts behind it. NaN becomes null."""
    figures: JsonDict = {}
    for (condition, time), panel in results.panels.items():
        figures.setdefault(condition, {})[time] = _panel(panel)
    return {
        "about": {**asdict(about), "unreadable": [{"file": f, "why": why} for f, why in about.unreadable]},
        "corpora": {corpus: _corpus(results, about, corpus) for corpus in results.corpora},
        "figures": figures,
        "unknown": {condition: _unknown(check) for condition, check in results.unknown.items()},
        "life": {condition: _life(of) for condition, of in results.life.items()},
    }


def write_predictions(results: Results, path: Path) -> None:
    """One row per clip, condition and time; nothing said: `speech` is 0, and the scores are the product's."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        names = [f"score_{label}" for label in LABELS]
        rows.writerow(
            [
                "file",
                "corpus",
                "speaker",
                "condition",
                "time",
                "label",
                "speech",
                "predicted",
                "confidence",
                *names,
            ]
        )
        for (condition, time), answers in results.answers.items():
            probs, spoke = told(answers.probs), said(answers.probs) != NOTHING
            for clip, row, heard in zip(results.clips, probs, spoke, strict=True):
                best = int(row.argmax())
                scores = [f"{value:.{DIGITS}f}" for value in (row[best], *row)]
                head = [clip.name, clip.corpus, clip.speaker, condition, time, LABELS[clip.label], int(heard)]
                rows.writerow([*head, LABELS[best], *scores])


def _panel(panel: Panel) -> JsonDict:
    return {
        "restricted": {corpus: _assessment(one) for corpus, one in panel.restricted.items()},
        "restricted_mean": _means(panel.mean_restricted),
        "nine": {corpus: _assessment(one) for corpus, one in panel.nine.items()},
        "nine_mean": _means(panel.mean_nine),
        "nine_pooled": _assessment(panel.pooled),
        "still_speaking": panel.ongoing,
    }


def _corpus(results: Results, about: About, corpus: str) -> JsonDict:
    who, clips = results.who[corpus], [results.clips[i] for i in results.rows(corpus)]
    return {
        "clips": len(clips),
        "speakers": who.n_speakers,
        "clips_without_speaker": who.n_unnamed,
        "intervals_over": "clips" if who.over_clips else "speakers and clips" if who.few else "speakers",
        "labels": {LABELS[x]: sum(clip.label == x for clip in clips) for x in results.labels[corpus]},
        "no_speech": {condition: results.silent(condition, corpus) for condition in about.conditions},
    }


def _means(one: Assessment | None) -> JsonDict | None:
    return None if one is None else {name: _estimate(one.estimate(name)) for name in one.figures}


def _assessment(one: Assessment) -> JsonDict:
    recall = one.estimate("recall")
    known = [i for i in range(len(LABELS)) if not np.isnan(recall.value[i])]
    return {
        **{name: _estimate(one.estimate(name)) for name in one.figures if name != "recall"},
        "recall": {
            LABELS[i]: _estimate(Estimate(recall.value[i], recall.low[i], recall.high[i])) for i in known
        },
        "confusion": {
            LABELS[i]: dict(
                zip((*LABELS, "nothing"), confusion(one.table)[i].astype(int).tolist(), strict=True)
            )
            for i in known
        },
        "bins": [
            {"clips": int(n), "confidence": _round(sure / n), "accuracy": _round(right / n)} if n else None
            for n, sure, right in bins(one.table)
        ],
    }


def _unknown(check: UnknownCheck) -> JsonDict:
    return {
        name: _estimate(value) if isinstance(value, Estimate) else value
        for name, value in vars(check).items()
    }


def _life(of: Life) -> JsonDict:
    def plain(value: Any) -> Any:
        if isinstance(value, Estimate):
            return _estimate(value)
        if isinstance(value, Assessment):
            return _assessment(value)
        if isinstance(value, dict):
            return {str(name): plain(each) for name, each in value.items()}
        return round(value, DIGITS) if isinstance(value, float) else value

    return {name: plain(value) for name, value in vars(of).items()}


def _estimate(estimate: Estimate) -> JsonDict:
    return {name: _round(getattr(estimate, name)) for name in ("value", "low", "high")}


def _round(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), DIGITS)
