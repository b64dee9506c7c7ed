"""Custom labels where a model is at work: loaded from the settings, refused with another model."""

from __future__ import annotations

import threading
from pathlib import Path

from server.config import Config, ConfigError, FileSettings
from server.engine import Busy, Engine, Timing
from server.paths import HOME
from stream import custom_labels, fingerprint
from stream.custom_labels import CustomLabels
from stream.types import Answer, EmotionModel, Floats, FrameScores, Window


def load(config: Config | FileSettings) -> CustomLabels | None:
    """The labels that `model.custom_labels` names, if any. Raises ConfigError."""
    if not config.model.custom_labels:
        return None
    try:
        return custom_labels.load(HOME / Path(config.model.custom_labels).expanduser())
    except custom_labels.BadCustomLabels as wrong:
        raise ConfigError(f"model.custom_labels: {wrong}") from None


def check(labels: CustomLabels, engine: Engine, timeout_s: float) -> None:
    """Raises ConfigError when the labels belong to another model than the engine's, which has loaded."""
    spec = engine.spec
    assert spec is not None
    refusal = labels.refusal(spec, fingerprint_of(engine, timeout_s))
    if refusal:
        raise ConfigError(f"model.custom_labels: {refusal}")


def fingerprint_of(engine: Engine, timeout_s: float) -> Floats | None:
    """The fingerprint of the engine's model; None when it gives no embedding, or none in time."""
    spec = engine.spec
    assert spec is not None
    answers: list[Answer] = []
    answered = threading.Event()

    def reply(window: Window, answer: Answer, timing: Timing) -> None:
        answers.append(answer)
        answered.set()

    try:
        engine.submit(fingerprint.window(spec), reply)
    except Busy:
        return None
    answered.wait(timeout_s)
    return answers[0].embedding if answers and isinstance(answers[0], FrameScores) else None


def fingerprint_of_model(model: EmotionModel) -> Floats | None:
    """The same of a model in this process."""
    return model.score([fingerprint.window(model.spec)])[0].embedding
