"""float32 samples → 16-bit PCM, as detectors and files want it. The way back is in `stream.codec`."""

from __future__ import annotations

import numpy as np

from stream.types import Floats


def to_pcm16(samples: Floats) -> bytes:
    """samples (n,) in [-1, 1) → 2n bytes, little-endian int16; what lies beyond is clipped."""
    scaled: Floats = np.rint(samples * np.float32(32768))
    scaled.clip(-32768, 32767, out=scaled)
    return scaled.astype("<i2").tobytes()
