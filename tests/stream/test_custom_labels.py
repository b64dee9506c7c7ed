"""CustomLabels labels on disk: saved without pickle, refused when damaged, and by any model but their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream import custom_labels, fingerprint
from stream.custom_labels import BadCustomLabels, CustomLabels
from stream.models.fake import FakeModel

SPEC = FakeModel().spec
RNG = np.random.default_rng(0)


def fingerprint_of_fake() -> np.ndarray:
    embedding = FakeModel().score([fingerprint.window(SPEC)])[0].embedding
    assert embedding is not None
    return embedding


def one(size: int = 2, **changes: object) -> CustomLabels:
    made = CustomLabels(
        name="moods",
        labels=("calm", "鼓舞"),
        model="fake",
        mean=RNG.normal(size=size).astype(np.float32),
        scale=np.ones(size, np.float32),
        weights=RNG.normal(size=(2, size)).astype(np.float32),
        bias=np.zeros(2, np.float32),
        fingerprint=fingerprint_of_fake(),
        figures={"uar": 0.9},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_was_saved_judges_the_same(tmp_path: Path) -> None:
    one().save(tmp_path)
    again = custom_labels.load(tmp_path)
    for _ in range(20):
        embedding = RNG.normal(size=2).astype(np.float32) * 100
        said = again.judge(embedding)
        assert set(said) == {"name", "label", "confidence", "scores"}
        assert said["label"] == max(said["scores"], key=said["scores"].get)
        assert said["confidence"] == max(said["scores"].values())
        assert sum(said["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert again.figures == {"uar": 0.9}
    assert again.labels == ("calm", "鼓舞")


def test_folders_of_the_first_version_are_read(tmp_path: Path) -> None:
    """Written here as version 0.1 wrote them: the fingerprint is called `probe`."""
    card = {"format": 1, "name": "moods", "labels": ["a", "b"], "model": "fake", "embedding_size": 2}
    (tmp_path / "card.json").write_text(json.dumps({**card, "figures": {}}))
    ones = np.ones(2, np.float32)
    np.savez(
        tmp_path / "weights.npz",
        mean=ones,
        scale=ones,
        weights=np.ones((2, 2), np.float32),
        bias=ones,
        probe=fingerprint_of_fake(),
    )
    assert custom_labels.load(tmp_path).refusal(SPEC, fingerprint_of_fake()) is None


def test_another_model_other_sizes_and_other_weights_are_refused() -> None:
    made = one()
    assert made.refusal(SPEC, fingerprint_of_fake()) is None
    assert "not to other" in str(made.refusal(replace(SPEC, name="other"), fingerprint_of_fake()))
    assert "2 numbers" in str(made.refusal(replace(SPEC, embedding_size=7), fingerprint_of_fake()))
    assert "other weights" in str(made.refusal(SPEC, -fingerprint_of_fake()))
    assert "other weights" in str(made.refusal(SPEC, None))


def test_a_folder_without_labels_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadCustomLabels, match="no custom labels there"):
        custom_labels.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 9},
        {"labels": ["a"]},
        {"labels": ["a", "a"]},
        {"labels": "ab"},
        {"embedding_size": 3},
        {"embedding_size": 10**9},
        {"name": ""},
        {"figures": 1},
    ],
)
def test_a_card_that_does_not_fit_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    one().save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(BadCustomLabels):
        custom_labels.load(tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object(), 1], object),
        np.array([1.0, np.nan], np.float32),
        np.ones(2),
        np.zeros(2, np.float32),
        np.ones(10**6, np.float32),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    made = one()
    made.save(tmp_path)
    arrays = {name: getattr(made, name) for name in ("mean", "weights", "bias")}
    np.savez(tmp_path / "weights.npz", **arrays, probe=made.fingerprint, scale=array)
    with pytest.raises(BadCustomLabels):
        custom_labels.load(tmp_path)


def test_every_damaged_archive_is_refused_or_read(tmp_path: Path) -> None:
    one().save(tmp_path)
    data = (tmp_path / "weights.npz").read_bytes()
    for at in range(0, len(data), 37):
        (tmp_path / "weights.npz").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            custom_labels.load(tmp_path)
        except BadCustomLabels as wrong:
            assert str(wrong)
