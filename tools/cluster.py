"""Groups of recordings that sound alike, found without being told what to look for.

UMAP and HDBSCAN where umap-learn is installed and there are enough recordings; else PCA and k-means, with the
number of groups that separates best. Both see the principal components. Everything random is seeded: the same
folder gives the same groups. Of very many recordings some are laid out, and the others join those nearest to them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from server.language import Language
from stream.types import LABELS, Floats, JsonDict
from tools import pictures
from tools.matrix import Progress, quiet
from tools.output import table
from tools.projection import principal
from tools.threads import one_thread
from tools.vectors import Vectors, blocks
from tools.words import emotion_name, method_name, t

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method = Literal["auto", "umap", "pca"]
Integers = npt.NDArray[np.int64]
Distances = npt.NDArray[np.float64]

FEWEST = 5  # recordings
ENOUGH_FOR_UMAP = 40  # its neighborhoods mean little in smaller crowds
MOST_GROUPS = 12  # that are tried
LOOSE = 0.15  # a silhouette below this: groups that run into each other
LAID_OUT = 20_000  # recordings; of more, that many drawn at random
TRIED = 5_000  # recordings by which the number of groups is chosen
DIMENSIONS = 50  # principal components that UMAP sees
NEAR = 15  # neighbors of each
JOINED = 3  # neighbors whose mean place is taken by a recording that was not laid out


@dataclass(frozen=True, eq=False)
class Clusters:
    method: str  # in words
    labels: Integers  # (n,): 0, 1, … by size; -1: in no group
    places: Floats  # (n, 2), for the picture
    silhouette: float  # -1 to 1: how well they separate; NaN with fewer than two groups
    laid_out: int  # recordings that were; the others joined them

    @property
    def n(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def loose(self) -> bool:
        return not self.silhouette >= LOOSE


def cluster(
    rows: Floats,
    method: Method = "auto",
    k: int | None = None,
    seed: int = 0,
    sample: int = LAID_OUT,
    progress: Progress = quiet,
) -> Clusters:
    """Groups of embeddings `rows` (n, size); `k`: so many, by k-means; `sample`: so many are laid out, 0: all.

    Raises ValueError, and pictures.Missing.
    """
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
    with one_thread():
        return _cluster(rows, method, k, seed, sample, progress)


def _cluster(
    rows: Floats, method: Method, k: int | None, seed: int, sample: int, progress: Progress
) -> Clusters:
    progress("projecting", 0, 1)
    space = principal(rows, min(DIMENSIONS if method == "umap" else 10, len(rows) - 1, rows.shape[1]))
    lay_out = _by_umap if method == "umap" else _by_pca
    if not 0 < sample < len(space):
        return lay_out(space, k, seed, progress)
    if sample < (ENOUGH_FOR_UMAP if method == "umap" else FEWEST) or (k is not None and sample <= k):
        raise ValueError(f"--sample {sample} is too few to find groups in")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(space))[:sample])
    part = space[drawn]
    found = lay_out(part, k, seed, progress)
    at, _ = _neighbors(part, space, JOINED, progress)
    labels, places = found.labels[at[:, 0]], found.places[at].mean(axis=1)
    labels[drawn], places[drawn] = found.labels, found.places
    return replace(found, labels=_by_size(labels), places=places)


def as_data(found: Clusters, vectors: Vectors) -> JsonDict:
    """A map of the recordings: what is told of each is a list, in the same order; group -1: in none."""
    map_: JsonDict = {
        "model": vectors.model,
        "method": found.method,
        "groups": found.n,
        "loose": found.loose,
        "laid_out": found.laid_out,
        "x": [round(float(x), 4) for x in found.places[:, 0]],
        "y": [round(float(y), 4) for y in found.places[:, 1]],
        "group": found.labels.tolist(),
    }
    for name in ("id", "name", "emotion", "confidence", "duration_s", "scored"):
        map_[name] = []
    for record in vectors.records:
        map_["id"].append(record.id)
        map_["name"].append(record.name)
        map_["emotion"].append(record.emotion)
        map_["confidence"].append(round(record.confidence, 6))
        map_["duration_s"].append(record.duration_s)
        map_["scored"].append(record.scored.isoformat())
    return map_


def csv(map_: JsonDict) -> str:
    """A row per recording of `as_data`."""
    names = ("name", "group", "x", "y", "emotion", "confidence", "duration_s")
    columns = dict(zip(names, (map_[name] for name in names), strict=True))
    columns["group"] = ["none" if group < 0 else group for group in map_["group"]]
    return table(
        [*("cluster" if n == "group" else n for n in names), "id"],
        zip(*columns.values(), map_["id"], strict=True),
    )


def draw(found: Clusters, vectors: Vectors, language: Language = "en") -> Figure:
    """The same points twice: by group, and by emotion. Raises pictures.Missing."""
    with pictures.fonts(language):
        figure, (by_group, by_emotion) = pictures.sheet(12, 5.6, columns=2)
        for label in range(-1, found.n):
            held = found.labels == label
            name = t(language, "none") if label < 0 else t(language, "group", n=label)
            _points(by_group, found.places[held], pictures.group_color(label), f"{name} ({held.sum()})")
        emotions = np.array([LABELS.index(record.emotion) for record in vectors.records])
        for i in sorted(set(emotions.tolist())):
            held = emotions == i
            name = f"{emotion_name(language, LABELS[i])} ({held.sum()})"
            _points(by_emotion, found.places[held], pictures.of_emotions()[i], name)
        heads = t(language, "groups", method=method_name(language, found.method)), t(language, "by_emotion")
        for ax, text in zip((by_group, by_emotion), heads, strict=True):
            pictures.title(ax, text)
            ax.set_xticks([])
            ax.set_yticks([])
            pictures.legend(ax, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=3)
    return figure


def _points(ax: Axes, places: Floats, color: str, name: str) -> None:
    if len(places):
        edge = pictures.colors()["card"]
        size, line = (34, 0.6) if len(places) < 1000 else (4, 0.0)
        ax.scatter(
            places[:, 0], places[:, 1], s=size, color=color, edgecolors=edge, linewidths=line, label=name
        )


def _by_pca(space: Floats, k: int | None, seed: int, progress: Progress) -> Clusters:
    labels, silhouette = _k_means(space, k, seed, progress)
    flat = np.zeros((len(space), 2), np.float32)
    flat[:, : space.shape[1]] = space[:, :2]
    return Clusters("PCA and k-means", labels, flat, silhouette, len(space))


def _by_umap(space: Floats, k: int | None, seed: int, progress: Progress) -> Clusters:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it could do with Tensorflow
        from umap import UMAP

    near = min(NEAR, len(space) - 1)
    # Exact, and without the minute in which UMAP's own approximation is compiled.
    neighbors = _neighbors(space, space, near, progress)
    options = {"n_neighbors": near, "precomputed_knn": neighbors, "force_approximation_algorithm": True}
    options |= {
        "init": "pca",
        "random_state": seed,
        "n_jobs": 1,
    }  # of the others none is both fast and repeatable
    laid: list[Floats] = []
    for size, spread in ((min(5, len(space) - 2), 0.0), (2, 0.1)):
        progress("laying out", len(laid), 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about one thread, and about neighbors that were given
            laid.append(UMAP(n_components=size, min_dist=spread, **options).fit_transform(space))
    deep, flat = laid
    if k is not None:
        labels, silhouette = _k_means(deep, k, seed, progress)
        return Clusters("UMAP and k-means", labels, flat.astype(np.float32), silhouette, len(space))
    from sklearn.cluster import HDBSCAN

    progress("grouping", 0, 1)
    smallest = max(5, len(space) // 40)
    labels = _by_size(HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(deep))
    inside = labels >= 0
    silhouette = _silhouette(deep[inside], labels[inside])
    return Clusters("UMAP and HDBSCAN", labels, flat.astype(np.float32), silhouette, len(space))


def _neighbors(among: Floats, of: Floats, n: int, progress: Progress) -> tuple[Integers, Distances]:
    """The `n` of `among` that are nearest to each of `of`, and how far they are: (len(of), n) each."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=n, algorithm="brute").fit(among)
    at, far = np.empty((len(of), n), np.int64), np.empty((len(of), n))
    for start, block in blocks(of):
        progress("comparing", start, len(of))
        end = start + len(block)
        far[start:end], at[start:end] = search.kneighbors(block)
    return at, far


def _k_means(space: Floats, k: int | None, seed: int, progress: Progress) -> tuple[Integers, float]:
    """With `k` groups, or as many as separate best."""
    from sklearn.cluster import KMeans

    different = len(np.unique(space.round(6), axis=0))
    if k is not None and different < k:
        raise ValueError(f"-k: there are only {different} different embeddings")
    if different < 2:
        return np.zeros(len(space), np.int64), float("nan")
    if k is None and len(space) > TRIED:
        drawn = np.random.default_rng(seed).permutation(len(space))[:TRIED]
        k = int(_k_means(space[drawn], None, seed, progress)[0].max()) + 1
    tried = [k] if k is not None else range(2, min(MOST_GROUPS, len(space) - 1) + 1)
    best: tuple[Integers, float] | None = None
    for n in tried:
        if n > different:
            break
        progress("grouping", n - tried[0], len(tried))
        labels = KMeans(n, n_init=10, random_state=seed).fit_predict(space)
        silhouette = _silhouette(space, labels)
        if best is None or silhouette > best[1]:
            best = labels, silhouette
    assert best is not None, "two groups can be made of two different embeddings"
    return _by_size(best[0]), best[1]


def _silhouette(space: Floats, labels: Integers) -> float:
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
