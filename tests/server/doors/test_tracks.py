"""Packets of a call, each in its time: beside a tape on which each is laid where it says that it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.doors.tracks import MAX_GAP, PER_MS, SILENCE, WAIT, Tracks

PACKET_MS = 20
SIZE = PACKET_MS * PER_MS


def packet(track: int, number: int) -> bytes:
    return bytes([(100 * track + number) % 255]) * SIZE


def tape(n_tracks: int, sent: list[tuple[int, int]], length: int) -> bytes:
    rows = np.full((length, n_tracks), SILENCE[0], np.uint8)
    for track, number in sent:
        rows[number * SIZE : (number + 1) * SIZE, track] = packet(track, number)[0]
    return rows.tobytes()


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([1, 2]), st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.booleans())
def test_what_is_missing_is_silence_and_moves_nothing(
    n_tracks: int, lost_left: set[int], lost_right: set[int], apart: bool
) -> None:
    """Any packets lost but the first; the second track in step, or 300 ms behind."""
    lost = (lost_left, lost_right)
    sent = [(track, n) for n in range(62) for track in range(n_tracks) if n not in lost[track]]
    if apart:
        sent.sort(key=lambda each: each[1] + (15 if each[0] else 0))
    tracks = Tracks(n_tracks)
    heard = b"".join(tracks.put(track, PACKET_MS * n, packet(track, n)) for track, n in sent) + tracks.rest()
    assert heard == tape(n_tracks, sent, len(heard) // n_tracks)
    assert len(heard) == n_tracks * SIZE * 62


def test_what_comes_twice_or_too_late_is_dropped() -> None:
    tracks = Tracks(1)
    heard = [tracks.put(0, ms, packet(0, ms // 20)) for ms in (0, 20, 40, 60, 80, 0, 20, 100)]
    assert heard[5] == heard[6] == b"" and all(heard[:5]) and heard[7] == packet(0, 5)


def test_times_that_are_a_little_off_make_no_gaps() -> None:
    tracks, off = Tracks(1), (0, 7, -6, 9, -9)
    heard = b"".join(tracks.put(0, 20 * n + off[n % 5], packet(0, n)) for n in range(30))
    assert heard == b"".join(packet(0, n) for n in range(30))


def test_a_track_that_says_nothing_is_not_waited_for_for_long() -> None:
    tracks = Tracks(2)
    heard = b"".join(tracks.put(0, 20 * n, packet(0, n)) for n in range(100))
    assert len(heard) // 2 == 100 * SIZE - WAIT
    assert tracks.put(1, 0, packet(1, 0)) == b"", "its time is over"


@pytest.mark.parametrize("at_ms", [10_000, 10**12])
def test_a_gap_without_end_is_filled_with_seconds_only(at_ms: int) -> None:
    tracks = Tracks(2)
    tracks.put(0, 0, packet(0, 0))
    tracks.put(1, 0, packet(1, 0))
    heard = tracks.put(0, at_ms, packet(0, 1)) + tracks.put(1, at_ms, packet(1, 1))
    assert len(heard) // 2 == MAX_GAP + SIZE
