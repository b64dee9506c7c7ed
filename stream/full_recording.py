"""A full recording at once: for models whose verdict on a file is defined so (`ModelSpec.recording_frames`).

Up to `recording_frames` a recording is one window, to its last sample. A longer one is cut into segments of that
length: each of its frames belongs to one segment, and has a second of sound on both sides where the recording has
it. Every segment is answered with one row, the mean over its frames, whose weight is their number; `Utterance.add`
over all of them gives the recording's scores and embedding. At most two segments are held, whatever the length.

A full recording includes its pauses. The utterances of a file, with their times, come from a session as ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from stream.types import HOP, EmotionModel, Floats, ModelSpec, RecordingWindow, frames_in, samples_for
from stream.utterance import Utterance

CONTEXT = 100  # frames on both sides of a segment; even, as is where segments begin: such models step 20 ms


class Segmenter:
    """Takes a recording's samples, gives the windows of its segments. Used by `windows_of`, or fed by hand."""

    def __init__(self, spec: ModelSpec, embed: bool = False, context: int = CONTEXT) -> None:
        """Raises ValueError for a model that does not score full recordings, or too short ones at once."""
        self._longest, self._context, self._embed = spec.recording_frames * HOP, context - context % 2, embed
        self._own = frames_in(self._longest) // 2 * 2 - 2 * self._context
        if self._own < 2:
            raise ValueError(
                f"segments of {spec.recording_frames} frames leave nothing between contexts of {context}"
            )
        self._held = np.empty(0, np.float32)
        self._start = 0  # the frame that `held` begins with
        self._at = 0  # the next frame that belongs to no segment yet

    def push(self, samples: Floats) -> list[RecordingWindow]:
        """Take samples (n,) at 16 kHz in; the segments that are complete with them."""
        complete = []
        self._held = np.concatenate([self._held, samples])
        while len(self._held) > self._longest:
            complete.append(self._cut(self._own, self._context))
            keep = max(0, self._at - self._context)
            self._held = self._held[(keep - self._start) * HOP :]
            self._start = keep
        return complete

    def finish(self) -> list[RecordingWindow]:
        """The last segment; none where the recording is shorter than a frame."""
        n_frames = self._start + frames_in(len(self._held)) - self._at
        return [self._cut(n_frames, 0)] if n_frames > 0 else []

    def _cut(self, n_frames: int, right: int) -> RecordingWindow:
        left = self._at - self._start
        samples = self._held[: samples_for(left + n_frames + right)] if right else self._held
        window = RecordingWindow(
            session_id="recording",
            first_frame=self._at,
            n_frames=n_frames,
            starts_span=self._at == 0,
            samples=samples,
            state=None,
            left_frames=left,
            right_frames=right,
            embed=self._embed,
            background=True,
        )
        self._at += n_frames
        return window


def windows_of(blocks: Iterable[Floats], spec: ModelSpec, embed: bool = False) -> Iterator[RecordingWindow]:
    """The windows of a recording given in blocks (n,) at 16 kHz. Raises ValueError as `Segmenter` does."""
    segmenter = Segmenter(spec, embed)
    for block in blocks:
        yield from segmenter.push(block)
    yield from segmenter.finish()


def score_recording(blocks: Iterable[Floats], model: EmotionModel, embed: bool = False) -> Utterance:
    """A model in this process on a full recording, given in blocks (n,) at 16 kHz.

    What it returns has no frames for less than 25 ms of sound. Raises ValueError as `Segmenter` does.
    """
    utterance = Utterance()
    for window in windows_of(blocks, model.spec, embed):
        utterance.add(*model.score([window]))
    return utterance
