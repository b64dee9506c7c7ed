"""The model in this process, as the command line uses it: no child, no batch mates to wait for."""

from __future__ import annotations

from dataclasses import replace

from server.config import Config
from server.engine.inprocess import InProcessEngine
from stream.batching import BatchLimits
from stream.models.registry import load_model
from stream.types import EmotionModel


def local_model(config: Config) -> EmotionModel:
    """The model of the settings. Raises ValueError, OSError and ImportError, which say what to do."""
    chosen = config.model
    return load_model(chosen.name, chosen.device, chosen.options, config.engine.threads)


def local_engine(config: Config) -> InProcessEngine:
    """An engine around it. Raises as `local_model` does."""
    # Nobody else's windows would join a batch: there is nothing to wait for.
    alone = replace(config.engine_settings, batching=BatchLimits(max_wait_s=0))
    return InProcessEngine(local_model(config), alone)
