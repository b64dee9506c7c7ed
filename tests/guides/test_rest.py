"""Files sent as code has it that was written for other servers: by curl, by requests, to addresses of theirs."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile

from stream.types import LABELS, SAMPLE_RATE
from tests.conftest import Server, no_traceback
from tests.server.conftest import running

HERE = "/api/v1/emotion/recognize"
ANSWER = {"success", "result_dir", "emotion", "confidence", "scores", "granularity", "embedding_saved"}
LEGACY = ("/upload", "/api/predict/", "/api/predict")


@pytest.fixture(scope="module")
def recording(demo_samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, since it is recognized some thirty times."""
    path = tmp_path_factory.mktemp("recordings") / "speech.wav"
    soundfile.write(path, demo_samples[: 6 * SAMPLE_RATE], SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def base(shared: Server) -> Iterator[str]:
    """Where a server with the embedded model is."""
    before = len(shared.log())
    yield shared.url
    no_traceback(shared.log()[before:])


def test_the_state_of_the_service_can_be_asked_for(base: str) -> None:
    said = requests.get(f"{base}/api/v1/status", timeout=10).json()
    assert said["ready"] and said["model"]


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_a_recording_is_recognized_and_its_embedding_can_be_read(
    base: str, recording: Path, granularity: str
) -> None:
    with recording.open("rb") as f:
        response = requests.post(
            f"{base}{HERE}",
            files={"audio_file": f},
            data={"granularity": granularity, "extract_embedding": str(True).lower()},
            timeout=60,
        )
    assert response.status_code == 200
    result = response.json()
    assert result.keys() >= ANSWER | {"processed_audio_path", "embedding_path"}
    assert result["emotion"] in LABELS and result["scores"][result["emotion"]] == result["confidence"]
    assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-4)
    vector = np.load(io.BytesIO(requests.get(base + result["files"]["embedding"], timeout=10).content))
    assert vector.ndim == 1 and np.linalg.norm(vector) > 0


def test_its_paths_can_be_opened_from_any_folder(
    base: str, demo_wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with demo_wav.open("rb") as f:
        result = requests.post(
            f"{base}{HERE}", files={"audio_file": f}, data={"extract_embedding": "true"}, timeout=60
        ).json()
    embedding = np.load(result["embedding_path"])
    assert embedding.ndim == 1 and np.linalg.norm(embedding) > 0
    assert sorted(path.name for path in Path(result["result_dir"]).iterdir()) == sorted(
        ["embedding.npy", "processed_audio.wav", "result.csv", "result.json"]
    )
    samples, rate = soundfile.read(result["processed_audio_path"])
    assert rate == 16_000 and len(samples) == pytest.approx(result["duration_s"] * rate, abs=8)


def test_four_threads_recognize_a_batch(base: str, recording: Path) -> None:
    def one(number: int) -> str:
        with recording.open("rb") as f:
            response = requests.post(
                f"{base}{HERE}", files={"audio_file": f}, data={"extract_embedding": "false"}, timeout=120
            )
        assert response.status_code == 200, (number, response.text)
        return str(response.json()["emotion"])

    with ThreadPoolExecutor(max_workers=4) as executor:
        found = list(executor.map(one, range(8)))
    assert len(found) == 8 and len(set(found)) == 1


@pytest.mark.parametrize(
    ("path", "field"), [(HERE, "audio_file"), (HERE, "file"), *((path, "file") for path in LEGACY)]
)
def test_curl_sends_it_to_any_of_these_addresses(base: str, recording: Path, path: str, field: str) -> None:
    said = subprocess.run(
        ["curl", "-s", "-F", f"{field}=@{recording}", base + path],
        capture_output=True,
        check=True,
        timeout=60,
    )
    result = json.loads(said.stdout)
    assert result.keys() >= ANSWER, result
    with recording.open("rb") as f:
        same = requests.post(base + HERE, files={"audio_file": f}, timeout=60).json()
    assert (result["emotion"], result["scores"]) == (same["emotion"], same["scores"])


@pytest.mark.parametrize("path", LEGACY)
def test_requests_sends_a_file_and_a_granularity(base: str, recording: Path, path: str) -> None:
    with recording.open("rb") as f:
        response = requests.post(
            base + path,
            files={"file": f},
            data={"granularity": "utterance"},
            timeout=60,
            allow_redirects=False,
        )
    result = response.json()
    assert f"{result['emotion']}, {result['confidence']:.1%}".endswith("%")
    assert not response.is_redirect


def test_the_page_for_files_is_still_there(base: str) -> None:
    page = requests.get(f"{base}/upload", timeout=10)
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        ("POST", "/api/v1/emotion/recognze", 404, "NOT_FOUND", f"did you mean '{HERE}'?"),
        ("POST", "/recognize", 404, "NOT_FOUND", f"send recordings to POST {HERE}"),
        ("POST", "/run/predict", 404, "NOT_FOUND", f"send recordings to POST {HERE}"),
        ("GET", "/api/v1/statsu", 404, "NOT_FOUND", "did you mean '/api/v1/status'?"),
        ("GET", "/config", 404, "NOT_FOUND", "/openapi.json lists what there is"),
        ("GET", HERE, 405, "METHOD_NOT_ALLOWED", "takes POST, not GET"),
        ("PUT", "/upload", 405, "METHOD_NOT_ALLOWED", "takes GET or POST, not PUT"),
        ("POST", "/", 405, "METHOD_NOT_ALLOWED", f"takes GET, not POST; send recordings to POST {HERE}"),
        ("GET", "/api/predict/", 405, "METHOD_NOT_ALLOWED", "takes POST, not GET"),
    ],
)
def test_a_wrong_address_or_method_is_told_the_right_one(
    base: str, method: str, path: str, status: int, code: str, words: str
) -> None:
    answer = requests.request(method, base + path, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert words in answer.json()["error"]["message"], answer.text
    assert not answer.json()["error"]["retryable"]


@pytest.mark.parametrize("path", [HERE, *LEGACY])
def test_a_wrong_field_is_told_the_right_one(base: str, recording: Path, path: str) -> None:
    with recording.open("rb") as f:
        answer = requests.post(base + path, files={"audio": f}, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")
    assert "unknown field 'audio'; the recording goes into 'audio_file'" in answer.json()["error"]["message"]
    with recording.open("rb") as f, recording.open("rb") as g:
        answer = requests.post(base + path, files={"audio_file": f, "file": g}, timeout=10)
    assert answer.status_code == 400 and "twice" in answer.json()["error"]["message"]


def test_a_token_is_asked_for_on_every_address(recording: Path) -> None:
    with running(model__name="fake", server__token="open") as server:
        for path in (HERE, *LEGACY):
            with recording.open("rb") as f:
                answer = requests.post(server.url + path, files={"file": f}, timeout=10)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED"), path


def test_a_page_of_another_site_cannot_post_there(base: str) -> None:
    for path in (HERE, *LEGACY):
        answer = requests.post(base + path, headers={"Origin": "https://elsewhere.example"}, timeout=10)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "CROSS_SITE"), path
