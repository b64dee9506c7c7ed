"""What a session makes of a model's answers, what it says of itself, and how much it remembers."""

from __future__ import annotations

import gc
import itertools
import sys

import numpy as np
import pytest

from stream.gate import GateConfig
from stream.models.fake import FakeModel
from stream.session import StreamConfig, StreamSession
from stream.types import (
    IMPOSSIBLE,
    N_LABELS,
    SAMPLE_RATE,
    Failed,
    FrameScores,
    FramesScored,
    Lost,
    UtteranceScored,
    Window,
)
from tests.stream.material import told
from tests.stream.playing import Player, check_books, spans

GATE = GateConfig(onset=2, pre_roll=3, hangover=6, max_span=150)


class Attentive(FakeModel):
    """As `FakeModel`, but some frames weigh more than others."""

    def score(self, windows: list[Window]) -> list[FrameScores]:
        return [
            FrameScores(a.logits, (1 + np.arange(w.n_frames) % 7).astype(np.float32), a.state)
            for w, a in zip(windows, super().score(windows), strict=True)
        ]


def test_an_utterance_is_the_softmax_of_the_weighted_mean_of_its_frames(demo_samples: np.ndarray) -> None:
    player = Player(StreamSession("s", StreamConfig()), model=Attentive())
    for at in range(0, len(demo_samples), 8000):
        player.push(demo_samples[at : at + 8000])
    player.finish()
    verdicts = [e for e in player.events if isinstance(e, UtteranceScored)]
    assert len(verdicts) >= 2
    for verdict in verdicts:
        inside = [
            e.scores
            for e in player.events
            if isinstance(e, FramesScored) and verdict.start <= e.first_frame < verdict.end
        ]
        logits = np.concatenate([s.logits for s in inside]).astype(np.float64)
        weights = np.concatenate([s.weights for s in inside]).astype(np.float64)
        mean = (weights[:, None] * logits).sum(axis=0) / weights.sum()
        expected = np.exp(mean - mean.max())
        assert np.allclose(verdict.probs, expected / expected.sum(), rtol=0, atol=1e-6)
        assert verdict.n_scored == len(logits) == verdict.end - verdict.start


def test_labels_that_a_model_cannot_produce_get_exactly_nothing(demo_samples: np.ndarray) -> None:
    player = Player(StreamSession("s", StreamConfig()))
    for at in range(0, len(demo_samples), 8000):
        player.push(demo_samples[at : at + 8000])
    player.finish()
    rows = [e.probs for e in player.events if isinstance(e, FramesScored)]
    states = [e.smoothed for e in player.events if isinstance(e, FramesScored)]
    verdicts = [e.probs for e in player.events if isinstance(e, UtteranceScored)]
    everything = np.concatenate([*rows, states, verdicts])
    assert (everything[:, [1, 2, 3, 5, 6, 7, 8]] == 0).all()
    assert np.allclose(everything.sum(axis=1), 1, atol=1e-6)
    assert (player.session.frames_by_label[[1, 2, 3, 5, 6, 7, 8]] == 0).all()


@pytest.mark.usefixtures("told_vad")
def test_the_smoothed_state_fades_with_time_in_pauses_and_losses_too() -> None:
    player = Player(
        StreamSession("s", StreamConfig(gate=GATE, smoothing=30)),
        failures=itertools.cycle([None, None, "INFERENCE_FAILED"]),
        model=Attentive(),
    )
    for flags in ([True] * 40, [False] * 45, [True] * 30, [False] * 90, [True] * 60):
        player.push(told(flags))
    player.finish()
    frames: list[int] = []
    rows: list[np.ndarray] = []
    weights: list[float] = []
    checked = 0
    for e in player.events:
        if isinstance(e, FramesScored):
            frames += range(e.first_frame, e.first_frame + len(e.probs))
            rows += list(e.probs)
            weights += list(e.scores.weights)
            shares = np.array(weights) * np.exp((np.array(frames) - frames[-1]) / 30)
            assert np.allclose(e.smoothed, shares @ np.array(rows) / shares.sum(), atol=1e-5)
            checked += 1
    assert checked > 4 and player.session.lost_frames


