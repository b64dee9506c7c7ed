"""Windows with context on both sides, for models that keep no state."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.framing import Framer
from stream.gate import GateConfig
from stream.models.fake import FakeModel
from stream.session import StreamConfig, StreamSession
from stream.types import HOP, SAMPLE_RATE, Cut, FrameScores, Window, samples_for
from tests.stream.material import some, told
from tests.stream.playing import Player, check_books, facts, spans

GATE = GateConfig(onset=2, pre_roll=3, hangover=6, max_span=150)


class Centered(FakeModel):
    """Scores the frames between the contexts; what it hears around them goes into `sad`."""

    def score(self, windows: list[Window]) -> list[FrameScores]:
        answers = []
        for w in windows:
            assert len(w.samples) == samples_for(w.left_frames + w.n_frames + w.right_frames)
            start = w.left_frames * HOP
            inside = replace(w, samples=w.samples[start : start + samples_for(w.n_frames)])
            (answer,) = super().score([inside])
            answer.logits[:, 6] = np.abs(w.samples).sum(dtype=np.float64) / 1e4 - 1e4
            answers.append(answer)
        return answers


def test_a_cut_waits_for_its_context_on_the_right() -> None:
    framer = Framer(10, 10, left=20, right=5)
    framer.open(3)
    assert framer.next_cut(17) is None
    assert framer.next_cut(18) == Cut(3, 10, True, left=3, right=5)
    assert framer.next_cut(28) == Cut(13, 10, False, left=13, right=5)


def test_context_on_the_right_ends_with_the_span() -> None:
    framer = Framer(10, 10, left=4, right=5)
    framer.open(30)
    framer.close(52)
    cuts = [framer.next_cut(1000) for _ in range(4)]
    assert cuts == [Cut(30, 10, True, 4, 5), Cut(40, 10, False, 4, 2), Cut(50, 2, False, 4, 0), None]


@pytest.mark.usefixtures("told_vad")
@given(
    story=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=10),
    sizes=st.lists(st.integers(50, 6000), min_size=1, max_size=6),
    delays=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    left=st.integers(0, 60),
    right=st.integers(0, 30),
    max_hop=st.sampled_from([10, 40]),
)
@some
def test_the_promise_holds_with_context_and_every_window_carries_it(
    story: list[tuple[bool, int]], sizes: list[int], delays: list[int], left: int, right: int, max_hop: int
) -> None:
    samples = told([flag for flag, n in story for _ in range(n)])
    config = StreamConfig(gate=GATE, max_hop=max_hop, left=left, right=right)
    player = Player(StreamSession("s", config), itertools.cycle(delays), model=Centered())
    at, size = 0, itertools.cycle(sizes)
    while at < len(samples):
        player.push(samples[at : at + (n := next(size))])
        at += n
    player.finish()
    check_books(player, samples)
    for w in player.windows:
        (end,) = [b for a, b in spans(player.events) if a <= w.first_frame < b]
        assert w.left_frames == min(left, w.first_frame)
        assert w.right_frames == min(right, end - w.first_frame - w.n_frames)
        start = (w.first_frame - w.left_frames) * HOP
        assert np.array_equal(w.samples, samples[start : start + len(w.samples)])
        assert w.end_sample == start + len(w.samples)


def test_context_does_not_depend_on_how_audio_is_cut(demo_samples: np.ndarray) -> None:
    samples = demo_samples[: 8 * SAMPLE_RATE]
    config = StreamConfig(hop=20, max_hop=20, left=150, right=30)
    runs = []
    rng = np.random.default_rng(2)
    for largest in (1, 500, 1600, 9000):
        player = Player(StreamSession("s", config), model=Centered())
        at = 0
        while at < len(samples):
            n = SAMPLE_RATE if largest == 1 else int(rng.integers(1, largest))
            player.push(samples[at : at + n])
            at += n
        runs.append([fact for fact in facts(player.finish()) if len(fact) > 1])
    assert runs[0] and all(run == runs[0] for run in runs)


@pytest.mark.usefixtures("told_vad")
def test_context_that_the_ring_has_dropped_is_left_out() -> None:
    config = StreamConfig(gate=GATE, left=200, ring=SAMPLE_RATE)
    samples = told([True] * 400)
    player = Player(
        StreamSession("s", config), itertools.chain([0, 0, 30], itertools.repeat(0)), model=Centered()
    )
    for at in range(0, len(samples), 1600):
        player.push(samples[at : at + 1600])
    player.finish()
    check_books(player, samples)
    assert min(w.left_frames for w in player.windows[3:]) < 50
