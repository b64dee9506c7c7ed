"""What goes into the pipe comes out of it, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server.engine import Timing
from server.engine.messages import (
    Answers,
    Fatal,
    Fleet,
    Heartbeat,
    Ready,
    pack,
    pack_window,
    unpack,
    unpack_window,
)
from stream.types import LABELS, N_LABELS, Failed, FrameScores, ModelSpec, RecordingWindow, Window

few = settings(max_examples=60, deadline=None)
anything = st.floats(width=32)  # NaN and infinities too: what is in the samples is the model's business
seconds = st.floats(0, 1e9)
states = st.one_of(st.none(), hnp.arrays(np.float32, st.integers(1, 9), elements=anything))
texts = st.text(st.characters(codec="utf-8"), max_size=30)


def piped(frames: Sequence[bytes | memoryview]) -> list[bytes]:
    return [bytes(frame) for frame in frames]


def same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype == np.float32 and a.shape == b.shape and a.tobytes() == b.tobytes()


def of(kind: type[Window]) -> st.SearchStrategy[Window]:
    return st.builds(
        kind,
        session_id=texts,
        first_frame=st.integers(0, 2**53),
        n_frames=st.integers(0, 1000),
        starts_span=st.booleans(),
        samples=hnp.arrays(np.float32, st.integers(0, 50), elements=anything),
        state=states,
        left_frames=st.integers(0, 300),
        right_frames=st.integers(0, 300),
        embed=st.booleans(),
        background=st.booleans(),
    )


windows = of(Window) | of(RecordingWindow)


@given(st.integers(0, 2**53), windows, seconds)
@few
def test_windows_come_through(ticket: int, window: Window, submitted_s: float) -> None:
    got_ticket, got, got_s = unpack_window(piped(pack_window(ticket, window, submitted_s)))
    assert (got_ticket, got_s) == (ticket, submitted_s)
    assert type(got) is type(window)
    for name in (field.name for field in fields(Window) if field.name not in ("samples", "state")):
        assert getattr(got, name) == getattr(window, name)
        assert type(getattr(got, name)) is type(getattr(window, name))
    assert same(got.samples, window.samples) and same(got.state, window.state)


@st.composite
def scores(draw: st.DrawFn) -> FrameScores:
    n = draw(st.integers(0, 6))
    return FrameScores(
        draw(hnp.arrays(np.float32, (n, N_LABELS), elements=anything)),
        draw(hnp.arrays(np.float32, n, elements=anything)),
        draw(states),
        draw(states),
        draw(st.floats(0, 100)),
    )


timings = st.builds(Timing, seconds, seconds)
items = st.tuples(st.integers(0, 2**53), st.one_of(scores(), st.builds(Failed, texts, texts)), timings)


@given(st.lists(items, max_size=5))
@few
def test_answers_come_through(items: list) -> None:
    message = unpack(piped(pack(Answers(items))))
    assert isinstance(message, Answers)
    for (ticket, answer, timing), (got_ticket, got, got_timing) in zip(items, message.items, strict=True):
        assert (got_ticket, got_timing) == (ticket, timing)
        if isinstance(answer, Failed):
            assert got == answer
        else:
            assert isinstance(got, FrameScores)
            assert same(got.logits, answer.logits) and same(got.weights, answer.weights)
            assert same(got.state, answer.state) and same(got.embedding, answer.embedding)
            assert got.gain == answer.gain


@given(
    st.builds(
        ModelSpec,
        name=texts,
        device=texts,
        dtype=texts,
        runtime=texts,
        hop_frames=st.integers(1, 1000),
        lookahead_frames=st.integers(0, 1000),
        state_size=st.integers(0, 100_000),
        supported_labels=st.lists(st.sampled_from(LABELS), unique=True).map(tuple),
        left_frames=st.integers(0, 300),
        right_frames=st.integers(0, 300),
        fixed_hop=st.booleans(),
        embedding_size=st.integers(0, 4096),
        recording_frames=st.integers(0, 100_000),
        measured=st.none() | st.fixed_dictionaries({"languages": st.lists(texts), "acted": st.booleans()}),
    )
)
@few
def test_what_a_model_says_of_itself_comes_through(spec: ModelSpec) -> None:
    assert unpack(piped(pack(Ready(spec)))) == Ready(spec)


@given(texts)
@few
def test_why_it_cannot_load_comes_through(text: str) -> None:
    assert unpack(piped(pack(Fatal(text)))) == Fatal(text)


def test_a_sign_of_life_comes_through() -> None:
    assert unpack(piped(pack(Heartbeat()))) == Heartbeat()
    fleet = Fleet([True, False], [3, 0], [0, 2])
    assert unpack(piped(pack(fleet))) == fleet


def test_a_state_does_not_keep_its_whole_batch_in_memory() -> None:
    answer = FrameScores(np.zeros((80, 9), np.float32), np.ones(80, np.float32), np.ones(2, np.float32))
    message = unpack(piped(pack(Answers([(i, answer, Timing()) for i in range(32)]))))
    assert isinstance(message, Answers)
    got = message.items[0][1]
    assert isinstance(got, FrameScores)
    state = got.state
    assert state is not None and state.base is None


def test_a_model_in_the_wrong_precision_is_narrowed_and_not_misread() -> None:
    answer = FrameScores(np.full((2, 9), 0.5), np.ones(2), np.array([7.0]))  # type: ignore[arg-type]
    message = unpack(piped(pack(Answers([(1, answer, Timing())]))))
    assert isinstance(message, Answers)
    got = message.items[0][1]
    assert isinstance(got, FrameScores) and got.state is not None
    assert got.logits.tolist() == answer.logits.tolist() and got.state.tolist() == [7]


@pytest.mark.parametrize("frames", [[b"{}"], [b""], [b'{"kind":"ready"}'], [b"\x80\x04."]])
def test_other_bytes_are_no_message(frames: list[bytes]) -> None:
    with pytest.raises((KeyError, ValueError)):
        unpack(frames)
