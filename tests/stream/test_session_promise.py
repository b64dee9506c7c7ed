"""Every frame inside detected speech is scored exactly once, or named in exactly one Lost, in order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.gate import GateConfig
from stream.models.fake import FakeModel
from stream.session import StreamConfig, StreamSession
from stream.types import HOP, SAMPLE_RATE, FailureCode, FramesScored, Lost, SpeechEnded
from tests.stream.material import few, many, told
from tests.stream.playing import Player, check_books, facts, frames_of, spans

GATE = GateConfig(onset=2, pre_roll=3, hangover=6, max_span=150)
stories = st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=10)
chunk_sizes = st.lists(st.integers(50, 6000), min_size=1, max_size=6)
delays = st.lists(st.integers(0, 12), min_size=1, max_size=5)
failures = st.lists(
    st.sampled_from([None, None, None, "OVERLOADED", "INFERENCE_TIMEOUT", "INFERENCE_FAILED"]),
    min_size=1,
    max_size=7,
)


def audio(story: list[tuple[bool, int]]) -> np.ndarray:
    return told([flag for flag, n in story for _ in range(n)])


def play(
    samples: np.ndarray,
    config: StreamConfig,
    sizes: list[int],
    delays: list[int] = [0],  # noqa: B006
    failures: list[FailureCode | None] = [None],  # noqa: B006
    flushes: frozenset[int] = frozenset(),
) -> Player:
    """`sizes`, `delays` and `failures` are repeated; `flushes`: after which pushes."""
    player = Player(StreamSession("s", config), itertools.cycle(delays), itertools.cycle(failures))
    at, size = 0, itertools.cycle(sizes)
    for count in itertools.count():
        if at >= len(samples):
            break
        n = next(size)
        player.push(samples[at : at + n])
        at += n
        if count in flushes:
            player.flush()
    player.finish()
    return player


@pytest.mark.usefixtures("told_vad")
class TestPromise:
    @given(
        story=stories,
        sizes=chunk_sizes,
        delays=delays,
        failures=failures,
        max_hop=st.sampled_from([10, 40, 80]),
    )
    @many
    def test_whatever_the_chunks_the_delays_and_the_failures(
        self, story: list, sizes: list[int], delays: list[int], failures: list, max_hop: int
    ) -> None:
        samples = audio(story)
        player = play(samples, StreamConfig(gate=GATE, max_hop=max_hop), sizes, delays, failures)
        check_books(player, samples)
        assert {e.code for e in player.events if isinstance(e, Lost)} <= set(failures)

    @given(
        story=stories, sizes=chunk_sizes, delays=delays, flushes=st.frozensets(st.integers(0, 40), max_size=4)
    )
    @many
    def test_with_flushes_in_the_middle_of_speech(
        self, story: list, sizes: list[int], delays: list[int], flushes: frozenset[int]
    ) -> None:
        samples = audio(story)
        check_books(play(samples, StreamConfig(gate=GATE), sizes, delays, flushes=flushes), samples)

    @given(
        story=stories,
        sizes=chunk_sizes,
        delays=st.lists(st.integers(0, 60), min_size=1, max_size=5),
        failures=failures,
        flushes=st.frozensets(st.integers(0, 40), max_size=4),
    )
    @many
    def test_with_a_ring_too_small_for_the_delays(
        self, story: list, sizes: list[int], delays: list[int], failures: list, flushes: frozenset[int]
    ) -> None:
        samples = audio(story)
        config = StreamConfig(gate=GATE, hop=5, max_hop=20, ring=6000)
        check_books(play(samples, config, sizes, delays, failures, flushes), samples)

    @given(
        story=stories,
        sizes=chunk_sizes,
        delays=delays,
        given_up=st.frozensets(st.integers(0, 30), max_size=4),
    )
    @many
    def test_with_an_owner_that_gives_up_waiting(
        self, story: list, sizes: list[int], delays: list[int], given_up: frozenset[int]
    ) -> None:
        samples = audio(story)
        player = Player(StreamSession("s", StreamConfig(gate=GATE)), itertools.cycle(delays))
        at, size = 0, itertools.cycle(sizes)
        for count in itertools.count():
            if at >= len(samples):
                break
            n = next(size)
            player.push(samples[at : at + n])
            at += n
            if count in given_up:
                player.give_up("INFERENCE_TIMEOUT")
        player.finish()
        check_books(player, samples)

    def test_after_a_flush_giving_up_settles_everything_and_a_late_answer_is_refused(self) -> None:
        player = Player(StreamSession("s", StreamConfig(gate=GATE)), itertools.repeat(10**9))
        for flags in ([True] * 60, [False] * 20, [True] * 40):
            player.push(told(flags))
        player.flush()
        late = player.give_up("INFERENCE_TIMEOUT")
        assert late is not None and player.session.settled
        lost = [e for e in player.events if isinstance(e, Lost)]
        assert {e.code for e in lost} == {"INFERENCE_TIMEOUT"}
        frames = [f for a, b in spans(player.events) for f in range(a, b)]
        assert [f for e in lost for f in frames_of(e)] == frames != []
        with pytest.raises(ValueError, match="not out"):
            player.session.absorb(late, FakeModel().score([late])[0])
        assert player.give_up("INFERENCE_TIMEOUT") is None and player.session.lost_frames == len(frames)

    def test_a_stuck_engine_loses_the_oldest_audio_and_everything_is_well_afterwards(self) -> None:
        samples = told([True] * 1000)
        config = StreamConfig(gate=GateConfig(), hop=10, max_hop=20, ring=2 * SAMPLE_RATE)
        player = Player(StreamSession("s", config), itertools.chain([50], itertools.repeat(0)))
        for at in range(0, len(samples), 1600):
            player.push(samples[at : at + 1600])
        player.finish()
        check_books(player, samples)
        (lost,) = [e for e in player.events if isinstance(e, Lost)]
        assert lost.code == "OVERLOADED"
        first = player.windows[0]
        assert lost.first_frame == first.first_frame + first.n_frames
        assert 280 < lost.n_frames < 320, "five seconds, of which the ring has kept two"

    def test_nothing_is_told_out_of_order_while_a_window_is_out(self) -> None:
        config = StreamConfig(gate=GATE, ring=SAMPLE_RATE)
        player = Player(StreamSession("s", config), itertools.repeat(10**9))
        for _ in range(100):
            player.push(told([True] * 10))
        assert not [e for e in player.events if isinstance(e, Lost | FramesScored)]
        player.answer()
        told_now = [frames_of(e).start for e in player.events if isinstance(e, Lost | FramesScored)]
        assert len(told_now) > 2 and told_now == sorted(told_now)

    def test_windows_grow_while_the_engine_is_busy_and_shrink_afterwards(self) -> None:
        player = Player(
            StreamSession("s", StreamConfig(gate=GATE)), itertools.chain([8, 20], itertools.repeat(0))
        )
        for _ in range(60):
            player.push(told([True] * 10))
        sizes = [w.n_frames for w in player.windows]
        assert sizes[0] == 10 and max(sizes) == 80 and sizes[-1] == 10
        check_books_of_open(player)

    def test_a_push_as_large_as_the_ring_is_taken_even_when_the_gate_is_behind(self) -> None:
        session = StreamSession("s", StreamConfig(gate=GATE, ring=4000))
        session.push(told([False])[:150])
        session.push(told([False] * 25))
        with pytest.raises(ValueError, match="4001"):
            session.push(np.zeros(4001, np.float32))
        assert session.received == 4150


def check_books_of_open(player: Player) -> None:
    player.finish()
    scored = [f for e in player.events if isinstance(e, FramesScored) for f in frames_of(e)]
    assert scored == [f for a, b in spans(player.events) for f in range(a, b)]


@given(
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=10),
    delays=delays,
    failures=failures,
)
@few
def test_the_promise_on_a_recording(
    demo_samples: np.ndarray, sizes: list[int], delays: list[int], failures: list
) -> None:
    samples = demo_samples[: 8 * SAMPLE_RATE]
    player = play(samples, StreamConfig(ring=3 * SAMPLE_RATE), [n + 200 for n in sizes], delays, failures)
    check_books(player, samples)


def test_twenty_random_cuttings_of_a_recording_score_alike_bit_for_bit(demo_samples: np.ndarray) -> None:
    samples = demo_samples[: 8 * SAMPLE_RATE]
    config = StreamConfig(hop=10, max_hop=10)
    whole = facts(play(samples, config, [SAMPLE_RATE]).events)
    assert len(whole) > 30
    rng = np.random.default_rng(5)
    for largest in (100, 1000, 1600, 8000, 30_000) * 4:
        sizes = rng.integers(1, largest, 500).tolist()
        player = play(samples, config, sizes)
        assert sorted_by_kind(facts(player.events)) == sorted_by_kind(whole)


def test_sample_by_sample_scores_alike_bit_for_bit(demo_samples: np.ndarray) -> None:
    samples = demo_samples[SAMPLE_RATE : 4 * SAMPLE_RATE]
    config = StreamConfig(hop=10, max_hop=10)
    expected = sorted_by_kind(facts(play(samples, config, [SAMPLE_RATE]).events))
    assert sorted_by_kind(facts(play(samples, config, [1]).events)) == expected


def sorted_by_kind(found: list[tuple[object, ...]]) -> list[list[tuple[object, ...]]]:
    """Edges of speech are told as soon as they are known, scores when they come: each is in order by itself."""
    return [[fact for fact in found if len(fact) == n] for n in (1, 4, 5)]


def test_speech_that_ends_with_the_audio_is_scored_to_the_last_whole_frame(demo_samples: np.ndarray) -> None:
    for n in range(40_000, 40_000 + HOP, 37):
        player = play(demo_samples[:n], StreamConfig(), [1600])
        (end,) = [e.frame for e in player.events if isinstance(e, SpeechEnded)][-1:]
        assert end == (n - 400) // 160 + 1
