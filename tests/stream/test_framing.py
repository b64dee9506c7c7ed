"""Every frame of every span is cut exactly once, or given up exactly once, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.framing import Framer
from stream.types import Cut, Lost, Span
from tests.stream.material import some


def cuts_of(framer: Framer, frames_ready: int) -> list[Cut]:
    found = []
    while cut := framer.next_cut(frames_ready):
        found.append(cut)
    return found


def test_nothing_is_cut_before_a_hop_of_whole_frames_is_there() -> None:
    framer = Framer(10, 80)
    assert framer.next_cut(100) is None
    framer.open(7)
    assert framer.next_cut(16) is None
    assert framer.next_cut(17) == Cut(7, 10, starts_span=True)
    assert framer.next_cut(26) is None
    assert framer.next_cut(27) == Cut(17, 10, starts_span=False)


@pytest.mark.parametrize(
    ("ready", "size"), [(10, 10), (19, 10), (20, 20), (39, 20), (40, 40), (79, 40), (80, 80), (5000, 80)]
)
def test_what_has_piled_up_is_cut_in_doubled_hops_up_to_the_largest(ready: int, size: int) -> None:
    framer = Framer(10, 80)
    framer.open(0)
    assert framer.next_cut(ready) == Cut(0, size, starts_span=True)


def test_a_largest_hop_that_is_no_power_of_two_hops_is_not_exceeded() -> None:
    framer = Framer(10, 70)
    framer.open(0)
    assert framer.next_cut(1000) == Cut(0, 40, starts_span=True)


def test_the_last_cut_of_a_span_is_what_remains_and_does_not_cross_into_the_next() -> None:
    framer = Framer(10, 10)
    framer.open(0)
    framer.close(13)
    framer.open(15)
    assert framer.next_cut(100) == Cut(0, 10, starts_span=True)
    assert framer.next_cut(100) == Cut(10, 3, starts_span=False)
    assert framer.next_cut(100) is None, "the finished span is to be taken first"
    assert framer.take_finished() == Span(0, 13)
    assert framer.next_cut(100) == Cut(15, 10, starts_span=True)


def test_a_span_is_not_finished_before_it_is_closed_and_cut() -> None:
    framer = Framer(10, 10)
    assert framer.take_finished() is None
    framer.open(0)
    framer.next_cut(10)
    assert framer.take_finished() is None
    framer.close(12)
    assert framer.take_finished() is None
    framer.next_cut(12)
    assert framer.waiting
    assert framer.take_finished() == Span(0, 12)
    assert not framer.waiting


@pytest.mark.parametrize(("hop", "max_hop"), [(0, 10), (-1, 10), (20, 10)])
def test_impossible_hops_are_refused(hop: int, max_hop: int) -> None:
    with pytest.raises(ValueError, match="max_hop"):
        Framer(hop, max_hop)


steps = st.tuples(
    st.integers(0, 40),  # frames that become ready
    st.booleans(),  # open a span, or close the open one
    st.integers(0, 40),  # how far before the last ready frame it opens or closes
    st.integers(0, 3),  # how many windows the engine asks for
    st.one_of(st.none(), st.integers(0, 100)),  # the ring still holds so many frames
)


@given(
    story=st.lists(steps, max_size=25),
    hop=st.integers(1, 12),
    doublings=st.integers(0, 3),
    extra=st.integers(0, 5),
)
@some
def test_every_frame_is_cut_or_given_up_exactly_once(
    story: list[tuple[int, bool, int, int, int | None]], hop: int, doublings: int, extra: int
) -> None:
    max_hop = hop * 2**doublings + extra
    framer = Framer(hop, max_hop)
    ready, last_end = 0, 0
    open_since: int | None = None
    spans: list[tuple[int, int]] = []
    finished: list[Span] = []
    told: list[Cut | Lost] = []

    def work(times: int, given_up: int) -> None:
        for _ in range(times):
            while True:
                if lost := framer.give_up_before(given_up, "OVERLOADED"):
                    told.append(lost)
                if (span := framer.take_finished()) is None:
                    break
                finished.append(span)
            cut = framer.next_cut(ready)
            if cut is None:
                return
            told.append(cut)

    for more, turns, back, asked, held in story:
        cut_up_to, ready = ready, ready + more
        if turns and open_since is None:
            open_since = max(last_end, ready - back)
            framer.open(open_since)
        elif turns and open_since is not None:
            last_end = max(open_since, cut_up_to, ready - back)
            framer.close(last_end)
            spans.append((open_since, last_end))
            open_since = None
        work(asked, 0 if held is None else max(0, ready - held))
    if open_since is not None:
        framer.close(max(open_since, ready))
        spans.append((open_since, max(open_since, ready)))
    work(10_000, 0)

    assert [(s.start, s.end) for s in finished] == spans
    frames = [f for part in told for f in range(part.first_frame, part.first_frame + part.n_frames)]
    assert frames == [f for start, end in spans for f in range(start, end)], "all of them, once, in order"
    for start, end in spans:
        inside = [c for c in told if isinstance(c, Cut) and start <= c.first_frame < end]
        assert [c.starts_span for c in inside] == [True] + [False] * (len(inside) - 1) if inside else True
        for cut in inside:
            assert cut.first_frame + cut.n_frames <= end, "no cut crosses into the next span"
            assert cut.n_frames in [hop * 2**k for k in range(doublings + 3)] or (
                cut.n_frames < hop and cut.first_frame + cut.n_frames == end
            )
            assert cut.n_frames <= max_hop
    assert not framer.waiting
