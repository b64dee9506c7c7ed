"""Results on their way: in order, bounded, and with what matters kept longest."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.live.outbox import EXPENDABLE, Outbox
from tests.server.clients import eventually

RESULT, VERDICT = "emotion_result", "utterance_result"


class Reader:
    """A client with room for so many."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.got: list[int] = []
        self.dropped = False

    def send(self, event: str, payload: dict[str, Any]) -> None:
        assert self.has_capacity(), "nothing is sent to a client without room"
        self.room -= 1
        self.got.append(payload["n"])

    def has_capacity(self) -> bool:
        return self.room > 0 and not self.dropped

    def drop(self) -> None:
        self.dropped = True


def filled(limit: int, events: list[str], reader: Reader | None) -> tuple[Outbox, list[str]]:
    given_up: list[str] = []
    box = Outbox("s", limit, given_up.append)
    box.attach(reader)
    for n, event in enumerate(events):
        box.put(event, {"n": n})
    return box, given_up


def test_a_client_that_keeps_up_gets_everything_at_once() -> None:
    reader = Reader()
    filled(10, [RESULT] * 100, reader)
    assert reader.got == list(range(100))


def test_a_client_that_catches_up_gets_the_rest_without_another_result() -> None:
    reader = Reader(room=3)
    filled(100, [RESULT] * 20, reader)
    assert reader.got == [0, 1, 2]
    reader.room = 10**9
    eventually(lambda: reader.got == list(range(20)), "the rest follows by itself", 2)


def test_a_client_that_does_not_read_is_disconnected_and_finds_the_rest_on_its_return() -> None:
    reader, back = Reader(room=5), Reader()
    box, given_up = filled(10, [RESULT] * 16, reader)
    assert reader.dropped and len(reader.got) == 5
    box.attach(back)
    assert reader.got + back.got == [0, 1, 2, 3, 4, *range(6, 16)] and given_up == [RESULT]


def test_while_nobody_is_there_the_oldest_frame_results_give_way_first() -> None:
    box, given_up = filled(4, [VERDICT, RESULT, "frame_result", VERDICT, "lost", "session_summary"], None)
    back = Reader()
    box.attach(back)
    assert back.got == [0, 3, 4, 5] and given_up == [RESULT, "frame_result"]


def test_even_verdicts_are_bounded() -> None:
    box, given_up = filled(4, [VERDICT] * 1000, None)
    back = Reader()
    box.attach(back)
    assert back.got == [996, 997, 998, 999] and len(given_up) == 996


def test_what_waits_goes_to_the_client_that_is_there_now() -> None:
    box, _ = filled(10, [RESULT] * 3, None)
    first, second = Reader(), Reader()
    box.attach(first)
    box.put(RESULT, {"n": 3})
    box.attach(None)
    box.put(RESULT, {"n": 4})
    box.attach(second)
    assert (first.got, second.got) == ([0, 1, 2, 3], [4])


@given(
    st.integers(1, 8),
    st.lists(st.sampled_from([RESULT, "frame_result", VERDICT, "lost"]), max_size=40),
    st.integers(0, 40),
)
def test_order_and_bound_hold_whatever_comes(limit: int, events: list[str], away_from: int) -> None:
    """A client goes away at some point; on its return it gets, in order, what was kept."""
    reader, back = Reader(), Reader()
    given_up: list[str] = []
    box = Outbox("s", limit, given_up.append)
    box.attach(reader)
    for n, event in enumerate(events):
        if n == away_from:
            box.attach(None)
        box.put(event, {"n": n})
    box.attach(back)
    got = reader.got + back.got
    assert got == sorted(got)
    assert len(back.got) <= limit
    assert len(got) + len(given_up) == len(events), "sent, kept or told as dropped"
    kept = [events[n] for n in back.got]
    if any(event not in EXPENDABLE for event in given_up):
        assert not EXPENDABLE & set(kept), "verdicts give way only when nothing else is left"


@given(st.lists(st.sampled_from([RESULT, VERDICT]), max_size=150), st.integers(0, 90))
def test_a_client_that_comes_back_gets_what_was_under_way(events: list[str], under_way: int) -> None:
    reader, back = Reader(), Reader()
    box, _ = filled(1000, events, reader)
    received = max(0, len(events) - under_way)
    box.attach(None)
    box.put(VERDICT, {"n": len(events)})
    box.attach(back, received)
    assert reader.got[:received] + back.got == list(range(len(events) + 1))
    again = Reader()  # and it breaks once more
    box.attach(again, received + len(back.got) // 2)
    assert reader.got[:received] + back.got[: len(back.got) // 2] + again.got == list(range(len(events) + 1))


def test_more_than_is_kept_cannot_be_had_again_and_lies_do_no_harm() -> None:
    reader = Reader()
    box, _ = filled(1000, [RESULT] * 300, reader)
    for received, first in ((0, 200), (10**9, None), (-5, 200)):
        back = Reader()
        box.attach(back, received)
        assert back.got == ([] if first is None else list(range(first, 300)))
    box.put(RESULT, {"n": 300})
    assert back.got[-1] == 300
