"""Recognizing a recording: the scores of a live stream, the same digits whatever happens, files that agree."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.config import Config
from server.engine import Busy, EngineSettings, Health, Reply, Timing
from server.engine.inprocess import InProcessEngine
from server.errors import ClientError
from server.files.decode import DecodeLimits
from server.files.recognize import RecognizeOptions, file_stream_config, recognize
from server.files.result import NAME_LENGTH, Recording, clean_name, into
from stream.full_recording import score_recording
from stream.models.fake import FakeModel
from stream.offline import run
from stream.types import (
    LABELS,
    EmotionModel,
    Failed,
    FailureCode,
    Floats,
    FrameScores,
    FramesScored,
    ModelSpec,
    RecordingWindow,
    UtteranceScored,
    Window,
)
from stream.utterance import Utterance
from tests.server.recordings import made, wav

TOLERANCE = 1e-5 + 1e-6  # the promise, and the sixth digit, which is rounded


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    engine = InProcessEngine(FakeModel(), EngineSettings())
    yield engine
    engine.close()


def heard(data: bytes, engine: Any, options: RecognizeOptions = RecognizeOptions()) -> Recording:  # noqa: B008
    return recognize(io.BytesIO(data), engine, Config(), options)


def test_a_file_is_heard_as_a_live_stream_is(
    model: EmotionModel, demo_pcm: bytes, demo_samples: Floats
) -> None:
    """In other windows, so not to the last digit, but to 1e-5; in the same places, utterance for utterance."""
    engine = InProcessEngine(model, EngineSettings())
    found = heard(wav(demo_pcm), engine, RecognizeOptions("frame", embed=True))
    engine.close()
    whole = Utterance()
    utterances: list[UtteranceScored] = []
    first: list[int] = []
    rows: list[Floats] = []
    for event in run([demo_samples], model, replace(Config().stream_config(model.spec), embed=True)):
        if isinstance(event, FramesScored):
            whole.add(event.scores)
            first += range(event.first_frame, event.first_frame + len(event.probs))
            rows.append(event.probs)
        elif isinstance(event, UtteranceScored):
            utterances.append(event)
    result = found.result()
    assert result["frame_start_ms"] == [10 * frame for frame in first]
    np.testing.assert_allclose(result["frame_scores"], np.concatenate(rows), atol=TOLERANCE)
    assert [(u["start_ms"], u["end_ms"]) for u in result["utterances"]] == [
        (10 * u.start, 10 * u.end) for u in utterances
    ]
    for ours, theirs in zip(result["utterances"], utterances, strict=True):
        np.testing.assert_allclose(list(ours["scores"].values()), theirs.probs, atol=TOLERANCE)
    np.testing.assert_allclose(list(found.verdict["scores"].values()), whole.probs(), atol=TOLERANCE)
    assert found.embedding is not None and found.embedding.shape == (model.spec.embedding_size,)
    assert whole.embedding is not None
    np.testing.assert_allclose(found.embedding, whole.embedding, atol=1e-3)


class Fickle:
    """An engine in front of another that is late, busy or out of time at random, as one under load is."""

    def __init__(self, engine: InProcessEngine, seed: int) -> None:
        self._engine, self._chance = engine, random.Random(seed)
        self.spec: ModelSpec | None = engine.spec
        self.windows: list[Window] = []

    def submit(self, window: Window, reply: Reply) -> None:
        fate = self._chance.random()
        if fate < 0.1:
            raise Busy
        if fate < 0.2:
            codes: tuple[FailureCode, ...] = ("INFERENCE_TIMEOUT", "OVERLOADED", "NOT_READY")
            code = self._chance.choice(codes)
            threading.Timer(0.001, reply, (window, Failed(code, "later"), Timing())).start()
            return
        self.windows.append(window)
        threading.Timer(self._chance.choice((0, 0.02)), self._engine.submit, (window, reply)).start()

    def health(self) -> Health:
        return self._engine.health()

    def close(self) -> None:
        self._engine.close()


@pytest.mark.parametrize("seed", range(3))
def test_the_digits_do_not_depend_on_what_happens_around_it(
    engine: InProcessEngine, demo_pcm: bytes, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.files.recognize.PAUSE_S", 0.001)
    data = wav(demo_pcm[: 32_000 * 12])
    calm = heard(data, engine, RecognizeOptions("frame", embed=True)).result()
    fickle = Fickle(engine, seed)
    found = heard(data, fickle, RecognizeOptions("frame", embed=True)).result()
    for name in calm.keys() - {"timestamp", "timestamp_utc"}:
        assert np.array_equal(found[name], calm[name]), name
    assert all(window.background and window.embed for window in fickle.windows)


class Refusing(Fickle):
    def submit(self, window: Window, reply: Reply) -> None:
        reply(window, Failed("INFERENCE_FAILED", "the model broke"), Timing())


def test_a_model_that_fails_is_an_error_and_no_result(engine: InProcessEngine, demo_pcm: bytes) -> None:
    with pytest.raises(ClientError, match="the model broke") as wrong:
        heard(wav(demo_pcm), Refusing(engine, 0))
    assert wrong.value.code == "INFERENCE_FAILED"


def test_without_a_model_it_is_not_ready(engine: InProcessEngine, demo_pcm: bytes) -> None:
    loading = Refusing(engine, 0)
    loading.spec = None
    with pytest.raises(ClientError) as wrong:
        heard(wav(demo_pcm), loading)
    assert wrong.value.code == "NOT_READY"


def test_what_is_kept_agrees_with_what_is_said(
    engine: InProcessEngine, demo_pcm: bytes, tmp_path: Path
) -> None:
    found = heard(wav(demo_pcm), engine, RecognizeOptions("utterance", embed=True, create=into(tmp_path)))
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result == found.result()
    assert list(result["scores"]) == list(LABELS)
    with wave.open(str(tmp_path / "processed_audio.wav")) as audio:
        assert audio.getparams()[:3] == (1, 2, 16_000)
        assert audio.readframes(audio.getnframes()) == demo_pcm, "what was 16 kHz PCM16 is kept bit for bit"
    embedding = np.load(tmp_path / "embedding.npy", allow_pickle=False)
    assert embedding.dtype == np.float32 and np.array_equal(embedding, found.embedding)  # type: ignore[arg-type]
    table = list(csv.DictReader((tmp_path / "result.csv").read_text(encoding="utf-8").splitlines()))
    assert [(int(row["start_ms"]), row["emotion"]) for row in table] == [
        (u["start_ms"], u["emotion"]) for u in result["utterances"]
    ]


def test_frames_are_kept_as_they_are_said(
    engine: InProcessEngine, demo_pcm: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.files.result._ROWS", 300)  # several blocks
    found = heard(wav(demo_pcm), engine, RecognizeOptions("frame", create=into(tmp_path)))
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    said = found.result()
    assert result.keys() == said.keys()
    assert {name: result[name] for name in found.verdict} == found.verdict, "beside the frames"
    for name in ("frame_scores", "frame_emotions", "frame_confidences", "frame_start_ms", "utterances"):
        assert np.array_equal(
            np.float32(result[name])
            if "s" in name and name != "utterances" and "emotions" not in name
            else result[name],
            said[name],
        ), name
    table = list(csv.DictReader((tmp_path / "result.csv").read_text(encoding="utf-8").splitlines()))
    assert [int(row["start_ms"]) for row in table] == result["frame_start_ms"]
    assert [float(row["angry"]) for row in table] == [row[0] for row in result["frame_scores"]]
    assert not (tmp_path / "embedding.npy").exists()


def test_silence_is_unknown_and_has_no_embedding(engine: InProcessEngine, tmp_path: Path) -> None:
    for granularity in ("utterance", "frame"):
        found = heard(
            wav(bytes(64_000)), engine, RecognizeOptions(granularity, embed=True, create=into(tmp_path))
        )
        assert found.verdict["emotion"] == "unknown" and found.verdict["confidence"] == 1
        assert found.embedding is None and "no speech" in (found.no_embedding or "")
        assert json.loads((tmp_path / "result.json").read_text())["utterances"] == []
        assert not (tmp_path / "embedding.npy").exists()


def test_a_model_without_embeddings_says_so(demo_pcm: bytes) -> None:
    class Plain(FakeModel):
        def __init__(self) -> None:
            super().__init__()
            self.spec = replace(self.spec, embedding_size=0)

        def score(self, windows: list[Window]) -> list[FrameScores]:
            return [replace(scores, embedding=None) for scores in super().score(windows)]

    engine = InProcessEngine(Plain(), EngineSettings())
    found = heard(wav(demo_pcm), engine, RecognizeOptions(embed=True))
    engine.close()
    assert found.embedding is None and "fake gives no embeddings" in (found.no_embedding or "")


def test_steps_and_progress_are_told_in_order(
    engine: InProcessEngine, demo_samples: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.files.recognize.PROGRESS_S", 0.03)
    told: list[Any] = []
    data = made("a.mp3", demo_samples)

    class Slow(Fickle):
        def submit(self, window: Window, reply: Reply) -> None:
            time.sleep(0.03)
            self._engine.submit(window, reply)

    recognize(
        io.BytesIO(data), Slow(engine, 0), Config(), RecognizeOptions(create=into(tmp_path)), told.append
    )
    done = [said["progress"]["done_s"] for said in told if "progress" in said]
    assert done == sorted(done) and len(done) > 2
    assert told[0]["progress"]["total_s"] == pytest.approx(20.7, abs=0.2)
    steps = [said["step"] for said in told if "step" in said]
    assert [step["step"] for step in steps] == ["decode", "resample", "detect_speech", "score", "save"]
    assert "mp3" in steps[0]["detail"] and "2 channels" in steps[0]["detail"]
    assert all(step["ms"] >= 0 for step in steps)


def test_who_is_told_may_end_it(engine: InProcessEngine, demo_pcm: bytes) -> None:
    def enough(said: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        recognize(io.BytesIO(wav(demo_pcm)), engine, Config(), RecognizeOptions(), enough)


def test_a_longer_recording_than_wished_for_is_refused(engine: InProcessEngine, demo_pcm: bytes) -> None:
    with pytest.raises(ClientError) as wrong:
        heard(wav(demo_pcm), engine, RecognizeOptions(max_s=5))
    assert wrong.value.code == "FILE_TOO_LARGE"
    assert DecodeLimits().max_s == float("inf")


@pytest.mark.parametrize("hop", [1, 7, 10, 128, 200, 333])
def test_windows_are_near_two_seconds_and_what_the_model_takes(hop: int) -> None:
    spec = ModelSpec("m", "cpu", "float32", hop_frames=hop, lookahead_frames=0, state_size=0)
    config = file_stream_config(Config(), spec, embed=False)
    assert config.hop == config.max_hop and config.hop % hop == 0
    assert config.hop <= max(200, hop) < config.hop + hop or hop > 200
    fixed = file_stream_config(Config(), replace(spec, fixed_hop=True, left_frames=500), embed=True)
    assert fixed.hop == hop and fixed.embed and fixed.background
    assert fixed.ring > 500 * 160


LONG = """
import resource, sys
import torch
torch.set_num_threads(1)
from server.config import Config
from server.engine import EngineSettings
from server.engine.inprocess import InProcessEngine
from server.files.recognize import RecognizeOptions, recognize
from stream.batching import BatchLimits
from stream.models.registry import load_model
engine = InProcessEngine(load_model("compact", "cpu"), EngineSettings(batching=BatchLimits(max_wait_s=0)))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for path in sys.argv[1:]:
    before = peak()
    with open(path, "rb") as file:
        found = recognize(file, engine, Config(), RecognizeOptions())
    print(found.head["duration_s"], peak() - before, len(found.utterances))
