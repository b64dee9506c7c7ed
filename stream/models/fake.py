"""A model computable by hand: for tests of everything around a model, and for nothing else.

Frame t's logits are set by the level of frame t and by how many frames the session has scored so far, so
that a test can tell lost, repeated, reordered and misplaced frames apart. Its state is that count.
"""

from __future__ import annotations

import numpy as np

from stream.types import FRAME, HOP, IMPOSSIBLE, N_LABELS, FrameScores, ModelSpec, Window


class FakeModel:
    """angry = 10 * RMS of the frame; neutral = sin of the frame's running number; the rest impossible.

    The embedding is (mean of the frames' RMS, 1).
    """

    def __init__(self, hop_frames: int = 10) -> None:
        self.spec = ModelSpec(
            name="fake",
            device="cpu",
            dtype="float32",
            hop_frames=hop_frames,
            lookahead_frames=0,
            state_size=1,
            supported_labels=("angry", "neutral"),
            embedding_size=2,
            runtime="numpy",
            heartbeat_timeout_s=5.0,
        )

    def score(self, windows: list[Window]) -> list[FrameScores]:
        return [self._one(window) for window in windows]

    def _one(self, window: Window) -> FrameScores:
        done = 0 if window.state is None else int(window.state[0])
        frames = np.lib.stride_tricks.sliding_window_view(window.samples, FRAME)[::HOP]
        logits = np.full((window.n_frames, N_LABELS), IMPOSSIBLE, np.float32)
        level = np.sqrt(np.mean(frames * frames, axis=1))
        logits[:, 0] = 10 * level
        logits[:, 4] = np.sin(np.arange(done, done + window.n_frames))
        return FrameScores(
            logits=logits,
            weights=np.ones(window.n_frames, np.float32),
            state=np.array([done + window.n_frames], np.float32),
            embedding=np.array([level.mean(), 1], np.float32) if window.embed else None,
        )
