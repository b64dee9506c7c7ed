"""Recordings heard as one, through the engines: what funasr's `generate` says, and those who speak go first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.engine import Engine, EngineSettings, Timing
from server.engine.inprocess import InProcessEngine
from server.engine.process import ProcessEngine
from stream.full_recording import score_recording, windows_of
from stream.types import LABELS, Answer, Floats, FrameScores, Window, softmax
from stream.utterance import Utterance
from tests.server.engine.material import Desk
from tests.stream.models.emotion2vec.conftest import sound
from tests.stream.models.emotion2vec.test_adapter import window
from tests.stream.models.emotion2vec.test_parity import CLOSE, LENGTHS_S, generate


@pytest.fixture(scope="module", params=["in process", "in a child"])
def engine(request: pytest.FixtureRequest, folder: Path, ours: Any) -> Iterator[Engine]:
    if request.param == "in process":
        made: Engine = InProcessEngine(ours, EngineSettings())
    else:
        child = ProcessEngine(EngineSettings(model=str(folder), device="cpu"), "CRITICAL")
        child.start()
        until_up(child)
        made = child
    yield made
    made.close()


def until_up(engine: ProcessEngine) -> None:
    end = time.monotonic() + 60
    while not engine.health().up:
        assert time.monotonic() < end and not engine.health().fatal, engine.health().error
        time.sleep(0.05)


def hear(engine: Engine, samples: Floats) -> Utterance:
    """As the file path does it: every piece through the engine, answers in any order."""
    assert engine.spec is not None
    utterance, arrived = Utterance(), threading.Semaphore(0)

    def reply(window: Window, answer: Answer, timing: Timing) -> None:
        assert isinstance(answer, FrameScores), answer
        utterance.add(answer)
        arrived.release()

    pieces = list(windows_of(np.array_split(samples, 7), engine.spec, embed=True))
    for piece in pieces:
        engine.submit(piece, reply)
    for _ in pieces:
        assert arrived.acquire(timeout=60)
    return utterance


@pytest.mark.slow
@pytest.mark.parametrize("seconds", LENGTHS_S)
def test_a_recordings_scores_and_embedding_are_funasrs(engine: Engine, theirs: Any, seconds: float) -> None:
    x = sound(seconds, seed=int(10 * seconds))
    scores, embedding = generate(theirs, x)
    heard = hear(engine, x)
    np.testing.assert_allclose(heard.probs(), scores, atol=CLOSE)
    assert heard.embedding is not None
    np.testing.assert_allclose(heard.embedding, embedding, atol=CLOSE)


def test_pieces_are_the_same_through_every_engine(engine: Engine, ours: Any) -> None:
    x = sound(40, 3)
    through, direct = hear(engine, x), score_recording([x], ours, embed=True)
    assert direct.embedding is not None and through.embedding is not None
    np.testing.assert_allclose(through.probs(), direct.probs(), atol=1e-6)
    np.testing.assert_allclose(through.embedding, direct.embedding, atol=1e-6)


@pytest.mark.slow
def test_those_who_speak_do_not_wait_for_a_long_recording(folder: Path, ours: Any) -> None:
    """Between the blocks of the model's work on it, live windows are scored; neither's scores change."""
    engine = ProcessEngine(EngineSettings(model=str(folder), device="cpu"), "CRITICAL")
    engine.start()
    until_up(engine)
    (piece,) = windows_of([sound(30, 1)], ours.spec, embed=True)
    live = window(sound(3, 2), 200, 50, 200, 20)
    desk = Desk()
    engine.submit(piece, desk.reply)
    time.sleep(0.1)
    for _ in range(3):
        engine.submit(live, desk.reply)
    desk.wait(2, 30)
    order = list(desk.answers)
    assert order == [live.first_frame, piece.first_frame]
    for w in (piece, live):
        answer, (alone,) = desk.answers[w.first_frame], ours.score([w])
        assert isinstance(answer, FrameScores)
        np.testing.assert_allclose(softmax(answer.logits), softmax(alone.logits), atol=1e-5)
    engine.close()


@pytest.mark.slow
def test_a_files_verdict_and_embedding_are_funasrs(ours: Any, theirs: Any) -> None:
    """Through the whole file path, from a WAV file on."""
    from server.config import Config
    from server.files.find import recognize_file
    from server.files.recognize import RecognizeOptions

    path = Path(__file__).parents[4] / "demo" / "conversation.wav"
    scores, embedding = generate(theirs, str(path))  # type: ignore[arg-type]
    engine = InProcessEngine(ours, EngineSettings())
    found = recognize_file(path, engine, Config(), RecognizeOptions(embed=True))
    engine.close()
    np.testing.assert_allclose([found.result()["scores"][label] for label in LABELS], scores, atol=CLOSE)
    np.testing.assert_allclose(found.embedding, embedding, atol=CLOSE)  # type: ignore[arg-type]
    assert found.utterances
