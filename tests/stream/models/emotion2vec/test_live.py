"""The live path's promises with this model: chunks, batch mates, file and stream, a killed model process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server.engine import EngineSettings, Timing
from server.engine.inprocess import InProcessEngine
from server.engine.process import ProcessEngine
from stream.batching import BatchLimits
from stream.offline import run
from stream.session import StreamConfig, StreamSession
from stream.types import (
    Answer,
    EmotionModel,
    Failed,
    Floats,
    FramesScored,
    Lost,
    ModelSpec,
    UtteranceScored,
    Window,
)
from tests.stream.models.emotion2vec.conftest import sound
from tests.stream.models.emotion2vec.test_adapter import window

CLOSE = 1e-5


def listening(spec: ModelSpec) -> StreamConfig:
    return StreamConfig(
        hop=spec.hop_frames, max_hop=spec.hop_frames, left=spec.left_frames, right=spec.right_frames
    )


@pytest.fixture(scope="module")
def speech() -> Floats:
    samples, _ = soundfile.read(Path(__file__).parents[4] / "demo" / "conversation.wav", dtype="float32")
    kept: Floats = np.ascontiguousarray(samples[: 9 * 16_000])
    return kept


def play(samples: Floats, model: EmotionModel, cuts: list[int]) -> tuple[dict[int, Floats], list[Floats]]:
    """Scores by frame, and the utterances', of `samples` given in chunks cut at `cuts`."""
    frames: dict[int, Floats] = {}
    utterances = []
    for event in run(np.split(samples, cuts), model, listening(model.spec)):
        assert not isinstance(event, Lost)
        if isinstance(event, FramesScored):
            for i, row in enumerate(event.probs):
                assert event.first_frame + i not in frames
                frames[event.first_frame + i] = row
        elif isinstance(event, UtteranceScored):
            utterances.append(event.probs)
    return frames, utterances


@pytest.mark.parametrize("seed", [1, 2])
def test_chunks_do_not_matter(ours: Any, speech: Floats, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole, said = play(speech, ours, [])
    cut, cut_said = play(speech, ours, sorted(rng.integers(0, len(speech), 400).tolist()))
    assert len(whole) > 300
    assert whole.keys() == cut.keys()
    np.testing.assert_allclose(list(cut.values()), list(whole.values()), atol=CLOSE)
    np.testing.assert_allclose(cut_said, said, atol=CLOSE)


class Desk:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.answers: dict[str, Answer] = {}

    def reply(self, window: Window, answer: Answer, timing: Timing) -> None:
        with self._changed:
            assert window.session_id not in self.answers
            self.answers[window.session_id] = answer
            self._changed.notify_all()

    def wait(self, n: int, seconds: float) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.answers) >= n, seconds)


def some_windows(n: int) -> list[Window]:
    """Of several lengths, of as many sessions."""
    made = []
    for i in range(n):
        left, right = [(200, 20), (30, 20), (200, 0)][i % 3]
        w = window(sound(3, i), left, 50, left, right)
        made.append(Window(f"s{i}", w.first_frame, 50, True, w.samples, None, left, right))
    return made


def check(windows: list[Window], desk: Desk, model: EmotionModel) -> None:
    for w in windows:
        answer, (alone,) = desk.answers[w.session_id], model.score([w])
        assert not isinstance(answer, Failed), answer
        np.testing.assert_allclose(answer.logits, alone.logits, atol=1e-4)


def test_batch_mates_do_not_matter(ours: Any) -> None:
    """Windows of other lengths wait for others; a broken one spoils nobody's."""
    engine = InProcessEngine(ours, EngineSettings(batching=BatchLimits(8, 0.01)))
    desk, windows = Desk(), some_windows(18)
    w = windows[4]
    windows[4] = Window("s4", w.first_frame, 50, True, w.samples[:-7], None, w.left_frames, w.right_frames)
    for w in windows:
        engine.submit(w, desk.reply)
    desk.wait(len(windows), 30)
    engine.close()
    broken = desk.answers["s4"]
    assert isinstance(broken, Failed)
    assert broken.code == "INFERENCE_FAILED"
    check([w for w in windows if w.session_id != "s4"], desk, ours)


def test_a_lost_window_is_not_blended_over(ours: Any, speech: Floats) -> None:
    """After a failure the next window's scores are its own: what it was told of earlier frames does not fit."""
    session, failed, frames = StreamSession("s", listening(ours.spec)), 0, 0
    turn = session.push(speech[: 6 * 16_000])
    while (window := turn.window) is not None:
        (answer,) = ours.score([window])
        if failed == 0 and frames:
            failed = window.first_frame
            turn = session.absorb(window, Failed("INFERENCE_TIMEOUT", "told to"))
            if turn.window is not None and not turn.window.starts_span:
                bare = Window("s", turn.window.first_frame, turn.window.n_frames, False, turn.window.samples, None,
                              turn.window.left_frames, turn.window.right_frames)  # fmt: skip
                mine, own = ours.score([turn.window])[0], ours.score([bare])[0]
                np.testing.assert_allclose(mine.logits, own.logits, atol=CLOSE)
            continue
        frames += len(answer.logits)
        turn = session.absorb(window, answer)
    assert failed and frames


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_model_process_loses_nothing(ours: Any, folder: Path) -> None:
    from stream.models.registry import load_model

    try:
        load_model(str(folder), "cpu")
    except ValueError as unknown:
        if "no model is called" in str(unknown):
            pytest.skip("the registry does not take folders yet")
        raise
    engine = ProcessEngine(EngineSettings(model=str(folder), device="cpu", deadline_s=100), "CRITICAL")
    desk, windows = Desk(), some_windows(9)
    engine.start()
    for w in windows[:3]:
        engine.submit(w, desk.reply)
    desk.wait(3, 100)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    for w in windows[3:]:
        engine.submit(w, desk.reply)
    os.kill(engine.pid, signal.SIGKILL)
    desk.wait(9, 100)
    engine.close()
    check(windows, desk, ours)