@pytest.mark.usefixtures("told_vad")
class TestLife:
    def session(self) -> StreamSession:
        return StreamSession("s", StreamConfig(gate=GATE))

    def test_silence_asks_for_nothing(self) -> None:
        session = self.session()
        for _ in range(50):
            step = session.push(told([False] * 10))
            assert step.events == () and step.window is None
        assert session.flush().events == ()
        assert session.settled and session.speech_so_far == 0

    def test_a_window_says_what_it_is(self) -> None:
        session = self.session()
        samples = told([False] * 10 + [True] * 20)
        window = session.push(samples).window
        assert window is not None
        assert (window.session_id, window.first_frame, window.n_frames) == ("s", 7, 20)
        assert window.starts_span and window.state is None
        assert np.array_equal(window.samples, samples[7 * 160 : 7 * 160 + 19 * 160 + 400])
        assert window.samples.flags.c_contiguous and window.samples.dtype == np.float32
        assert window.end_sample == 7 * 160 + 19 * 160 + 400

    def test_there_is_no_second_window_while_one_is_out(self) -> None:
        session = self.session()
        window = session.push(told([True] * 30)).window
        assert window is not None
        assert session.push(told([True] * 30)).window is None
        assert session.flush().window is None

    def test_an_answer_is_taken_once_and_only_for_the_window_that_is_out(self) -> None:
        session, model = self.session(), FakeModel()
        window = session.push(told([True] * 13)).window
        assert window is not None
        copy = Window("s", window.first_frame, window.n_frames, True, window.samples, None)
        with pytest.raises(ValueError, match="not out"):
            session.absorb(copy, model.score([copy])[0])
        session.absorb(window, model.score([window])[0])
        with pytest.raises(ValueError, match="not out"):
            session.absorb(window, model.score([window])[0])

    def test_a_failure_keeps_the_models_memory_of_what_came_before(self) -> None:
        player = Player(self.session(), failures=itertools.cycle([None, "INFERENCE_FAILED", None]))
        for _ in range(12):
            player.push(told([True] * 10))
        samples = told([True] * 10)
        player.finish()
        states = [None if w.state is None else float(w.state[0]) for w in player.windows]
        assert states[:4] == [None, 10, 10, 20]
        check_books(player, np.tile(samples, 12))

    def test_a_span_that_was_lost_altogether_has_no_verdict(self) -> None:
        player = Player(self.session(), failures=itertools.repeat("INFERENCE_TIMEOUT"))
        player.push(told([True] * 30))
        events = player.finish()
        assert not [e for e in events if isinstance(e, UtteranceScored | FramesScored)]
        assert sum(e.n_frames for e in events if isinstance(e, Lost)) == 28 == player.session.lost_frames

    def test_settled_means_that_no_speech_waits(self) -> None:
        session, model = self.session(), FakeModel()
        assert session.settled
        step = session.push(told([True] * 30))
        assert not session.settled, "speech is open"
        session.flush()
        assert not session.settled and step.window is not None
        step = session.absorb(step.window, model.score([step.window])[0])
        assert not session.settled and step.window is not None
        step = session.absorb(step.window, Failed("INFERENCE_FAILED", ""))
        assert session.settled and step.window is None
        session.push(told([False] * 30))
        assert session.settled

    def test_speech_so_far_counts_open_speech_and_never_shrinks(self) -> None:
        session, seen = self.session(), [0]
        for flags in ([False] * 20, [True] * 10, [True] * 10, [False] * 30, [True] * 5):
            session.push(told(flags))
            seen.append(session.speech_so_far)
        assert seen == sorted(seen)
        assert seen[2] == 28 - 17 and seen[4] == session.speech_frames == (40 + 6 - 2) - 17
        assert seen[5] > seen[4]
        session.flush()
        assert session.speech_so_far == session.speech_frames == seen[5]

    def test_after_a_flush_the_stream_goes_on_where_it_was(self) -> None:
        player = Player(self.session())
        samples = told([True] * 100)
        player.push(samples[:7000])
        player.flush()
        player.flush()
        player.push(samples[7000:])
        player.finish()
        check_books(player, samples)
        (first, second) = spans(player.events)
        assert first == (0, (7000 - 400) // 160 + 1) and second[0] == first[1] and second[1] == 98


class Silent(FakeModel):
    def score(self, windows: list[Window]) -> list[FrameScores]:
        row = np.full(N_LABELS, IMPOSSIBLE, np.float32)
        row[6] = 0
        n = windows[0].n_frames
        return [FrameScores(np.tile(row, (n, 1)), np.ones(n, np.float32), np.zeros(1, np.float32))]


def size_of(root: object) -> int:
    """Bytes of everything that `root` keeps alive, arrays included."""
    seen: dict[int, int] = {}
    stack = [root]
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing):
            continue
        size = sys.getsizeof(thing) + (len(thing) if isinstance(thing, memoryview) else 0)
        seen[id(thing)] = size
        stack += gc.get_referents(thing)
        base = getattr(thing, "base", None)
        if base is not None:
            stack.append(base)
    return sum(seen.values())


def test_an_hour_of_audio_leaves_no_more_behind_than_five_minutes(demo_samples: np.ndarray) -> None:
    player = Player(StreamSession("s", StreamConfig()), model=Silent())
    second = list(range(0, 20 * SAMPLE_RATE, SAMPLE_RATE))
    sizes = []
    for minute in range(60):
        for at in second * 3:
            player.push(demo_samples[at : at + SAMPLE_RATE])
        player.events.clear()
        player.windows.clear()
        if minute % 5 == 4:
            sizes.append(size_of(player.session))
    assert player.session.received == 3600 * SAMPLE_RATE
    assert player.session.speech_so_far > 600 * 100
    assert max(sizes) < 1.5 * StreamConfig().ring * 4, "the ring, and little else"
    assert max(sizes) - sizes[0] < 60_000, "a window's worth of audio may be out at the moment of looking"
