"""Made conversations with known dynamics, told in any order and in pieces of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.dynamics import Conversation, Dynamics, Share
from stream.gate import GateConfig
from stream.types import SpeechEnded, SpeechStarted
from tests.stream.material import many

GATE = GateConfig()
BEFORE, AFTER = GATE.pre_roll, GATE.hangover - 2
Spans = list[tuple[int, int]]  # where somebody's voice is heard, frames
A, B = "agent", "customer"


def told(agent: Spans, customer: Spans, end: int, steps: tuple[int, ...] = (1_000_000,)) -> Conversation:
    """What comes of it, the channels being known by turns, some frames more each time."""
    dynamics = Dynamics((A, B), GATE)
    edges = {
        name: [
            edge
            for begin, stop in spans
            for edge in (SpeechStarted(begin - BEFORE), SpeechEnded(stop + AFTER))
        ]
        for name, spans in ((A, agent), (B, customer))
    }
    at, turn = 0, 0
    while at < end + 1000:
        at += steps[turn % len(steps)]
        turn += 1
        for name in (A, B) if turn % 2 else (B, A):
            while edges[name] and edges[name][0].frame < at:
                dynamics.edge(name, edges[name].pop(0))
            if at <= end:
                dynamics.advance(name, at)
    return dynamics.finish(end)


def test_a_conversation_of_turns_and_gaps() -> None:
    found = told([(100, 400), (950, 1200)], [(450, 900)], 3300)
    agent, customer = found.shares.values()
    assert agent == Share(voice=550, reactions=1, reaction=50, longest_reaction=50)
    assert customer == Share(voice=450, reactions=1, reaction=50, longest_reaction=50)
    assert (found.overlaps, found.overlap) == (0, 0)
    assert found.silence == found.longest_silence == 2100 and found.at == 3300


def test_silence_within_ones_own_speech_is_a_pause_and_nobodys_reaction() -> None:
    found = told([(100, 400), (500, 700)], [(1000, 1100)], 1100)
    assert found.shares[A].reactions == 0 and found.shares[B].reaction == 300
    assert found.longest_silence == 300


@pytest.mark.parametrize(
    ("customer", "interruptions", "overlap"),
    [
        pytest.param([(300, 600)], 1, 100, id="takes the turn"),
        pytest.param([(381, 600)], 0, 19, id="hardly overlaps, as turns change hands"),
        pytest.param([(380, 600)], 1, 20, id="overlaps for 200 ms"),
        pytest.param([(200, 300)], 0, 100, id="says a word meanwhile"),
        pytest.param([(200, 390)], 0, 190, id="talks for long, but leaves the turn"),
        pytest.param([(350, 449)], 0, 50, id="ends a word after it: shorter than a second"),
        pytest.param([(350, 450)], 1, 50, id="a second"),
        pytest.param([(119, 600)], 0, 281, id="both begin at once"),
        pytest.param([(120, 600)], 1, 280, id="just after it has begun"),
        pytest.param([(400, 600)], 0, 0, id="at the very moment of the end"),
    ],
)
def test_an_interruption_takes_the_turn(customer: Spans, interruptions: int, overlap: int) -> None:
    found = told([(100, 400)], customer, 900)
    assert found.shares[B].interruptions == interruptions
    assert found.shares[A].interruptions == 0 and found.overlap == overlap
    assert found.overlaps == (overlap > 0)


def test_who_interrupts_and_is_interrupted() -> None:
    found = told([(100, 400), (650, 900)], [(350, 700)], 1000)
    assert [share.interruptions for share in found.shares.values()] == [1, 1]
    assert (found.overlaps, found.overlap) == (2, 100)
    assert [share.reactions for share in found.shares.values()] == [0, 0]


def test_a_span_that_was_cut_for_its_length_is_one() -> None:
    dynamics = Dynamics((A, B), GATE)
    for event in (SpeechStarted(90), SpeechEnded(3090), SpeechStarted(3090), SpeechEnded(4000 + AFTER)):
        dynamics.edge(A, event)
    found = dynamics.finish(4000)
    assert found.shares[A].voice == 3900 and found.longest_silence == 100


def test_what_a_flush_has_ended_is_not_negative() -> None:
    dynamics = Dynamics((A, B), GATE)
    for event in (SpeechStarted(90), SpeechEnded(110), SpeechStarted(300), SpeechEnded(500 + AFTER)):
        dynamics.edge(A, event)
    assert dynamics.finish(500).shares[A].voice == 190


def test_the_states_on_the_way() -> None:
    """Where both channels are known, half a second each; a silence grows, and its end is seen."""
    dynamics = Dynamics((A, B), GATE)
    dynamics.edge(A, SpeechStarted(190))
    assert dynamics.advance(A, 10_000) == []
    states = dynamics.advance(B, 251 + AFTER)
    assert [state.at for state in states] == [50, 100, 150, 200, 250]
    assert [state.silence for state in states] == [50, 100, 150, 0, 0]
    assert states[-1].shares[A].voice == 50 and states[-1].longest_silence == 200
    assert states[2].news == states[1].news != states[3].news == states[4].news


@st.composite
def spans(draw: st.DrawFn) -> Spans:
    """Further from each other than the gate keeps together."""
    at, found = 0, []
    for gap, length in draw(
        st.lists(st.tuples(st.integers(BEFORE + AFTER + 1, 300), st.integers(20, 400)), max_size=8)
    ):
        found.append((at + gap, at + gap + length))
        at += gap + length
    return found


@many
@given(spans(), spans(), st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_however_it_comes_the_sums_are_those_of_the_frames(
    agent: Spans, customer: Spans, steps: list[int]
) -> None:
    end = max([stop for _, stop in (*agent, *customer)], default=0) + 100
    speaks = np.zeros((2, end), bool)
    for row, some in zip(speaks, (agent, customer), strict=True):
        for begin, stop in some:
            row[begin:stop] = True
    found = told(agent, customer, end, tuple(steps))
    assert [share.voice for share in found.shares.values()] == speaks.sum(axis=1).tolist()
    assert found.overlap == (speaks.sum(axis=0) == 2).sum()
    silent = "".join("x" if n else "." for n in speaks.sum(axis=0)).split("x")
    assert found.longest_silence == max(map(len, silent)) and found.silence == len(silent[-1])
    assert found == told(agent, customer, end), "in one piece"


def test_it_costs_the_same_at_the_end_of_a_long_call() -> None:
    """What it holds is bounded, whatever one channel does while nothing is known of the other."""
    dynamics = Dynamics((A, B), GATE)
    for start in range(0, 3_000_000, 100):
        dynamics.edge(A, SpeechStarted(start))
        dynamics.edge(A, SpeechEnded(start + 60))
    assert len(dynamics._pair[0].edges) <= 10_000
    assert dynamics.finish(3_000_000).at == 3_000_000
