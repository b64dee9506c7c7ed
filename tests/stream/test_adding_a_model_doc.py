"""The model and the tests of docs/adding-a-model.md are run as they stand, and the tests there can fail."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from server.engine import EngineSettings, Timing
from server.engine.inprocess import InProcessEngine
from stream.types import Answer, FrameScores, ModelSpec, Window
from tests.conftest import ROOT
from tests.stream.voices import voice, window

PAGE = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")


@pytest.fixture
def page() -> dict[str, Any]:
    """What the page's code defines."""
    names: dict[str, Any] = {"__name__": "adding_a_model"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/adding-a-model.md", "exec"), names)
    return names


def promises_of(page: dict[str, Any]) -> list[Callable[[], None]]:
    return [value for name, value in page.items() if name.startswith("test_")]


def test_the_model_of_the_page_keeps_the_promises_of_the_page(page: dict[str, Any]) -> None:
    assert len(promises_of(page)) == 3
    for test in promises_of(page):
        test()


def test_a_model_without_memory_breaks_them(page: dict[str, Any]) -> None:
    louder: Any = page["Louder"]

    class Forgetful(louder):
        def _one(self, window: Window) -> FrameScores:
            found = super()._one(window)
            return FrameScores(found.logits, found.weights, None)

    page["Louder"] = Forgetful
    with pytest.raises(AssertionError):
        page["test_how_a_span_is_cut_does_not_matter"]()
    with pytest.raises(AssertionError):
        page["test_a_stream_scores_as_its_recording"]()


def test_a_model_that_looks_at_its_neighbors_breaks_them(page: dict[str, Any]) -> None:
    louder: Any = page["Louder"]

    class Curious(louder):
        def score(self, windows: list[Window]) -> list[FrameScores]:
            shift = np.float32(0.01 * len(windows))
            plain = super().score(windows)
            return [FrameScores(s.logits * (1 + shift), s.weights, s.state) for s in plain]

    page["Louder"] = Curious
    with pytest.raises(AssertionError):
        page["test_batch_mates_do_not_matter"]()


def test_an_engine_serves_it(page: dict[str, Any]) -> None:
    engine = InProcessEngine(page["Louder"](), EngineSettings())
    answers: list[Answer] = []
    answered = threading.Event()

    def reply(_: Window, answer: Answer, timing: Timing) -> None:
        answers.append(answer)
        answered.set()

    try:
        engine.submit(window(voice(1), 0, 10, None, True), reply)
        assert answered.wait(30)
    finally:
        engine.close()
    assert isinstance(answers[0], FrameScores) and answers[0].logits.shape == (10, 9)


def test_every_field_that_a_model_may_give_is_on_the_page() -> None:
    table = PAGE[PAGE.index("| field |") : PAGE.index("Two attributes")]
    optional = set(re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines() if row)))
    always = {"name", "device", "dtype", "hop_frames", "lookahead_frames", "state_size"}
    assert optional | always == {field.name for field in fields(ModelSpec)}
    assert all(f"{name}=" in PAGE for name in always)
