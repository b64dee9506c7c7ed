"""Likeness: the nearest come first, and groups that are there are found."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from tests.tools.conftest import Make, embeddings
from tools import cluster, pictures, similar
from tools.vectors import vectors


def test_the_nearest_are_of_its_kind_and_the_common_part_can_be_taken_away(make: Make) -> None:
    held = vectors(make(40))
    query = embeddings(1, seed=5)[0]  # of the first kind
    plain, centered = (similar.nearest(query, held, 40, center) for center in (False, True))
    assert {m.record.emotion for m in centered[:10]} == {"angry"}
    assert plain[-1].cosine > 0.5 > centered[-1].cosine
    itself = similar.nearest(held.rows[6], held, 1)[0]
    assert (itself.record.name, itself.cosine) == ("outputs_0006", pytest.approx(1))
    assert similar.as_csv(plain[:1]).splitlines()[1].startswith("1,outputs_")


def test_what_cannot_be_compared_is_refused(make: Make) -> None:
    held = vectors(make(2))
    with pytest.raises(ValueError, match="different models"):
        similar.nearest(np.ones(5, np.float32), held, 1)
    with pytest.raises(ValueError, match="three recordings"):
        similar.nearest(held.rows[0], held, 1, center=True)


METHODS = ["pca", pytest.param("umap", marks=pytest.mark.slow)]


@pytest.mark.parametrize("method", METHODS)
def test_groups_are_found_and_found_again(method: str, make: Make) -> None:
    if method == "umap" and find_spec("umap") is None:
        pytest.skip("umap-learn is not installed")
    held = vectors(make(60))
    made, again = (cluster.cluster(held.rows, method) for _ in range(2))  # type: ignore[arg-type]
    assert made.n == 4 and not made.loose
    kinds = [set(made.labels[i::4].tolist()) for i in range(4)]
    assert all(len(kind) == 1 for kind in kinds) and len(set.union(*kinds)) == 4
    assert np.array_equal(made.labels, again.labels) and np.array_equal(made.places, again.places)
    assert pictures.png(cluster.draw(made, held))[:4] == b"\x89PNG"
    assert len(cluster.csv(cluster.as_data(made, held)).splitlines()) == 61


def test_a_crowd_without_groups_is_called_loose() -> None:
    rows = np.random.default_rng(3).normal(size=(80, 60)).astype(np.float32)
    assert cluster.cluster(rows, "pca").loose


def test_odd_folders_do_not_break_it() -> None:
    same = np.tile(embeddings(1), (6, 1))
    assert cluster.cluster(same, "pca").n == 1
    with pytest.raises(ValueError, match="only 1 different"):
        cluster.cluster(np.tile(embeddings(1), (6, 1)), "pca", k=3)
    with pytest.raises(ValueError, match="5 recordings"):
        cluster.cluster(same[:4])
    with pytest.raises(ValueError, match="2 to 5 groups"):
        cluster.cluster(same, k=9)
    assert set(cluster.cluster(embeddings(12), "pca", k=2).labels.tolist()) == {0, 1}
