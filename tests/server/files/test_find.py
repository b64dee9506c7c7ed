"""`analyze`: recordings on disk, from the shell, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from server.config import Config
from server.engine import EngineSettings
from server.engine.inprocess import InProcessEngine
from server.files import find
from server.files.recognize import RecognizeOptions
from stream.models.fake import FakeModel
from stream.types import LABELS

ROOT = Path(__file__).resolve().parents[3]


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "analyze", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_samples: np.ndarray) -> Path:
    """A folder as users have them: good files in several formats, one broken, one that is no recording."""
    top = tmp_path_factory.mktemp("recordings")
    (top / "deep").mkdir()
    speech = demo_samples[: 16_000 * 6]
    soundfile.write(top / "a.wav", speech, 16_000, subtype="PCM_16")
    soundfile.write(top / "deep" / "b.flac", np.stack([speech, speech], axis=1), 16_000)
    soundfile.write(top / "deep" / "c.ogg", speech, 16_000)
    soundfile.write(top / "quiet.wav", np.zeros(16_000), 16_000, subtype="PCM_16")
    (top / "broken.wav").write_bytes(b"RIFF but no more")
    (top / "notes.txt").write_text("not a recording")
    return top


def test_a_folder_gives_one_json_line_per_recording_and_exit_1_for_a_broken_one(folder: Path) -> None:
    done = analyze(folder, "--json", "--model", "fake")
    lines = {Path(line["file"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(lines) == {"a.wav", "b.flac", "c.ogg", "quiet.wav", "broken.wav"}
    assert done.returncode == 1
    assert lines["broken.wav"]["error"]["code"] == "BAD_AUDIO"
    good = lines["a.wav"]
    assert set(good) == {
        *(
            "file",
            "emotion",
            "confidence",
            "ambiguous",
            "uncertain",
            "second",
            "arousal",
            "valence",
            "prior",
            "scores",
            "granularity",
            "timestamp",
            "timestamp_utc",
            "model_fingerprint",
        ),
        *("model", "duration_s", "file_name", "verdict", "alerts", "utterances"),
    }
    assert list(good["scores"]) == list(LABELS)
    assert good["duration_s"] == 6.0 and good["file_name"] == "a.wav"
    assert good["utterances"]
    assert lines["b.flac"]["scores"] == pytest.approx(good["scores"], abs=1e-5)
    assert "5/5" in done.stderr, "a progress bar on stderr"


@pytest.fixture
def engine() -> Iterator[InProcessEngine]:
    engine = InProcessEngine(FakeModel(), EngineSettings())
    yield engine
    engine.close()


def test_a_recording_without_speech_is_unknown(folder: Path, engine: InProcessEngine) -> None:
    result = find.recognize_file(folder / "quiet.wav", engine, Config(), RecognizeOptions()).result()
    assert (result["emotion"], result["confidence"], result["utterances"]) == ("unknown", 1.0, [])


def test_frames_come_with_the_times_at_which_they_start(folder: Path) -> None:
    done = analyze(folder / "a.wav", "--granularity", "frame", "--model", "fake")
    result = json.loads(done.stdout)
    n = len(result["frame_scores"])
    assert (
        n
        == len(result["frame_emotions"])
        == len(result["frame_confidences"])
        == len(result["frame_start_ms"])
    )
    assert n > 100
    assert (np.diff(result["frame_start_ms"]) >= 10).all()
    np.testing.assert_allclose(np.sum(result["frame_scores"], axis=1), 1, atol=1e-5)
    assert result["emotion"] == max(result["scores"], key=result["scores"].get)


def test_the_rate_of_a_file_does_not_change_what_is_found(
    folder: Path, demo_samples: np.ndarray, tmp_path: Path, engine: InProcessEngine
) -> None:
    import soxr

    path = tmp_path / "44k.wav"
    soundfile.write(path, soxr.resample(demo_samples[: 16_000 * 6], 16_000, 44_100), 44_100, subtype="FLOAT")
    low, high = (
        find.recognize_file(x, engine, Config(), RecognizeOptions()).result()
        for x in (folder / "a.wav", path)
    )
    assert high["duration_s"] == pytest.approx(low["duration_s"], abs=0.001)
    assert high["scores"]["angry"] == pytest.approx(low["scores"]["angry"], abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.wav"], "there is no such file or folder"),
        (["demo", "--model", "nobody"], "no model, and no folder, is called 'nobody'"),
        (["static"], "No recordings there"),
    ],
)
def test_what_cannot_start_says_why_and_exits_2(arguments: list[str], said: str) -> None:
    done = analyze(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
