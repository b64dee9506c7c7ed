"""Sounds like voices, and spans of them scored window by window as a session would cut them."""

from __future__ import annotations

import numpy as np

from stream.types import HOP, SAMPLE_RATE, EmotionModel, Floats, FrameScores, Window, samples_for, softmax

N_FRAMES = 187  # of a span: neither a multiple of 10 nor of 5


def voice(seed: int, seconds: float = 3.0) -> Floats:
    """Something like speech: a gliding buzz through changing resonances, syllables, pauses and hiss."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    f0 = rng.uniform(90, 260) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * t))
    phase = 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k * (1 + np.sin(k * t * 3)) for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2, 5) * t + rng.uniform(0, 6)), 0, 1)
    x = 0.05 * buzz * syllables + 0.002 * rng.standard_normal(len(t))
    return np.asarray(x, np.float32)


def window(x: Floats, first: int, n: int, state: Floats | None, start: bool) -> Window:
    samples = np.ascontiguousarray(x[first * HOP : first * HOP + samples_for(n)])
    return Window("test", first, n, start, samples, state)


def play(model: EmotionModel, x: Floats, cuts: list[int], state: Floats | None = None) -> FrameScores:
    """Frames of x, cut as `cuts` says (lengths), as one span; the scores put together."""
    first, logits, weights = 0, [], []
    for n in cuts:
        scores = model.score([window(x, first, n, state, first == 0)])[0]
        state, first = scores.state, first + n
        logits.append(scores.logits)
        weights.append(scores.weights)
    return FrameScores(np.concatenate(logits), np.concatenate(weights), state)


def random_cuts(seed: int, n_frames: int = N_FRAMES) -> list[int]:
    rng = np.random.default_rng(seed)
    cuts: list[int] = []
    while (left := n_frames - sum(cuts)) > 0:
        cuts.append(min(left, int(rng.choice([10, 20, 40, 80]))))
    return cuts


def assert_same(one: FrameScores, other: FrameScores) -> None:
    np.testing.assert_allclose(softmax(one.logits), softmax(other.logits), atol=1e-5)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)
