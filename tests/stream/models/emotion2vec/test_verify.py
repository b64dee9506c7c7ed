"""verify-model: the comparison with what was published, and with funasr on the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.models.emotion2vec.verify import CLIP, PUBLISHED, compare, verify
from stream.types import LABELS
from tests.stream.models.emotion2vec.conftest import sound

LARGE = "emotion2vec_plus_large"
CLIP_OF_LARGE = Path("anywhere") / CLIP


def published() -> np.ndarray:
    return np.array([PUBLISHED[LARGE][label] for label in LABELS], np.float32)


def test_the_published_scores_are_scores() -> None:
    assert set(PUBLISHED[LARGE]) == set(LABELS)
    assert published().sum() == pytest.approx(1, abs=1e-5)
    assert LABELS[published().argmax()] == "sad"


def test_the_model_itself_is_recognized() -> None:
    found = compare(published() + np.float32(0.001), LARGE, CLIP_OF_LARGE)
    assert found is not None
    assert found.holds
    assert found.apart == pytest.approx(0.001, abs=1e-6)


@pytest.mark.parametrize("kind", ["another order", "uniform", "a little off"])
def test_another_model_is_not(kind: str) -> None:
    scores = {
        "another order": published()[::-1].copy(),
        "uniform": np.full(9, 1 / 9, np.float32),
        "a little off": published() + np.float32(0.02) * np.eye(1, 9, 3, dtype=np.float32)[0],
    }[kind]
    found = compare(scores, LARGE, CLIP_OF_LARGE)
    assert found is not None
    assert not found.holds


def test_nothing_is_published_for_others() -> None:
    assert compare(published(), "emotion2vec_plus_base", CLIP_OF_LARGE) is None
    assert compare(published(), LARGE, Path("my.wav")) is None


def test_a_folder_is_compared_with_funasr(folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", sound(1.5), 16_000)
    report = verify(str(folder), tmp_path / "clip.wav", "cpu")
    assert report.holds
    assert [c.source for c in report.comparisons] == ["funasr"]
    assert report.comparisons[0].apart < 1e-4
    text = "\n".join(report.lines())
    assert "no published scores" in text
    assert "license of the weights" in text


def test_without_a_clip(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"example.test\.wav"):
        verify(str(folder), device="cpu")


def test_weights_that_claim_to_be_large_and_are_not(folder: Path, tmp_path: Path) -> None:
    """Random weights under the published name and clip: the report says no."""
    place = tmp_path / LARGE
    place.mkdir()
    for file in folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    (place / "example").mkdir()
    soundfile.write(place / CLIP, sound(1.5), 16_000)
    report = verify(str(place), device="cpu")
    assert not report.holds
    assert any(line.startswith("NO") and "published" in line for line in report.lines())
