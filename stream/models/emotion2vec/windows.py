"""Numbers about windows, without a model: the rule for live windows, and their seams.

The rule. A frame's scores depend on the window it is scored in, since the waveform is normalized over the
window and attention looks both ways. So windows are the same however fast audio arrives: `hop` new frames,
`left` frames before them and `right` after (fewer where the session or the span has no more), never grown
under load.

The seam. The last frame of a window and the first of the next are scored in different contexts, and would step. A
window also sees the next one's first `right` frames, so it has already said what it thinks of them. Those
rows travel in the state, and the next window fades from them to its own over these frames: at the seam the
scores change no more than from frame to frame within a window, plus 1/(right + 1) of what the two windows
disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.types import N_LABELS, Floats

_HEAD = 3  # the state's first numbers: the frame that its rows begin with (two parts), how many rows


@dataclass(frozen=True)
class WindowRule:
    """Frames of 10 ms. `hop + right` is the delay of a frame at the start of its window."""

    hop: int = 50
    left: int = 200
    right: int = 20
    blend: bool = True  # crossfade at the seams

    def __post_init__(self) -> None:
        if self.hop <= 0 or self.left < 0 or self.right < 0:
            raise ValueError(f"window rule {self}: need hop > 0, left >= 0, right >= 0")

    @property
    def state_size(self) -> int:
        return _HEAD + self.right * N_LABELS if self.blend and self.right else 0


def pack_state(rule: WindowRule, next_frame: int, ahead: Floats) -> Floats | None:
    """The state after a window: `ahead` (at most right, N_LABELS) are its logits of frames `next_frame`…"""
    if not rule.state_size:
        return None
    state = np.zeros(rule.state_size, np.float32)
    # float32 counts exactly to 2^24 only: 46 hours of frames. In two parts it is for good.
    state[:_HEAD] = next_frame >> 12, next_frame & 4095, len(ahead)
    state[_HEAD : _HEAD + ahead.size] = ahead.ravel()
    return state


def crossfade(logits: Floats, first_frame: int, state: Floats | None) -> Floats:
    """`logits` (n, N_LABELS) of frames `first_frame`…, faded in from what the window before said of them.

    A state that speaks of other frames (a window between was lost) is ignored.
    """
    if state is None or len(state) <= _HEAD:
        return logits
    high, low, rows = (int(number) for number in state[:_HEAD])
    if (high << 12) + low != first_frame or rows == 0:
        return logits
    n = min(rows, len(logits))
    before = state[_HEAD : _HEAD + n * N_LABELS].reshape(n, N_LABELS)
    own = (np.arange(1, n + 1, dtype=np.float32) / (rows + 1))[:, None]
    faded = logits.copy()
    faded[:n] = own * logits[:n] + (1 - own) * before
    return faded
