"""Groups of recordings that sound alike, found without being told what to look for.

UMAP and HDBSCAN where umap-learn is installed and there are enough recordings; else PCA and k-means, with the
number of groups that separates best. Everything random is seeded: the same folder gives the same groups.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from stream.types import LABELS, Floats
from tools import pictures
from tools.folder import Vectors
from tools.output import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method = Literal["auto", "umap", "pca"]
Integers = npt.NDArray[np.int64]

FEWEST = 5  # recordings
ENOUGH_FOR_UMAP = 40  # its neighborhoods mean little in smaller crowds
MOST_GROUPS = 12  # that are tried
LOOSE = 0.15  # a silhouette below this: groups that run into each other


@dataclass(frozen=True, eq=False)
class Clusters:
    method: str  # in words
    labels: Integers  # (n,): 0, 1, … by size; -1: in no group
    places: Floats  # (n, 2), for the picture
    silhouette: float  # -1 to 1: how well they separate; NaN with fewer than two groups

    @property
    def n(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def loose(self) -> bool:
        return not self.silhouette >= LOOSE


def cluster(rows: Floats, method: Method = "auto", k: int | None = None, seed: int = 0) -> Clusters:
    """Groups of embeddings `rows` (n, size); `k`: so many, by k-means. Raises ValueError, and pictures.Missing."""
    if len(rows) < FEWEST:
        raise ValueError(f"Groups need {FEWEST} recordings with embeddings or more; there are {len(rows)}")
    if k is not None and not 2 <= k < len(rows):
        raise ValueError(f"-k: 2 to {len(rows) - 1} groups can be made of {len(rows)} recordings")
    if find_spec("sklearn") is None:
        raise pictures.missing("Clustering", "scikit-learn")
    umap_there = find_spec("umap") is not None
    if method == "umap" and not umap_there:
        raise pictures.Missing(
            "UMAP is not installed: .venv/bin/python -m pip install umap-learn; or --method pca"
        )
    if method == "umap" and len(rows) < 15:
        raise ValueError(f"UMAP needs 15 recordings or more, and there are {len(rows)}: --method pca")
    if method == "auto":
        method = "umap" if umap_there and len(rows) >= ENOUGH_FOR_UMAP else "pca"
    # Directions, without the part that all share: the same likeness as `similar --center`.
    spread = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(spread, axis=1, keepdims=True)
    spread = np.divide(spread, lengths, out=np.zeros_like(spread), where=lengths > 0)
    return _by_umap(spread, k, seed) if method == "umap" else _by_pca(spread, k, seed)


def csv(found: Clusters, vectors: Vectors) -> str:
    """A row per recording."""
    rows = [
        [
            r.name,
            label if label >= 0 else "none",
            f"{x:.6g}",
            f"{y:.6g}",
            r.emotion,
            f"{r.confidence:.6f}",
            r.duration_s,
        ]
        for r, label, (x, y) in zip(
            vectors.records, found.labels.tolist(), found.places.tolist(), strict=True
        )
    ]
    return table(["name", "cluster", "x", "y", "emotion", "confidence", "duration_s"], rows)


def draw(found: Clusters, vectors: Vectors) -> Figure:
    """The same points twice: by group, and by emotion."""
    figure, (by_group, by_emotion) = pictures.sheet(12, 5.6, columns=2)
    for label in range(-1, found.n):
        held = found.labels == label
        name = "in no group" if label < 0 else f"group {label}"
        _points(by_group, found.places[held], pictures.group_color(label), f"{name} ({held.sum()})")
    emotions = np.array([LABELS.index(record.emotion) for record in vectors.records])
    for i in sorted(set(emotions.tolist())):
        held = emotions == i
        _points(by_emotion, found.places[held], pictures.of_emotions()[i], f"{LABELS[i]} ({held.sum()})")
    for ax, text in ((by_group, f"Groups: {found.method}"), (by_emotion, "The same recordings by emotion")):
        pictures.title(ax, text)
        ax.set_xticks([])
        ax.set_yticks([])
        pictures.legend(ax, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3)
    return figure


def _points(ax: Axes, places: Floats, color: str, name: str) -> None:
    if len(places):
        edge = pictures.colors()["card"]
        ax.scatter(places[:, 0], places[:, 1], s=34, color=color, edgecolors=edge, linewidths=0.6, label=name)


def _by_pca(spread: npt.NDArray[np.float64], k: int | None, seed: int) -> Clusters:
    from sklearn.decomposition import PCA

    size = min(10, len(spread) - 1, spread.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of recordings that are all the same
        space = PCA(size, svd_solver="full").fit_transform(spread)
    labels, silhouette = _k_means(space, k, seed)
    flat = np.zeros((len(space), 2))
    flat[:, : min(2, size)] = space[:, :2]
    return Clusters("PCA and k-means", labels, flat.astype(np.float32), silhouette)


def _by_umap(spread: npt.NDArray[np.float64], k: int | None, seed: int) -> Clusters:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about one thread, which is what makes it repeatable
        from umap import UMAP

        near = min(15, len(spread) - 1)
        size = min(5, len(spread) - 2)
        options = {"n_neighbors": near, "metric": "cosine", "random_state": seed, "n_jobs": 1}
        space = UMAP(n_components=size, min_dist=0.0, **options).fit_transform(spread)
        flat = UMAP(n_components=2, min_dist=0.1, **options).fit_transform(spread)
    if k is not None:
        labels, silhouette = _k_means(space, k, seed)
        return Clusters("UMAP and k-means", labels, flat.astype(np.float32), silhouette)
    from sklearn.cluster import HDBSCAN

    smallest = max(5, len(spread) // 40)
    labels = _by_size(HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(space))
    inside = labels >= 0
    return Clusters(
        "UMAP and HDBSCAN", labels, flat.astype(np.float32), _silhouette(space[inside], labels[inside])
    )


def _k_means(space: npt.NDArray[np.float64], k: int | None, seed: int) -> tuple[Integers, float]:
    """With `k` groups, or as many as separate best."""
    from sklearn.cluster import KMeans

    different = len(np.unique(space.round(6), axis=0))
    if k is not None and different < k:
        raise ValueError(f"-k: there are only {different} different embeddings")
    if different < 2:
        return np.zeros(len(space), np.int64), float("nan")
    tried = [k] if k is not None else range(2, min(MOST_GROUPS, len(space) - 1) + 1)
    best: tuple[Integers, float] | None = None
    for n in tried:
        if n > different:
            break
        labels = KMeans(n, n_init=10, random_state=seed).fit_predict(space)
        silhouette = _silhouette(space, labels)
        if best is None or silhouette > best[1]:
            best = labels, silhouette
    assert best is not None, "two groups can be made of two different embeddings"
    return _by_size(best[0]), best[1]


def _silhouette(space: npt.NDArray[np.float64], labels: Integers) -> float:
    from sklearn.metrics import silhouette_score

    if not 2 <= len(set(labels.tolist())) < len(labels):
        return float("nan")
    return float(silhouette_score(space, labels, sample_size=min(len(labels), 2000), random_state=0))


def _by_size(labels: Integers) -> Integers:
    """Renumbered: 0 is the largest; -1 stays."""
    names, first, counts = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    new = {int(names[old]): at for at, old in enumerate(order)}
    return np.array([new.get(int(label), -1) for label in labels], np.int64)
