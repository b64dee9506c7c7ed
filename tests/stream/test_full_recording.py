"""A recording in segments: each frame belongs to one, every segment has its context, memory does not grow."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.full_recording import Segmenter, score_recording, windows_of
from stream.models.fake import FakeModel
from stream.types import HOP, SAMPLE_RATE, Floats, FrameScores, ModelSpec, RecordingWindow, Window, frames_in
from tests.stream.material import many

CONTEXT = 10


def spec(seconds: float) -> ModelSpec:
    return replace(FakeModel().spec, recording_frames=round(100 * seconds))


def cut(samples: Floats, seconds: float, cuts: list[int]) -> list[RecordingWindow]:
    segments = Segmenter(spec(seconds), embed=True, context=CONTEXT)
    blocks = np.split(samples, sorted(min(at, len(samples)) for at in cuts))
    return [w for block in blocks for w in segments.push(block)] + segments.finish()


@given(
    st.integers(0, 60_000), st.lists(st.integers(0, 60_000), max_size=6), st.sampled_from([0.5, 1.0, 1.51])
)
@many
def test_segments_take_each_frame_once(n: int, cuts: list[int], seconds: float) -> None:
    x = np.arange(n, dtype=np.float32)
    at = 0
    for w in cut(x, seconds, cuts):
        assert w.first_frame == at
        start = at - w.left_frames
        assert start % 2 == 0, "the model's 20 ms frames are the even ones"
        assert w.left_frames == min(at, CONTEXT)
        assert len(w.samples) <= seconds * SAMPLE_RATE
        np.testing.assert_array_equal(w.samples, x[start * HOP :][: len(w.samples)])
        assert frames_in(len(w.samples)) == w.left_frames + w.n_frames + w.right_frames
        assert (w.starts_span, w.background, w.embed, w.state) == (at == 0, True, True, None)
        at += w.n_frames
        if w.right_frames == 0:
            assert start * HOP + len(w.samples) == n, "the last one goes to the last sample"
        else:
            assert w.right_frames == CONTEXT and w.n_frames % 2 == 0
    assert at == frames_in(n)


@given(st.lists(st.integers(0, 50_000), max_size=8))
@many
def test_how_it_is_cut_into_blocks_does_not_matter(cuts: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    for one, other in zip(cut(x, 1.0, []), cut(x, 1.0, cuts), strict=True):
        assert one.samples.tobytes() == other.samples.tobytes()
        assert replace(one, samples=x, session_id="").first_frame == other.first_frame


@pytest.mark.parametrize("n", [400, 8000, SAMPLE_RATE])
def test_what_fits_is_one_segment(n: int) -> None:
    (w,) = cut(np.ones(n, np.float32), 1.0, [100, 300])
    assert (len(w.samples), w.left_frames, w.n_frames, w.right_frames) == (n, 0, frames_in(n), 0)


@pytest.mark.parametrize("n", [0, 1, 399])
def test_less_than_a_frame_is_nothing(n: int) -> None:
    assert cut(np.ones(n, np.float32), 1.0, []) == []


def test_models_that_hear_nothing_as_one() -> None:
    for seconds in (0, 2):
        with pytest.raises(ValueError, match="leave nothing"):
            list(windows_of([], spec(seconds)))


class Levels(FakeModel):
    """Says of a segment the mean of what it says of every second frame; keeps nothing: for a test of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = spec(4)
        self.n = 0

    def score(self, windows: list[Window]) -> list[FrameScores]:
        (w,) = windows
        self.n += 1
        frames = np.lib.stride_tricks.sliding_window_view(w.samples, 400)[::HOP][w.left_frames :: 2]
        rms = np.sqrt(np.mean(frames[: (w.n_frames + 1) // 2] ** 2, axis=1))
        logits = np.zeros((1, 9), np.float32)
        logits[0, 0] = rms.mean()
        return [
            FrameScores(logits, np.full(1, len(rms), np.float32), None, np.full(2, rms.mean(), np.float32))
        ]


def test_all_segments_together_are_the_whole() -> None:
    x = np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE + 77).astype(np.float32)
    x *= np.linspace(0, 1, len(x), dtype=np.float32)
    heard = score_recording(np.array_split(x, 13), Levels(), embed=True)
    rms = np.sqrt(np.mean(np.lib.stride_tricks.sliding_window_view(x, 400)[:: 2 * HOP] ** 2, axis=1))
    assert heard.embedding is not None
    np.testing.assert_allclose(heard.embedding, rms.mean(), rtol=1e-5)
    odds = np.exp(rms.mean())
    np.testing.assert_allclose(heard.probs()[0], odds / (odds + 8), rtol=1e-5)


def test_hours_in_constant_memory() -> None:
    second, peaks = np.random.default_rng(2).standard_normal(SAMPLE_RATE).astype(np.float32), []
    for n in (20, 100):
        model = Levels()
        tracemalloc.start()
        score_recording((second for _ in range(n)), model)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert model.n > n / 4
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 10_000_000  # two segments of 4 s are 0.5 MB
