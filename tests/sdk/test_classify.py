"""How near `classify_embedding` of compact comes: the figures of docs/sdk.md, on recordings of people."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from emotion_stream import EmotionModel
from tests.corpora import corpora

CORPORA = ("emodb", "ravdess", "nemo")
EACH = 60


def clips(folder: Path) -> list[Path]:
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    chosen = random.Random(0)
    named = ([row["path"] for row in rows if row["corpus"] == corpus] for corpus in CORPORA)
    return [folder / path for paths in named for path in chosen.sample(paths, EACH)]


@pytest.mark.slow
def test_it_agrees_with_the_recordings(model: EmotionModel) -> None:
    same, apart, n = 0, 0.0, 0
    for path in clips(corpora()):
        found = model.analyze(path, return_embedding=True)
        if found.embedding is None:
            continue
        scores = model.classify_embedding(found.embedding)
        n += 1
        same += max(scores, key=scores.__getitem__) == found.emotion
        apart += sum(abs(scores[label] - found.scores[label]) for label in scores) / 2
    print(f"{n} clips: {same / n:.1%} with the same emotion, {apart / n:.2%} apart")
    assert n > 0.9 * EACH * len(CORPORA)
    assert same / n > 0.95 and apart / n < 0.035
