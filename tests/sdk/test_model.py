"""`EmotionModel`: what it says is what the server says; arrays, files and live audio agree."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from emotion_stream_client import EmotionClient, Frame, Result, Summary, Utterance

from emotion_stream import LABELS, LABELS_ZH, EmotionError, EmotionModel
from stream.types import LABEL_SETS_ZH, SAMPLE_RATE
from tests.conftest import ROOT, Server

WHEN = {"timestamp", "timestamp_utc"}
CUTS = (1, 7, 160, 1600, 5000, 40_000)


def test_labels_are_called_in_chinese_as_the_settings_say(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = dict(zip(LABELS, LABEL_SETS_ZH["common"], strict=True))
    monkeypatch.setenv("EMOTION_SERVER__LABELS_ZH", "common")
    with EmotionModel("fake") as model:
        found = model.inference(speech)
    assert common != LABELS_ZH and model.labels_zh == common
    for said in (found, *found.utterances):
        assert said.emotion_zh == common[said.emotion]
    assert found.utterances and {said.emotion for said in found.utterances} & {"angry", "neutral"}
    assert "emotion_zh" not in found.to_dict()


def without(told: dict, *names: str) -> dict:
    return {key: value for key, value in told.items() if key not in {*WHEN, *names}}


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_a_result_is_the_servers_result_json_to_the_last_digit(
    model: EmotionModel,
    compact: Server,
    recording: Path,
    granularity: Literal["utterance", "frame"],
    tmp_path: Path,
) -> None:
    here = model.analyze(recording, granularity, return_embedding=True)
    with EmotionClient(compact.url) as client:
        there = client.recognize(recording, granularity=granularity, embedding=True)
        file = client.download(there, "result.json", to=tmp_path)
        assert here.embedding is not None and here.embedding.dtype == np.float32
        np.testing.assert_array_equal(here.embedding, client.embedding(there))
    written = json.loads(Path(file).read_text(encoding="utf-8"))
    assert list(json.loads(json.dumps(here.to_dict()))) == list(written)
    assert without(here.to_dict()) == without(written)
    assert len(here.utterances) == len(written["utterances"]) > 0
    assert here.emotion in LABELS and here.emotion_zh == LABELS_ZH[here.emotion]
    assert sum(here.scores.values()) == pytest.approx(1, abs=1e-5)


def test_an_array_is_heard_as_its_recording(model: EmotionModel, recording: Path) -> None:
    waveform, rate = model.load_audio(recording)
    assert rate == 44_100 and waveform.dtype == np.float32 and waveform.ndim == 1
    of_array = model.inference(
        waveform=waveform, sample_rate=rate, granularity="frame", return_embedding=True
    )
    of_file = model.analyze(recording, "frame", return_embedding=True)
    assert without(of_array.to_dict()) == without(of_file.to_dict(), "file_name")
    np.testing.assert_array_equal(model.extract_embedding(waveform, rate), model.extract_embedding(recording))
    assert of_array.frames is not None and of_array.frames.scores.shape == (len(of_array.frames), 9)


def test_arrays_of_any_kind_are_the_same_sound(model: EmotionModel, speech: np.ndarray) -> None:
    told = without(model.inference(speech).to_dict())
    whole = (speech * 32768).astype(np.int16)
    others = [
        speech.astype(np.float64),
        whole,
        whole.astype(np.int32) << 16,
        np.stack([speech, speech], axis=1),
    ]
    for other in others:
        assert without(model.inference(other).to_dict()) == told


def test_a_stream_says_what_the_server_says_however_it_is_cut(
    model: EmotionModel, compact: Server, speech: np.ndarray
) -> None:
    live = model.stream(frame_results=True)
    here, at, cuts = [], 0, 0
    while at < len(speech):
        here += live.push(speech[at : at + CUTS[cuts % len(CUTS)]])
        at, cuts = at + CUTS[cuts % len(CUTS)], cuts + 1
    assert any(isinstance(event, Result) for event in here), "they come while it is pushed"
    here += live.finish()
    with EmotionClient(compact.url) as client, client.stream(frame_results=True) as stream:
        stream.send(speech)
        summary = stream.stop()
        there = list(stream)
    frames = [[event for event in events if isinstance(event, Frame)] for events in (here, there)]
    assert [frame.timestamp for frame in frames[0]] == [frame.timestamp for frame in frames[1]] != []
    scores = [np.array([list(frame.scores.values()) for frame in each]) for each in frames]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    said = [[event for event in events if isinstance(event, Utterance)] for events in (here, there)]
    assert [(u.start_ms, u.end_ms, u.emotion) for u in said[0]] == [
        (u.start_ms, u.end_ms, u.emotion) for u in said[1]
    ]
    last = here[-1]
    assert isinstance(last, Summary)
    assert without(last.raw, "session_id", "utterances") == without(summary.raw, "session_id", "utterances")
    assert len(last.utterances) == len(said[0]) > 0


def test_streams_files_and_threads_share_a_model(
    model: EmotionModel, speech: np.ndarray, recording: Path
) -> None:
    alone = without(model.analyze(recording).to_dict())

    def live(_: int) -> list[dict]:
        stream = model.stream()
        events = [
            event for at in range(0, len(speech), 1600) for event in stream.push(speech[at : at + 1600])
        ]
        return [u.scores for u in [*events, *stream.finish()] if isinstance(u, Utterance)]

    with ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(live, i) for i in range(2)]
        files = [pool.submit(model.analyze, recording) for _ in range(2)]
        (first, second), found = [s.result() for s in streams], [f.result() for f in files]
    assert all(without(each.to_dict()) == alone for each in found)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(list(one.values()), list(other.values()), atol=1e-5)


def test_an_embedding_is_classified_nearly_as_its_recording(model: EmotionModel, speech: np.ndarray) -> None:
    (said,) = (u for u in model.inference(speech).utterances[:1])
    part = speech[said.start_ms * 16 : said.end_ms * 16]
    found = model.inference(part, return_embedding=True)
    scores = model.classify_embedding(found.embedding)
    assert list(scores) == list(LABELS) and sum(scores.values()) == pytest.approx(1, abs=1e-5)
    far = sum(abs(scores[label] - found.scores[label]) for label in LABELS) / 2
    assert far < 0.15
    uniform = sum(abs(1 / 9 - found.scores[label]) for label in LABELS) / 2
    assert far < uniform, "nearer than what knows nothing"


def test_errors_say_what_to_do(model: EmotionModel, tmp_path: Path, speech: np.ndarray) -> None:
    with pytest.raises(EmotionError, match=r"missing\.wav: cannot be opened") as refused:
        model.analyze(tmp_path / "missing.wav")
    assert refused.value.code == "BAD_AUDIO"
    (tmp_path / "notes.txt").write_text("no audio")
    for way in (model.analyze, model.load_audio, model.extract_embedding):
        with pytest.raises(EmotionError, match="send WAV, MP3") as refused:
            way(tmp_path / "notes.txt")
        assert refused.value.code == "UNSUPPORTED_MEDIA"
    with pytest.raises(ValueError, match="transpose"):
        model.inference(np.zeros((2, SAMPLE_RATE), np.float32))
    with pytest.raises(ValueError, match="without samples"):
        model.inference(np.zeros(0, np.float32))
    with pytest.raises(TypeError, match="int16"):
        model.inference(np.zeros(SAMPLE_RATE, np.uint8))
    with pytest.raises(ValueError, match="sample rate of 0"):
        model.inference(speech, 0)
    with pytest.raises(EmotionError, match="not finite"):
        model.inference(np.full(SAMPLE_RATE, np.nan))
    with pytest.raises(ValueError, match="utterance, frame"):
        model.inference(speech, granularity="word")  # type: ignore[arg-type]
    with pytest.raises(EmotionError, match="no speech") as refused:
        model.extract_embedding(np.zeros(SAMPLE_RATE, np.float32))
    assert refused.value.code == "NO_AUDIO"
    with pytest.raises(ValueError, match="512 finite numbers"):
        model.classify_embedding(np.zeros(1024))
    with pytest.raises(ValueError, match="no model, and no folder"):
        EmotionModel("emotion3vec")


def test_a_stream_refuses_what_is_no_audio_and_goes_on(model: EmotionModel, speech: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mp3"):
        model.stream(encoding="mp3")
    live = model.stream(encoding="pcm_f32le")
    with pytest.raises(EmotionError) as refused:
        live.push(np.full(1600, np.nan, np.float32))
    assert refused.value.code == "BAD_AUDIO"
    with pytest.raises(TypeError):
        live.push("speech.wav")
    events = [*live.push(speech), *live.finish()]
    assert any(isinstance(event, Utterance) for event in events)
    with pytest.raises(EmotionError, match="has ended"):
        live.push(speech)
    with pytest.raises(EmotionError, match="has ended"):
        live.finish()


def test_a_silent_recording_is_unknown_and_has_no_embedding(model: EmotionModel) -> None:
    found = model.inference(np.zeros(SAMPLE_RATE, np.float32), return_embedding=True)
    assert (found.emotion, found.utterances, found.embedding) == ("unknown", (), None)
    assert found.no_embedding == "there is no speech in this recording"


def test_settings_and_the_environment_choose_as_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speech: np.ndarray
) -> None:
    (tmp_path / "config.yaml").write_text("model: {name: fake}\nspeech: {hangover_ms: 100}\n")
    with EmotionModel(config=tmp_path / "config.yaml") as configured:
        assert configured.spec.name == "fake"
        with pytest.raises(ValueError, match="cannot score embeddings"):
            configured.classify_embedding([0.1, 1])
        more = len(configured.inference(speech).utterances)
    monkeypatch.setenv("EMOTION_MODEL__NAME", "fake")
    monkeypatch.chdir(tmp_path)  # a config.yaml that happens to lie there is somebody else's
    with EmotionModel() as plain:
        assert plain.spec.name == "fake" and len(plain.inference(speech).utterances) < more


def run(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    kept = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=kept, capture_output=True, text=True)


def test_importing_it_is_light_and_puts_nothing_before_others(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text("mine = True\n")
    code = """
import sys
before = set(sys.modules)
import emotion_stream
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
assert new == {"emotion_stream"}, new
from emotion_stream import EmotionModel
assert not {"torch", "eventlet", "flask"} & set(sys.modules)
import tools
assert tools.mine
assert EmotionModel("fake").spec.name == "fake"
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_module_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("raise SystemExit('it was run')\n")
    done = run("from emotion_stream import EmotionModel", tmp_path)
    assert "ImportError: another module is called 'server'" in done.stderr and "rename it" in done.stderr
    assert "it was run" not in done.stderr


def test_what_an_array_holds_reaches_the_model_unchanged(model: EmotionModel, tmp_path: Path) -> None:
    """float32 that 16 bits could not hold: by file and by array the same."""
    rng = np.random.default_rng(0)
    samples = (1e-6 * rng.standard_normal(SAMPLE_RATE)).astype(np.float32)
    soundfile.write(tmp_path / "faint.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(model.load_audio(tmp_path / "faint.wav")[0], samples)
