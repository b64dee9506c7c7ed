"""Taught labels where a model is at work: loaded from the settings, refused with another model."""

from __future__ import annotations

import threading
from pathlib import Path

from server.config import Config, ConfigError, FileSettings
from server.engine import Busy, Engine, Timing
from server.paths import HOME
from stream import probe, taught
from stream.taught import Taught
from stream.types import Answer, EmotionModel, Floats, FrameScores, Window


def load(config: Config | FileSettings) -> Taught | None:
    """The labels that `model.taught` names, if any. Raises ConfigError."""
    if not config.model.taught:
        return None
    try:
        return taught.load(HOME / Path(config.model.taught).expanduser())
    except taught.BadTaught as wrong:
        raise ConfigError(f"model.taught: {wrong}") from None


def check(labels: Taught, engine: Engine, patience_s: float) -> None:
    """Raises ConfigError when the labels belong to another model than the engine's, which has loaded."""
    spec = engine.spec
    assert spec is not None
    refusal = labels.refusal(spec, ask(engine, patience_s))
    if refusal:
        raise ConfigError(f"model.taught: {refusal}")


def ask(engine: Engine, patience_s: float) -> Floats | None:
    """What the engine's model says of the probe; None when it gives no embedding, or none in time."""
    spec = engine.spec
    assert spec is not None
    answers: list[Answer] = []
    told = threading.Event()

    def reply(window: Window, answer: Answer, timing: Timing) -> None:
        answers.append(answer)
        told.set()

    try:
        engine.submit(probe.window(spec), reply)
    except Busy:
        return None
    told.wait(patience_s)
    return answers[0].embedding if answers and isinstance(answers[0], FrameScores) else None


def ask_model(model: EmotionModel) -> Floats | None:
    """The same of a model in this process."""
    return model.score([probe.window(model.spec)])[0].embedding