"""


@pytest.mark.slow
def test_a_long_recording_takes_no_more_memory(demo_pcm: bytes, tmp_path: Path) -> None:
    """Twenty minutes after one, in a process of its own."""
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    for path, minutes in ((short, 1), (long, 20)):
        path.write_bytes(wav((demo_pcm * 60)[: 60 * minutes * 32_000]))
    done = subprocess.run(
        [sys.executable, "-c", LONG, str(short), str(long)],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    duration_s, growth_mb, utterances = map(float, done.stdout.split("\n")[1].split())
    assert duration_s == 1200 and utterances > 200
    assert growth_mb < 40, done.stdout


class FullRecordings(FakeModel):
    """Scores recordings at once, in segments of at most five seconds: angry by their level."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, recording_frames=500)

    def score(self, windows: list[Window]) -> list[FrameScores]:
        return [
            self._segment(window) if isinstance(window, RecordingWindow) else self._one(window)
            for window in windows
        ]

    def _segment(self, window: Window) -> FrameScores:
        level = np.float32(np.sqrt(np.mean(window.samples**2)))
        logits = np.zeros((1, len(LABELS)), np.float32)
        logits[0, 0] = 10 * level
        embedding = np.array([level, 2], np.float32) if window.embed else None
        return FrameScores(logits, np.array([window.n_frames // 2], np.float32), None, embedding)


def test_the_verdict_is_of_the_full_recording_where_the_model_scores_that(
    demo_pcm: bytes, demo_samples: Floats
) -> None:
    model = FullRecordings()
    engine = InProcessEngine(model, EngineSettings())
    found = heard(wav(demo_pcm), engine, RecognizeOptions("frame", embed=True))
    silent = heard(wav(bytes(320_000)), engine, RecognizeOptions(embed=True))
    short = heard(wav(demo_pcm[:600]), engine, RecognizeOptions(embed=True))
    engine.close()
    wanted = score_recording([demo_samples], model, embed=True)
    scores = np.array(list(found.verdict["scores"].values()), np.float32)
    assert np.array_equal(scores, np.round(wanted.probs(), 6))
    assert np.array_equal(found.embedding, wanted.embedding)  # type: ignore[arg-type]
    plain = InProcessEngine(FakeModel(), EngineSettings())
    frames = heard(wav(demo_pcm), plain, RecognizeOptions("frame")).result()
    plain.close()
    assert np.array_equal(found.result()["frame_scores"], frames["frame_scores"]), "frames are the session's"
    for nothing in (silent, short):
        assert nothing.verdict["emotion"] == "unknown" and nothing.embedding is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("call 17.mp3", "call 17.mp3"),
        ("C:\\Users\\张三\\录音 3.m4a", "录音 3.m4a"),
        ("/etc/../passwd", "passwd"),
        ("../.hidden.wav", "hidden.wav"),
        ("a\x00b\n\u202ec.wav", "abc.wav"),
        ("", ""),
        ("..", ""),
        ("x" * 300 + ".flac", "x" * 99 + "…" + "x" * 15 + ".flac"),
    ],
)
def test_a_name_is_kept_without_folders_and_without_what_cannot_be_seen(sent: str, kept: str) -> None:
    assert clean_name(sent) == kept and len(kept) <= NAME_LENGTH
