"""Models by name."""

from __future__ import annotations

import pytest

from stream.models import emotion2vec
from stream.models.fake import FakeModel
from stream.models.registry import ABOUT, load_model


def test_a_name_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"'emotion3vec'.*compact.*fake"):
        load_model("emotion3vec")


def test_every_model_can_be_told_about() -> None:
    assert set(ABOUT) == {"compact", "fake", *emotion2vec.NAMES}
    assert all(ABOUT.values())


def test_the_fake_is_loaded_by_its_name() -> None:
    assert isinstance(load_model("fake", "cpu"), FakeModel)
