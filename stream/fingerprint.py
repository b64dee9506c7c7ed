"""A model's fingerprint: what it makes of a fixed sound, which tells its weights from others of the same name.

It is an embedding; `text` is its short form, which results carry: on which side of fixed planes it lies.
"""

from __future__ import annotations

import numpy as np

from stream.types import SAMPLE_RATE, Floats, ModelSpec, Window, samples_for

# Other precisions and devices give the same weights at least 0.999 here; other weights a different direction.
SAME = 0.99
BITS = 128  # of the short form
# The embedded model's is the same, or differs in one bit, in any precision and runtime; weights that were each
# changed by 3 % differ in 9 bits, unrelated ones in half of all.
NEAR = 8


def window(spec: ModelSpec) -> Window:
    """One hop of a buzz with formants that move: not speech, but nothing a model would take for silence.

    The embedding that the model answers with, float32 (spec.embedding_size,), is its fingerprint.
    """
    n = samples_for(spec.hop_frames)
    t = np.arange(n) / SAMPLE_RATE
    pitch = 120 + 40 * np.sin(2 * np.pi * 3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    sound = sum(np.sin(k * phase) / k * (1 + np.cos(k * t * 9)) for k in range(1, 25))
    samples = (0.05 * sound).astype(np.float32)
    return Window("fingerprint", 0, spec.hop_frames, True, samples, None, embed=True, background=True)


def same(one: Floats, other: Floats) -> bool:
    """Whether two fingerprints (n,) are of the same weights."""
    if one.shape != other.shape:
        return False
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return lengths > 0 and float(one @ other) / lengths >= SAME


def text(embedding: Floats | None) -> str:
    """The short form, hexadecimal; empty for a model that gives no embedding."""
    if embedding is None:
        return ""
    planes = np.random.RandomState(0).standard_normal(
        (BITS, len(embedding))
    )  # the same in every version of NumPy
    return np.packbits(planes @ embedding > 0).tobytes().hex()


def alike(one: str, other: str) -> bool:
    """Whether two short forms are of the same weights. Raises ValueError for what is none."""
    return (int(one, 16) ^ int(other, 16)).bit_count() <= NEAR
