"""A whole recording heard as one: for models whose verdict on a file is defined so (`ModelSpec.whole_frames`).

Up to `whole_frames` a recording is one window, to its last sample. A longer one is heard in pieces of that length:
each of its frames belongs to one piece, and has a second of sound on both sides where the recording has it. Every
piece is answered with one row, the mean over its frames, whose weight is their number; `Utterance.add` over all of
them gives the recording's scores and embedding. At most two pieces are held, whatever the length.

What is heard as one includes pauses. The utterances of a file, with their times, come from a session as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from stream.types import HOP, EmotionModel, Floats, ModelSpec, Window, frames_in, samples_for
from stream.utterance import Utterance

CONTEXT = 100  # frames on both sides of a piece; even, as is where pieces begin: such models step 20 ms


class Pieces:
    """Takes a recording's samples, gives the windows of its pieces. Used by `windows_of`, or fed by hand."""

    def __init__(self, spec: ModelSpec, embed: bool = False, context: int = CONTEXT) -> None:
        """Raises ValueError for a model that does not hear recordings as one, or in too short pieces."""
        self._longest, self._context, self._embed = spec.whole_frames * HOP, context - context % 2, embed
        self._own = frames_in(self._longest) // 2 * 2 - 2 * self._context
        if self._own < 2:
            raise ValueError(
                f"pieces of {spec.whole_frames} frames leave nothing between contexts of {context}"
            )
        self._held = np.empty(0, np.float32)
        self._start = 0  # the frame that `held` begins with
        self._at = 0  # the next frame that belongs to no piece yet

    def push(self, samples: Floats) -> list[Window]:
        """Take samples (n,) at 16 kHz in; the pieces that are complete with them."""
        complete = []
        self._held = np.concatenate([self._held, samples])
        while len(self._held) > self._longest:
            complete.append(self._cut(self._own, self._context))
            keep = max(0, self._at - self._context)
            self._held = self._held[(keep - self._start) * HOP :]
            self._start = keep
        return complete

    def finish(self) -> list[Window]:
        """The last piece; none where the recording is shorter than a frame."""
        n_frames = self._start + frames_in(len(self._held)) - self._at
        return [self._cut(n_frames, 0)] if n_frames > 0 else []

    def _cut(self, n_frames: int, right: int) -> Window:
        left = self._at - self._start
        samples = self._held[: samples_for(left + n_frames + right)] if right else self._held
        window = Window(
            "whole", self._at, n_frames, self._at == 0, samples, None, left, right,
            embed=self._embed, background=True, whole=True,
        )  # fmt: skip
        self._at += n_frames
        return window


def windows_of(blocks: Iterable[Floats], spec: ModelSpec, embed: bool = False) -> Iterator[Window]:
    """The windows of a recording given in blocks (n,) at 16 kHz. Raises ValueError as `Pieces` does."""
    pieces = Pieces(spec, embed)
    for block in blocks:
        yield from pieces.push(block)
    yield from pieces.finish()


def hear(blocks: Iterable[Floats], model: EmotionModel, embed: bool = False) -> Utterance:
    """A model in this process on a whole recording. What it returns has no frames for less than 25 ms of sound."""
    utterance = Utterance()
    for window in windows_of(blocks, model.spec, embed):
        utterance.add(*model.score([window]))
    return utterance
