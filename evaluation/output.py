"""The files of an evaluation: report.md, metrics.json, predictions.csv and the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from evaluation import record, report
from evaluation.about import About
from evaluation.intervals import Estimate
from evaluation.metrics import bins, confusion
from evaluation.pictures import Reliability, confusion_picture, reliability_picture
from evaluation.results import WHOLE, Results
from evaluation.wording import interval as text_interval
from server import wire
from stream.types import LABELS


def write(results: Results, about: About, out: Path) -> None:
    """All files, into the folder `out`."""
    shown = []
    for name, what, picture in _pictures(results, about):
        picture.save(out / name)
        shown.append((name, what))
    record.write_predictions(results, out / "predictions.csv")
    (out / "metrics.json").write_text(
        wire.Json.dumps(record.to_json(results, about)) + "\n", encoding="utf-8"
    )
    (out / "report.md").write_text(report.write(results, about, shown), encoding="utf-8")


def _pictures(results: Results, about: About) -> Iterator[tuple[str, str, Image.Image]]:
    """File name, what it shows, and the picture."""
    first = about.conditions[0]
    for corpus, one in results.panels[first, WHOLE].restricted.items():
        note = f"{first}, whole utterances, among the corpus' labels: UAR {interval(one.estimate('uar'))}"
        picture = confusion_picture(
            confusion(one.table), results.labels[corpus], f"{about.model} on {corpus}", note
        )
        yield f"confusion_{_safe(corpus)}.png", f"Confusion matrix of {corpus}", picture
    for condition in about.conditions:
        pooled = results.panels[condition, WHOLE].pooled
        note = f"{condition}, whole utterances, all nine labels: accuracy {interval(pooled.estimate('wa'))}"
        title = f"{about.model} on all clips together"
        picture = confusion_picture(confusion(pooled.table), range(len(LABELS)), title, note)
        yield f"confusion_all_{condition}.png", f"Confusion matrix of all clips, {condition}", picture
    diagrams = [
        Reliability(
            f"{corpus}, {condition}" if len(about.conditions) > 1 else corpus,
            f"ECE {interval(one.estimate('ece'))}",
            bins(one.table),
        )
        for corpus in results.corpora
        for condition in about.conditions
        for one in [results.panels[condition, WHOLE].nine[corpus]]
    ]
    title = f"{about.model}: is it right as often as it says? Whole utterances, all nine labels"
    columns = len(about.conditions) if len(about.conditions) > 1 else 3
    yield "reliability.png", "Reliability diagrams", reliability_picture(diagrams, title, columns)


def interval(estimate: Estimate) -> str:
    return text_interval(estimate).replace("–", "-")  # the font has no dash


def _safe(name: str) -> str:
    """A corpus' name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
