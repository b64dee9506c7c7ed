"""A whole recording at once says what a live stream says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from stream import offline
from stream.models.fake import FakeModel
from stream.session import StreamConfig, StreamSession
from stream.types import SAMPLE_RATE, FramesScored, StreamEvent, UtteranceScored, frames_in
from tests.stream.playing import Player, check_books, facts, spans

CONFIG = StreamConfig()


def blocks(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for at in range(0, len(samples), size):
        yield samples[at : at + size]


def test_a_recording_is_scored_as_a_session_driven_by_hand(demo_samples: np.ndarray) -> None:
    player = Player(StreamSession("s", CONFIG))
    for block in blocks(demo_samples, offline.PIECE):
        player.push(block)
    player.finish()
    check_books(player, demo_samples)
    assert facts(offline.run([demo_samples], FakeModel(), CONFIG)) == facts(player.events)


def verdicts(events: list[StreamEvent]) -> list[UtteranceScored]:
    return [e for e in events if isinstance(e, UtteranceScored)]


def test_speech_that_goes_on_to_the_end_of_the_recording_is_scored_to_the_end(
    demo_samples: np.ndarray,
) -> None:
    samples = demo_samples[:40_000]
    events = list(offline.run([samples], FakeModel(), CONFIG))
    assert spans(events)[-1][1] == frames_in(len(samples))
    assert isinstance(events[-1], UtteranceScored) and events[-1].end == frames_in(len(samples))


@pytest.mark.parametrize("size", [160, 999, 16_000, 100_000])
def test_blocks_of_any_size_give_the_same_scores(demo_samples: np.ndarray, size: int) -> None:
    def rows(events: list[StreamEvent]) -> np.ndarray:
        return np.concatenate([e.probs for e in events if isinstance(e, FramesScored)])

    whole = list(offline.run([demo_samples], FakeModel(), CONFIG))
    cut = list(offline.run(blocks(demo_samples, size), FakeModel(), CONFIG))
    assert spans(cut) == spans(whole)
    assert np.allclose(rows(cut), rows(whole), atol=1e-5)
    for one, other in zip(verdicts(cut), verdicts(whole), strict=True):
        assert (one.start, one.end, one.n_scored) == (other.start, other.end, other.n_scored)


def test_nothing_at_all_is_a_recording_without_speech() -> None:
    assert list(offline.run([], FakeModel(), CONFIG)) == []
    assert list(offline.run([np.empty(0, np.float32)], FakeModel(), CONFIG)) == []
    assert list(offline.run([np.zeros(10 * SAMPLE_RATE, np.float32)], FakeModel(), CONFIG)) == []
