"""`tools rules`: recorded sessions and results are judged as they were live, recordings as they would be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server import config
from server.config import Config
from server.engine.inprocess import InProcessEngine
from server.live.registry import Sessions
from server.live.requests import parse_audio, parse_start
from server.metrics import Metrics
from server.records.recording import Recorder
from stream.models.fake import FakeModel
from tests.server.live.test_policy import Everything
from tools import try_rules
from tools.rules import Unusable, clock, judge, read

RULES = [
    {"name": "spoken", "when": {"any_of": "angry", "above": 0.6}, "cool_down_s": 3},
    {
        "name": "mean",
        "when": {"any_of": "angry", "above": 0.7, "clear_below": 0.6},
        "window_s": 2,
        "cool_down_s": 0,
    },
    {"name": "share", "when": {"share_of": "neutral", "above": 0.2}, "window_s": 3, "cool_down_s": 0},
    {"name": "theirs", "when": {"any_of": "angry", "above": 0.6}, "window_s": 1, "channel": "customer"},
    {"name": "pair", "when": {"both_raised": "angry", "above": 0.6}, "window_s": 1, "cool_down_s": 0},
    {"name": "never", "when": {"any_of": "happy", "above": 0.6}},
    {"name": "hardly", "when": {"any_of": ["angry", "neutral"], "below": 0.01}, "window_s": 3},
]


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return config.load(
        None,
        {
            "model": {"name": "fake"},
            "alerts": {"rules": RULES},
            "recording": {"sessions": True},
            "files": {"outputs": str(tmp_path / "outputs")},
            "limits": {"max_ahead_s": 60},
            "stream": {"ring_s": 70},
        },
    )


@pytest.fixture(scope="module")
def call(demo_samples: np.ndarray) -> np.ndarray:
    """(n, 2), 16-bit: both get louder."""
    n = 20 * 16_000
    louder = np.linspace(0.2, 4, n)[:, None]
    both = np.stack([demo_samples[:n], np.roll(demo_samples[:n], 5 * 16_000)], axis=1)
    return np.asarray(np.rint(np.clip(louder * both, -1, 1) * 32767), "<i2")


def lived(settings: Config, pcm: np.ndarray) -> tuple[list[dict[str, Any]], Path]:
    """The alerts of a live session, and its record."""
    ears = Everything()
    recorder = Recorder(settings, Metrics())
    recorder.start()
    sessions = Sessions(settings, ears, Metrics(), (ears, recorder))
    session, _, _ = sessions.start("sid", ears, parse_start({"channels": pcm.shape[1]}))
    for at in range(0, len(pcm), 16_000):
        session.feed(parse_audio({"chunk": pcm[at : at + 16_000].tobytes()}))
    sessions.stop(session, "stop")
    recorder.close()
    (folder,) = settings.files.folder.glob("session_*")
    return [payload for name, payload in ears.sent if name == "alert"], folder


def compared(alerts: Any) -> list[dict[str, Any]]:
    bare = [{k: v for k, v in alert.items() if k != "session_id"} for alert in alerts]
    return sorted(bare, key=lambda a: (a["at_ms"], a["rule"], a.get("channel", "")))


def not_scored(path: Path) -> Any:
    raise AssertionError(f"{path} holds its scores")


@pytest.mark.parametrize("channels", [1, 2])
def test_a_record_gives_the_alerts_of_its_session(settings: Config, call: np.ndarray, channels: int) -> None:
    alerts, folder = lived(settings, call[:, :channels])
    for path in (folder, folder / "record.json"):
        verdict = judge(read(path, not_scored), settings.alerts.rules)
        assert compared(verdict.alerts) == compared(alerts)
    fired = {alert["rule"] for alert in alerts}
    assert fired >= (
        {"spoken", "mean", "share"} if channels == 1 else {"spoken", "mean", "share", "theirs", "pair"}
    )
    assert verdict.peaks["never"] == 0 and (verdict.peaks["mean"] or 0) > 0.7
    assert any("pair" in note for note in verdict.notes) == (channels == 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_recording_gives_what_a_live_session_would(
    settings: Config, call: np.ndarray, tmp_path: Path, channels: int
) -> None:
    alerts, _ = lived(settings, call[:, :channels])
    path = tmp_path / "call.wav"
    soundfile.write(path, call[:, :channels], 16_000, "PCM_16")
    verdict = judge(read(path, try_rules.Scorer(settings, channels)), settings.alerts.rules)
    assert compared(verdict.alerts) == compared(alerts)


def test_a_result_of_frames_is_judged_with_its_windows(
    settings: Config, call: np.ndarray, tmp_path: Path
) -> None:
    from server.files import find
    from server.files.recognize import RecognizeOptions
    from server.files.result import into

    path = tmp_path / "call.wav"
    soundfile.write(path, call[:, 0], 16_000, "PCM_16")
    engine = InProcessEngine(FakeModel(), settings.engine_settings)
    try:
        for granularity in ("frame", "utterance"):
            folder = tmp_path / granularity
            folder.mkdir()
            found = find.recognize_file(path, engine, settings, RecognizeOptions(granularity))
            found.save(into(folder))
    finally:
        engine.close()
    rules = settings.alerts.rules
    whole = judge(read(tmp_path / "frame", not_scored), rules)
    assert {alert["rule"] for alert in whole.alerts} >= {"spoken", "mean"}
    spoken = judge(read(tmp_path / "utterance", not_scored), rules)
    assert {alert["rule"] for alert in spoken.alerts} == {"spoken"}
    assert any("window_s could not be tried" in note for note in spoken.notes)
    assert spoken.peaks["mean"] is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"x"', "{}", '{"timeline": 1}', '{"utterances": [{}]}', '{"timeline": [{}], "channels": 1}'],
)  # fmt: skip
def test_what_is_no_record_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(Unusable):
        read(path, not_scored)


def test_the_command_prints_each_file_and_goes_on_after_a_bad_one(
    settings: Config, call: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alerts, folder = lived(settings, call[:, :1])
    (tmp_path / "bad.json").write_text("{}")
    paths = [folder, tmp_path / "bad.json", tmp_path / "none.wav"]
    assert try_rules.main(paths, settings, 1, as_json=False) == 1
    out, err = capsys.readouterr()
    assert str(folder) in out and clock(alerts[0]["at_ms"]) in out and "never" in out
    assert re.search(r"never +never +\(highest 0\.00\)", out) and re.search(r"hardly +\(lowest 0\.[1-9]", out)
    assert "bad.json: neither" in err and "none.wav" in err
    assert try_rules.main([settings.files.folder], settings, 1, as_json=True) == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert compared(said["alerts"]) == compared(alerts)
    assert (
        list(said["lowest"]) == ["hardly"] and "never" in said["highest"] and "hardly" not in said["highest"]
    )
    assert try_rules.main(paths[1:], settings, 1, as_json=False) == 2


def test_alerts_call_labels_as_the_settings_do(
    settings: Config, call: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    lived(settings, call[:, :1])
    rules = [{"name": "low", "when": {"any_of": "angry", "above": 0.6}, "message_zh": "{emotion_zh}"}]
    for names, angry in (("emotion2vec", "生气"), ("common", "愤怒")):
        named = config.load(
            None,
            {"server": {"labels_zh": names}, "model": {"name": "fake"}, "alerts": {"rules": rules}},
        )
        assert try_rules.main([settings.files.folder], named, 1, as_json=True) == 0
        told = json.loads(capsys.readouterr().out)["alerts"]
        assert told and {alert["message_zh"] for alert in told} == {angry}
        assert try_rules.main([settings.files.folder], named, 1, as_json=False, language="zh") == 0
        assert angry in capsys.readouterr().out


def test_times_are_read_as_a_clock_shows_them() -> None:
    assert [clock(ms) for ms in (0, 999, 61_500, 3_723_400)] == [
        "0:00:00.0",
        "0:00:00.9",
        "0:01:01.5",
        "1:02:03.4",
    ]
