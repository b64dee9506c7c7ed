"""What compact's adapters have in common, whatever runtime they compute with: windows to arrays."""

from __future__ import annotations

import numpy as np

from stream.models.compact.calibration import Calibration
from stream.models.compact.sizes import GROUP, Embedding, NetConfig
from stream.types import Floats, ModelSpec, Window

HOP_FRAMES = GROUP
LOOKAHEAD_FRAMES = HOP_FRAMES - 1  # ten frames are scored at once, and the first of them waits for the last


def spec_of(
    config: NetConfig, device: str, dtype: str, calibration: Calibration, runtime: str, embedding: Embedding
) -> ModelSpec:
    """What compact says of itself."""
    return ModelSpec(
        name="compact",
        device=device,
        dtype=dtype,
        hop_frames=HOP_FRAMES,
        lookahead_frames=LOOKAHEAD_FRAMES,
        state_size=config.state_size,
        supported_labels=calibration.supported_labels,
        embedding_size=config.embedding_size(embedding),
        mixed_frames=HOP_FRAMES,
        heartbeat_timeout_s=5.0,  # a full batch takes a tenth of a second
        runtime=runtime,
        prior=calibration.prior,
    )


def samples_of(windows: list[Window]) -> Floats:
    """One row per window (B, N), silence behind the shorter ones."""
    samples = np.zeros((len(windows), max(len(window.samples) for window in windows)), np.float32)
    for row, window in zip(samples, windows, strict=True):
        row[: len(window.samples)] = window.samples
    return samples


def states_of(windows: list[Window], config: NetConfig) -> Floats:
    """One row per window (B, state_size): zeros without any audio yet, no caches where a span starts."""
    slow_size, state_size = config.slow_size, config.state_size
    states = np.zeros((len(windows), state_size), np.float32)
    for row, window in zip(states, windows, strict=True):
        if window.state is not None:
            kept = slow_size if window.starts_span else state_size
            row[:kept] = window.state[:kept]
    return states
