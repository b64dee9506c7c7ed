"""What compact's two kinds of embeddings are good for: python -m bench.embeddings MANIFEST --split test

Within each corpus: whether the cosine of two clips of different speakers is higher where the emotion is the same
(AUC; centered: the corpus mean taken away first), and whether that of one speaker is, whatever the emotion; what
`tools similar`, `cluster` and `teach` make of them: how often the nearest clip of another speaker has the same
emotion, how much k-means with as many groups as labels has in common with emotions and with speakers (adjusted
mutual information), and the UAR of a classifier taught with all clips but those of the speakers it is tried on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from emotion_stream_client.errors import EmotionError
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score

from emotion_stream import EmotionModel
from evaluation import dataset
from evaluation.dataset import Clip
from evaluation.life import auc
from stream.models.compact.sizes import EMBEDDINGS
from stream.types import LABELS, Floats
from tools import few_shot

FEWEST_TAUGHT = 4  # speakers: some are learned from, some choose how strongly, some are tried
FIGURES = (
    "same emotion, AUC",
    "centered",
    "same speaker, AUC",
    "nearest has the emotion",
    "clusters and emotions, AMI",
    "clusters and speakers, AMI",
    "taught, UAR",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--corpus", action="append", default=[])
    parser.add_argument("--limit", type=int, default=150, help="clips per corpus, evenly by label")
    args = parser.parse_args()
    data = dataset.read(args.manifest, args.split, tuple(args.corpus), args.limit, 0)
    clips = [clip for clip in data.clips if len(data.labels[clip.corpus]) > 1 and clip.speaker]
    corpora = list(dict.fromkeys(clip.corpus for clip in clips))
    print("| corpus | embedding | " + " | ".join(FIGURES) + " |\n" + "|---" * (len(FIGURES) + 2) + "|")
    for kind in EMBEDDINGS:
        heard, rows = embedded(clips, kind)
        each = []
        for corpus in corpora:
            mine = [i for i, clip in enumerate(heard) if clip.corpus == corpus]
            each.append(figures([heard[i] for i in mine], rows[mine]))
            print(f"| {corpus} | {kind} | " + " | ".join(f"{x:.2f}" for x in each[-1]) + " |", flush=True)
        print(
            f"| mean | {kind} | " + " | ".join(f"{x:.2f}" for x in np.nanmean(each, axis=0)) + " |",
            flush=True,
        )


def embedded(clips: Sequence[Clip], kind: str) -> tuple[list[Clip], Floats]:
    """The clips in which somebody speaks, and their embeddings."""
    heard, rows = [], []
    os.environ["EMOTION_MODEL__EMBEDDING"] = kind
    with EmotionModel("compact", "cpu") as model:
        for clip in clips:
            try:
                rows.append(model.extract_embedding(clip.path))
            except EmotionError:
                continue
            heard.append(clip)
    return heard, np.stack(rows)


def figures(clips: Sequence[Clip], rows: Floats) -> list[float]:
    """Those of FIGURES, of the clips of one corpus."""
    emotion = np.array([clip.label for clip in clips])
    speaker = np.unique([clip.speaker for clip in clips], return_inverse=True)[1]
    first, second = np.triu_indices(len(clips), 1)
    same_emotion, same_speaker = emotion[first] == emotion[second], speaker[first] == speaker[second]
    plain, centered = cosines(rows), cosines(rows - rows.mean(0))
    found = []
    for cosine in (plain, centered):
        pairs = cosine[first, second].astype(np.float64)
        found.append(auc(pairs[same_emotion & ~same_speaker], pairs[~same_emotion & ~same_speaker]))
    pairs = plain[first, second].astype(np.float64)
    found.append(auc(pairs[same_speaker], pairs[~same_speaker]))
    nearest = np.where(speaker[:, None] == speaker, -2, centered).argmax(1)
    found.append(float((emotion[nearest] == emotion).mean()))
    labels = np.unique(emotion)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    groups = KMeans(len(labels), n_init=10, random_state=0).fit_predict(unit)
    found += [float(adjusted_mutual_info_score(groups, kind)) for kind in (emotion, speaker)]
    if len(np.unique(speaker)) < FEWEST_TAUGHT:
        return [*found, float("nan")]
    names = tuple(LABELS[label] for label in labels)
    examples = few_shot.Examples(rows, np.searchsorted(labels, emotion), names, speaker)
    return [*found, few_shot.cross_validate(examples).uar]


def cosines(rows: Floats) -> Floats:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    product: Floats = unit @ unit.T
    return product


if __name__ == "__main__":
    main()
