"""Where speech starts and ends: the rules on told audio, and the same rules on a recording."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import webrtcvad
from hypothesis import given
from hypothesis import strategies as st

from stream.gate import GateConfig, SpeechGate
from stream.ring import RingBuffer
from stream.types import HOP, SpeechEnded, SpeechStarted, frames_in
from tests.stream.material import few, some, told

Edges = list[SpeechStarted | SpeechEnded]
RULES = GateConfig(onset=3, pre_roll=4, hangover=5, max_span=50)


def listen(samples: np.ndarray, config: GateConfig, cuts: list[int] = [], flush: bool = True) -> Edges:  # noqa: B006
    """Edges of `samples`, cut at `cuts`; a flush at the end."""
    ring, gate, edges = RingBuffer(len(samples) + 1), SpeechGate(config), []
    places = [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
    for a, b in itertools.pairwise(places):
        ring.write(samples[a:b])
        for edge in gate.advance(ring):
            if isinstance(edge, SpeechEnded):
                assert edge.frame <= frames_in(ring.end), "a closed span ends with a frame that is whole"
            edges.append(edge)
    return edges + gate.close(frames_in(ring.end)) if flush else edges


def spans(edges: Edges) -> list[tuple[int, int]]:
    """Starts and ends alternate, and spans are in order and apart."""
    starts = [e.frame for e in edges if isinstance(e, SpeechStarted)]
    ends = [e.frame for e in edges if isinstance(e, SpeechEnded)]
    assert edges == [
        e for pair in zip(starts, ends, strict=True) for e in (SpeechStarted(pair[0]), SpeechEnded(pair[1]))
    ]
    flat = [frame for pair in zip(starts, ends, strict=True) for frame in pair]
    assert flat == sorted(flat)
    return list(zip(starts, ends, strict=True))


def expected(voiced: list[bool], config: GateConfig, n_samples: int) -> list[tuple[int, int]]:
    """The rules once more, hop by hop and by looking back at what was heard rather than by counting."""
    found: list[tuple[int, int]] = []
    start, since, last_end = None, 0, 0
    for now in range(1, len(voiced) + 1):
        whole = frames_in(now * HOP)
        if start is None:
            if now - since >= config.onset and all(voiced[now - config.onset : now]):
                start = max(last_end, now - config.onset - config.pre_roll)
            continue
        over = now >= config.hangover and not any(voiced[now - config.hangover : now])
        if over or whole - start >= config.max_span:
            found.append((start, whole))
            last_end, start, since = whole, None if over else whole, now
    if start is not None:
        found.append((start, max(start, frames_in(n_samples))))
    return found


@pytest.mark.usefixtures("told_vad")
class TestRules:
    def test_fewer_voiced_hops_than_the_onset_are_no_speech(self) -> None:
        assert listen(told([False] * 10 + [True] * 2 + [False] + [True] * 2 + [False] * 20), RULES) == []

    def test_the_onset_starts_speech_a_pre_roll_earlier(self) -> None:
        assert listen(told([False] * 10 + [True] * 3), RULES, flush=False) == [SpeechStarted(10 - 4)]

    def test_the_pre_roll_does_not_reach_before_the_first_sample(self) -> None:
        assert listen(told([False] * 2 + [True] * 3), RULES, flush=False) == [SpeechStarted(0)]

    def test_pauses_shorter_than_the_hang_over_do_not_end_speech(self) -> None:
        assert spans(listen(told([True] * 5 + [False] * 4 + [True] + [False] * 4 + [True]), RULES))[0][0] == 0

    def test_speech_ends_with_its_hang_over_as_far_as_frames_are_whole(self) -> None:
        (span,) = spans(listen(told([True] * 10 + [False] * 30), RULES, flush=False))
        assert span == (0, frames_in((10 + 5) * HOP)) == (0, 13)

    def test_a_pre_roll_does_not_reach_into_the_span_before(self) -> None:
        (first, second) = spans(listen(told([True] * 10 + [False] * 5 + [True] * 9), RULES))
        assert first == (0, 13)
        assert second[0] == 13

    def test_long_speech_is_split_without_a_gap(self) -> None:
        found = spans(listen(told([True] * 130), RULES))
        assert found == [(0, 50), (50, 100), (100, 128)]

    def test_a_flush_ends_speech_where_frames_end_and_more_audio_starts_again(self) -> None:
        ring, gate = RingBuffer(100_000), SpeechGate(RULES)
        ring.write(told([True] * 20))
        assert gate.advance(ring) == [SpeechStarted(0)]
        assert gate.close(frames_in(ring.end)) == [SpeechEnded(18)]
        assert gate.close(frames_in(ring.end)) == [], "nothing is open any more"
        ring.write(told([True] * 2))
        assert gate.advance(ring) == [], "the onset is counted afresh"
        ring.write(told([True] * 1))
        assert gate.advance(ring) == [SpeechStarted(18)]

    @given(
        voiced=st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=25),
        more=st.integers(0, HOP - 1),
        config=st.builds(
            GateConfig,
            onset=st.integers(1, 6),
            pre_roll=st.integers(0, 8),
            hangover=st.integers(1, 12),
            max_span=st.integers(1, 60),
        ),
        cuts=st.lists(st.integers(0, 30_000), max_size=8),
    )
    @some
    def test_any_speech_and_any_settings_keep_the_rules_however_they_are_cut(
        self, voiced: list[tuple[bool, int]], more: int, config: GateConfig, cuts: list[int]
    ) -> None:
        flags = [flag for flag, n in voiced for _ in range(n)]
        samples = np.concatenate([told(flags), np.full(more, 0.5, np.float32)])
        edges = listen(samples, config, cuts)
        assert spans(edges) == expected(flags, config, len(samples))


@pytest.fixture(scope="module")
def verdicts(demo_pcm: bytes) -> list[bool]:
    vad = webrtcvad.Vad(2)
    hops = range(0, len(demo_pcm) - 2 * HOP + 1, 2 * HOP)
    return [vad.is_speech(demo_pcm[at : at + 2 * HOP], 16_000) for at in hops]


@pytest.mark.parametrize("config", [GateConfig(), GateConfig(onset=2, pre_roll=3, hangover=8, max_span=120)])
def test_a_recording_is_gated_by_the_same_rules(
    config: GateConfig, demo_samples: np.ndarray, verdicts: list[bool]
) -> None:
    found = spans(listen(demo_samples, config))
    assert found == expected(verdicts, config, len(demo_samples))
    assert len(found) >= 2


@given(cuts=st.lists(st.integers(0, 80_000), max_size=40))
@few
def test_a_recording_is_gated_alike_however_it_is_cut(demo_samples: np.ndarray, cuts: list[int]) -> None:
    part = demo_samples[:80_000]
    assert listen(part, GateConfig(), cuts) == listen(part, GateConfig())


def test_a_recording_is_gated_alike_sample_by_sample(demo_samples: np.ndarray) -> None:
    part = demo_samples[:40_000]
    assert listen(part, GateConfig(), list(range(40_000))) == listen(part, GateConfig()) != []
