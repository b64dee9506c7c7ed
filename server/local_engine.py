"""Engines as the command line uses them: the model in this process, or on the Ray cluster of the settings."""

from __future__ import annotations

import time
from dataclasses import replace

from server.config import Config, ConfigError
from server.engine.inprocess import InProcessEngine
from server.engine.process import ProcessEngine
from stream.batching import BatchLimits
from stream.models.registry import load_model
from stream.types import EmotionModel

POLL_S = 0.05


def local_model(config: Config) -> EmotionModel:
    """The model of the settings. Raises ValueError, OSError and ImportError, which say what to do."""
    chosen = config.model
    return load_model(chosen.name, chosen.device, chosen.options, config.engine.threads)


def local_engine(config: Config) -> InProcessEngine:
    """An engine around it. Raises as `local_model` does."""
    # Nobody else's windows would join a batch: there is nothing to wait for.
    alone = replace(config.engine_settings, batching=BatchLimits(max_wait_s=0))
    return InProcessEngine(local_model(config), alone)


def cluster_engine(config: Config) -> ProcessEngine:
    """An engine whose first replica has loaded the model. Raises ConfigError, which says what to do."""
    settings = replace(config.engine_settings, kind="ray", spare=False)
    engine = ProcessEngine(settings, "WARNING", config.server.log_format)
    engine.start()
    try:
        while engine.spec is None:
            health = engine.health()
            if health.fatal:
                raise ConfigError(str(health.error))
            time.sleep(POLL_S)
    except BaseException:
        engine.close()
        raise
    return engine
