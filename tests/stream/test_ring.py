"""The ring against a plain list of everything that was ever written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.ring import RingBuffer


class RingAndList(RuleBasedStateMachine):
    @initialize(capacity=st.integers(1, 40))
    def begin(self, capacity: int) -> None:
        self.capacity = capacity
        self.all: list[float] = []
        self.ring = RingBuffer(capacity)

    @rule(n=st.integers(0, 60))
    def write(self, n: int) -> None:
        samples = np.arange(len(self.all), len(self.all) + n, dtype=np.float32)
        if n > self.capacity:
            with pytest.raises(ValueError, match=f"{n} samples at once"):
                self.ring.write(samples)
        else:
            self.ring.write(samples)
            self.all += samples.tolist()

    @rule(start=st.integers(-3, 300), n=st.integers(-1, 45))
    def read_anywhere(self, start: int, n: int) -> None:
        end = start + n
        if max(0, len(self.all) - self.capacity) <= start <= end <= len(self.all):
            assert self.ring.read(start, end).tolist() == self.all[start:end]
        else:
            with pytest.raises(IndexError, match="holds"):
                self.ring.read(start, end)

    @rule(a=st.floats(0, 1), b=st.floats(0, 1))
    def read_what_is_held(self, a: float, b: float) -> None:
        held = self.ring.end - self.ring.start
        start, end = sorted(self.ring.start + round(share * held) for share in (a, b))
        assert self.ring.read(start, end).tolist() == self.all[start:end]

    @precondition(lambda self: self.ring.start > 0)
    @rule(share=st.floats(0, 1), n=st.integers(0, 45))
    def what_has_given_way_cannot_be_read(self, share: float, n: int) -> None:
        start = round(share * (self.ring.start - 1))
        with pytest.raises(IndexError, match="holds"):
            self.ring.read(start, min(start + n, self.ring.end))

    @invariant()
    def knows_what_it_holds(self) -> None:
        assert self.ring.end == len(self.all)
        assert self.ring.start == max(0, len(self.all) - self.capacity)


RingAndList.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestRingAndList = RingAndList.TestCase


def test_what_is_read_is_a_copy_that_later_writing_leaves_alone() -> None:
    ring = RingBuffer(4)
    ring.write(np.array([1, 2, 3, 4], np.float32))
    read = ring.read(1, 4)
    ring.write(np.array([5, 6, 7], np.float32))
    assert read.tolist() == [2, 3, 4]
    assert read.dtype == np.float32 and read.flags.c_contiguous
