"""What an embedding says by itself, in NumPy: as `CompactNet` does, for the runtime that has no torch."""

from __future__ import annotations

import math

import numpy as np

from stream.models.compact.sizes import DEVIATION_FLOOR, EMBEDDED_STEPS, STEPS_PER_S, Embedding, NetConfig
from stream.types import N_LABELS, Floats

NEEDED = (
    *("stats_mean", "stats_scale", "heads.first.weight", "heads.first.bias"),
    *("heads.second", "heads.second_bias", "heads.third", "heads.third_bias"),
)


def classify(embedding: Floats, kind: Embedding, config: NetConfig, arrays: dict[str, Floats]) -> Floats:
    """embedding of a kind -> logits (N_LABELS,); `arrays`: those in NEEDED."""
    if kind == "voice":
        embedding = _hidden(embedding, config, arrays)
    rows = embedding.reshape(config.n_heads, 1, -1)
    logits: Floats = (rows @ arrays["heads.third"] + arrays["heads.third_bias"]).mean(0)[0, :N_LABELS]
    return logits


def _hidden(embedding: Floats, config: NetConfig, arrays: dict[str, Floats]) -> Floats:
    """An embedding of a voice (voice_size,) -> what the heads' last layer reads of it (n_heads, 1, narrow)."""
    mean, log_deviation = np.split(embedding, 2)
    variance = np.square(np.exp(log_deviation) - DEVIATION_FLOOR)
    recent, lasting = (
        sum(math.exp(-step / time_constant) for step in range(EMBEDDED_STEPS))
        for time_constant in (config.recent_steps, config.session_steps)
    )
    weight = config.prior_steps + lasting
    session_mean = lasting * mean / weight
    spread = (config.prior_steps + lasting * (variance + np.square(mean))) / weight - np.square(session_mean)
    deviation = np.sqrt(np.maximum(variance, 1e-2)) + DEVIATION_FLOOR
    distance = (mean - session_mean) / np.sqrt(np.maximum(spread, 0.05))
    stats = np.concatenate([mean, np.log(deviation), distance, [math.log(recent / STEPS_PER_S)]])
    x = (stats.astype(np.float32) - arrays["stats_mean"]) * arrays["stats_scale"]
    x = _silu(arrays["heads.first.weight"] @ x + arrays["heads.first.bias"]).reshape(config.n_heads, 1, -1)
    return _silu(x @ arrays["heads.second"] + arrays["heads.second_bias"])


def _silu(x: Floats) -> Floats:
    y: Floats = x / (1 + np.exp(-x))
    return y
