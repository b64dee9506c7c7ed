"""POST /api/v1/emotion/recognize as programs and pages use it: answers, files, refusals, nothing left behind."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from stream.types import LABELS
from tests.conftest import ROOT, Server
from tests.server.clients import eventually
from tests.server.conftest import EVENTLET_FIRST, children_of, engine_of, held, metrics, no_traceback, running
from tests.server.recordings import long_silence, made, wav

PATH = "/api/v1/emotion/recognize"
NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small limits, and a folder of its own."""
    folder = tmp_path_factory.mktemp("outputs")
    with running(
        model__name="fake",
        server__async_mode=request.param,
        files__outputs=folder,
        files__max_upload_mb=3,
        files__max_audio_s=600,
        files__max_waiting=1,
        files__concurrent=1,
        files__wait_s=1,
    ) as server:
        server.outputs = folder  # type: ignore[attr-defined]
        yield server
        assert "Traceback" not in server.log()  # INTERNAL is in it: a test kills a process


def outputs(server: Server) -> list[Path]:
    folder: Path = server.outputs  # type: ignore[attr-defined]
    return sorted(folder.iterdir())


def post(
    server: Server, data: bytes, headers: dict[str, str] | None = None, **fields: str
) -> requests.Response:
    upload = {"audio_file": ("a b/../Ä.wav", data)}
    return requests.post(server.url + PATH, files=upload, data=fields, headers=headers, timeout=60)


def lines(response: requests.Response) -> list[Any]:
    return [json.loads(line) for line in response.iter_lines()]


def error(response: requests.Response) -> tuple[int, str]:
    said = response.json()
    assert said["success"] is False and said["error"]["message"]
    return response.status_code, said["error"]["code"]


def test_a_recording_becomes_an_answer_and_a_folder_that_agree(
    files: Server, demo_samples: np.ndarray
) -> None:
    response = post(files, made("a.mp3", demo_samples[: 16_000 * 8]), extract_embedding="true")
    assert response.status_code == 200, response.text
    said = response.json()
    assert said["success"] is True and said["granularity"] == "utterance"
    assert re.fullmatch(r"outputs_\d{8}_\d{6}(_\d+)?_[0-9a-f]{16}", said["id"])
    assert Path(said["result_dir"]).is_absolute() and said["result_dir"].endswith("/" + said["id"])
    assert list(said["scores"]) == list(LABELS) and said["emotion"] in LABELS
    assert said["utterances"] and said["duration_s"] == pytest.approx(8, abs=0.1)
    assert [step["step"] for step in said["steps"]] == [
        *("receive", "decode", "resample", "detect_speech", "score", "save")
    ]
    folder = next(path for path in outputs(files) if path.name == said["id"])
    assert {path.name for path in folder.iterdir()} == {
        *("result.json", "result.csv", "embedding.npy", "processed_audio.wav")
    }
    kept = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert kept == {name: said[name] for name in kept}
    assert kept["file_name"] == "Ä.wav", "the recording's own name, without folders"
    status = requests.get(files.url + "/api/v1/status", timeout=10).json()
    assert re.fullmatch("[0-9a-f]{32}", kept["model_fingerprint"])
    assert kept["model_fingerprint"] == status["model_fingerprint"]
    assert said["embedding_saved"] is True and said["embedding_path"] == said["result_dir"] + "/embedding.npy"
    assert said["processed_audio_path"] == said["result_dir"] + "/processed_audio.wav"


def test_frames_come_beside_the_verdict(files: Server, demo_pcm: bytes) -> None:
    said = post(files, wav(demo_pcm), granularity="frame").json()
    assert said["emotion"] in LABELS and said["frame_ms"] == 25 and said["step_ms"] == 10
    n = len(said["frame_scores"])
    assert n > 1000 and all(
        len(said[f"frame_{name}"]) == n for name in ("emotions", "confidences", "start_ms")
    )
    assert said["embedding_saved"] is False and "embedding_path" not in said and "embedding_note" not in said
    assert said["utterances"]


def test_steps_and_progress_come_while_it_works_and_the_result_last(files: Server, demo_pcm: bytes) -> None:
    plain = post(files, wav(demo_pcm)).json()
    for granularity in ("utterance", "frame"):
        said = lines(post(files, wav(demo_pcm), NDJSON, granularity=granularity))
        assert [list(line) for line in said[:1] + said[-1:]] == [["step"], ["result"]]
        assert {next(iter(line)) for line in said} <= {"step", "progress", "result"}
        assert [line["step"]["step"] for line in said if "step" in line] == [
            s["step"] for s in plain["steps"]
        ]
        assert said[-1]["result"]["scores"] == plain["scores"]


def test_results_can_be_read_in_parts_and_removed(files: Server, demo_pcm: bytes) -> None:
    said = post(files, wav(demo_pcm), extract_embedding="true").json()
    assert set(said["files"]) == {"result", "audio", "csv", "embedding"}
    got = {name: requests.get(files.url + url, timeout=10) for name, url in said["files"].items()}
    assert all(answer.status_code == 200 for answer in got.values())
    assert got["result"].json()["scores"] == said["scores"]
    assert np.load(io.BytesIO(got["embedding"].content), allow_pickle=False).shape == (2,)
    assert got["audio"].content[44:] == demo_pcm and got["audio"].headers["Content-Type"] == "audio/wav"
    assert got["csv"].text.startswith("start_ms,end_ms,emotion,confidence,angry,")
    assert "attachment" in got["csv"].headers["Content-Disposition"]
    part = requests.get(files.url + said["files"]["audio"], headers={"Range": "bytes=44-47"}, timeout=10)
    assert (part.status_code, part.content) == (206, demo_pcm[:4])
    here = f"{files.url}/api/v1/results/{said['id']}"
    for granularity, one in (
        ("utterance", said),
        ("frame", post(files, wav(demo_pcm), granularity="frame").json()),
    ):
        shown = requests.get(f"{files.url}/api/v1/results/{one['id']}", timeout=10).json()
        kept = requests.get(files.url + one["files"]["result"], timeout=10).json()
        assert shown == {"success": True, "id": one["id"], "files": one["files"], **kept}
        assert shown["granularity"] == granularity and shown["scores"] == said["scores"]
    assert requests.delete(here, timeout=10).json() == {"success": True}
    assert error(requests.delete(here, timeout=10)) == (404, "NOT_FOUND")
    for gone in (here, files.url + said["files"]["result"]):
        assert error(requests.get(gone, timeout=10)) == (404, "NOT_FOUND")
    assert said["id"] not in {path.name for path in outputs(files)}


@pytest.mark.parametrize(
    "path",
    [
        *("outputs_20260101_000000/result.json", "outputs_20260101_000000", "../../etc/passwd", "x/y/z"),
        *(
            "%2e%2e/result.json",
            "..%2f..%2fetc/passwd",
            "./result.json",
            "session_20260101_000000_x/result.json",
        ),
        *(
            "real/../result.json",
            "real/upload",
            "real/..",
            "real/",
            "real/RESULT.JSON",
            "real/result.json%00",
        ),
    ],
)
def test_nothing_but_the_files_of_a_result_can_be_read(files: Server, demo_pcm: bytes, path: str) -> None:
    folder: Path = files.outputs  # type: ignore[attr-defined]
    session = folder / "session_20260101_000000_x"
    session.mkdir(exist_ok=True)
    (session / "result.json").write_text("{}")
    if "real" in path:
        path = path.replace("real", post(files, wav(demo_pcm[:64_000])).json()["id"])
    connection = http.client.HTTPConnection("127.0.0.1", files.port, timeout=10)  # sends the path as it is
    for method in ("GET", "DELETE"):
        connection.request(method, f"/api/v1/results/{path}")
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (404, 405), (method, path, body)
    connection.close()
    assert (session / "result.json").exists()
    session.joinpath("result.json").unlink()
    session.rmdir()


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """A multipart body of headers and contents."""
    return (
        b"".join(
            b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + body + b"\r\n"
            for head, body in parts
        )
        + end
    )


SOUND = wav(bytes(3200))
FILE = 'name="audio_file"; filename="x.wav"'
MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "", "multipart"),
        (SOUND, "audio/wav", "multipart"),
        (b"{}", "application/json", "multipart"),
        (b"audio_file=x", "application/x-www-form-urlencoded", "multipart"),
        (form((FILE, SOUND)), "multipart/form-data", "multipart"),
        (form((FILE, SOUND)), "multipart/form-data; boundary=" + 300 * "b", "multipart"),
        (form((FILE, SOUND)), "multipart/form-data; boundary=other", "complete"),
        (form((FILE, SOUND), end=b""), MULTIPART, "complete"),
        (form((FILE, SOUND))[:50], MULTIPART, "complete"),
        (b"--b--\r\n", MULTIPART, "missing"),
        (form(('name="granularity"', b"frame")), MULTIPART, "missing"),
        (form(('name="audio_file"', SOUND)), MULTIPART, "must be a file"),
        (form((FILE, SOUND), (FILE, SOUND)), MULTIPART, "twice"),
        (form(('name="granularity"; filename="x"', b"frame"), (FILE, SOUND)), MULTIPART, "text, not a file"),
        (form((FILE, SOUND), ('name="granularity"', b"word")), MULTIPART, "utterance or frame"),
        (form((FILE, SOUND), ('name="granularity"', b"")), MULTIPART, "utterance or frame"),
        (form((FILE, SOUND), ('name="granularity"', 10_000 * b"x")), MULTIPART, "too long"),
        (form((FILE, SOUND), ('name="extract_embedding"', b"yes")), MULTIPART, "false or true"),
        (form((FILE, SOUND), ('name="granularty"', b"frame")), MULTIPART, "unknown field 'granularty'"),
        (form((FILE, SOUND), *[(f'name="f{i}"', b"") for i in range(99)]), MULTIPART, "unknown field"),
        (form(("filename=x", SOUND)), MULTIPART, "unknown field"),
        (form(('name="audio_file"; filename="x"\r\n' + 3_000_000 * "y", SOUND)), MULTIPART, "complete"),
    ],
)
def test_a_form_that_is_not_right_is_refused_with_what_is_wrong(
    files: Server, body: bytes, kind: str, words: str
) -> None:
    answer = requests.post(files.url + PATH, data=body, headers={"Content-Type": kind}, timeout=20)
    assert error(answer) == (400, "BAD_REQUEST"), answer.text
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_what_is_no_recording_has_a_code_of_its_own(files: Server, kind: str) -> None:
    cases = [
        (b"", 422, "NO_AUDIO"),
        (b"hello" * 99, 415, "UNSUPPORTED_MEDIA"),
        (wav(b"\0\0" * 50, size=9999), 422, "BAD_AUDIO"),
    ]
    for data, status, code in [*cases, (long_silence(601), 413, "FILE_TOO_LARGE")]:
        if kind == "plain":
            assert error(post(files, data)) == (status, code)
            continue
        last = lines(post(files, data, NDJSON))[-1]["error"]
        assert (last["status"], last["code"]) == (status, code) and last["message"]


def test_a_file_that_is_too_large_is_refused_early_and_late(files: Server) -> None:
    body = form((FILE, wav(bytes(4_500_000))))
    answer = requests.post(files.url + PATH, data=body, headers={"Content-Type": MULTIPART}, timeout=20)
    assert error(answer) == (413, "FILE_TOO_LARGE") and "3 MB" in answer.text
    if "threading" in files.log():
        return
    # Of a length that is not told beforehand: while it comes. This server reads chunks under eventlet only.
    pieces = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
    answer = requests.post(files.url + PATH, data=pieces, headers={"Content-Type": MULTIPART}, timeout=20)
    assert error(answer) == (413, "FILE_TOO_LARGE")
    whole = form((FILE, wav(bytes(64_000))))
    pieces = (whole[at : at + 1000] for at in range(0, len(whole), 1000))
    answer = requests.post(files.url + PATH, data=pieces, headers={"Content-Type": MULTIPART}, timeout=20)
    assert answer.status_code == 200


def test_only_so_many_at_a_time_and_one_waits(files: Server, demo_pcm: bytes) -> None:
    """One may run and one wait, for a second: the others are told to come back."""
    data, answers = wav(demo_pcm[:64_000]), []
    post(files, data)
    with held(files):
        threads = [threading.Thread(target=lambda: answers.append(post(files, data))) for _ in range(5)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answers) == 4, "four are refused: three at once, one that has waited")
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429, 429]
    for answer in answers[:4]:
        assert error(answer) == (429, "BUSY") and int(answer.headers["Retry-After"]) >= 1
    assert post(files, data).status_code == 200


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_a_client_that_goes_away_ends_its_work(files: Server, demo_pcm: bytes, kind: str) -> None:
    body = form((FILE, wav(demo_pcm)))
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    head += "Accept: application/x-ndjson\r\n" if kind == "stream" else ""
    before, gone = outputs(files), metrics(files)['emotion_files_total{result="gone"}']
    post(files, wav(demo_pcm[:64_000]))
    before = outputs(files)
    with held(files):
        with socket.create_connection(("127.0.0.1", files.port)) as client:
            client.sendall(head.encode() + b"\r\n" + body)
            eventually(lambda: metrics(files)["emotion_files_running"] == 1, "it is being recognized")
        eventually(lambda: metrics(files)["emotion_files_running"] == 0, "nobody waits, nothing runs")
        eventually(lambda: outputs(files) == before, "nothing is left")
    assert metrics(files)['emotion_files_total{result="gone"}'] == gone + 1
    assert post(files, wav(demo_pcm[:64_000])).status_code == 200


def test_an_upload_that_breaks_off_leaves_nothing(files: Server, demo_pcm: bytes) -> None:
    before = outputs(files)
    body = form((FILE, wav(demo_pcm)))
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", files.port)) as client:
        client.sendall(head.encode() + body[: len(body) // 2])
        eventually(lambda: len(outputs(files)) == len(before) + 1, "it has begun")
    eventually(lambda: outputs(files) == before, "nothing is left")


def test_a_process_that_dies_is_replaced(files: Server, demo_pcm: bytes) -> None:
    data, answers = wav(demo_pcm), []
    post(files, data)
    before = outputs(files)
    with held(files):
        thread = threading.Thread(target=lambda: answers.append(post(files, data)))
        thread.start()
        eventually(lambda: metrics(files)["emotion_files_running"] == 1, "it is being recognized")
        children_of(files, "server.uploads.worker")[0].kill()
        thread.join(10)
    assert error(answers[0]) == (500, "INTERNAL")
    assert outputs(files) == before
    assert post(files, data).status_code == 200
    eventually(lambda: "killed by signal 9" in files.log(), "it is in the log")


def test_files_are_counted(files: Server, demo_pcm: bytes) -> None:
    def now() -> tuple[float, float, float]:
        seen = metrics(files)
        names = ('emotion_files_total{result="ok"}', 'emotion_files_total{result="NO_AUDIO"}')
        return seen[names[0]], seen[names[1]], seen["emotion_file_seconds_total"]

    before = now()
    post(files, wav(demo_pcm[:64_000]))
    post(files, b"")
    after = now()
    assert [round(a - b, 3) for a, b in zip(after, before, strict=True)] == [1, 1, 2]


def test_the_status_tells_the_limits(files: Server) -> None:
    limits = json.loads(files.get("/api/v1/status")[1])["limits"]
    assert limits == {"upload_bytes": 3_000_000, "upload_s": 600}


@pytest.mark.slow
def test_the_token_is_asked_for_everywhere(tmp_path: Path, demo_pcm: bytes) -> None:
    right = {"Authorization": "Bearer secret"}
    with running(model__name="fake", server__token="secret", files__outputs=tmp_path) as server:
        data = wav(demo_pcm[:64_000])
        said = post(server, data, right).json()
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert error(post(server, data, headers)) == (401, "UNAUTHORIZED")
            for url in said["files"].values():
                assert error(requests.get(server.url + url, headers=headers, timeout=10)) == (
                    401,
                    "UNAUTHORIZED",
                )
            here = f"{server.url}/api/v1/results/{said['id']}"
            assert error(requests.delete(here, headers=headers, timeout=10)) == (401, "UNAUTHORIZED")
        assert requests.get(server.url + said["files"]["audio"], headers=right, timeout=10).status_code == 200
        assert [path.name for path in tmp_path.iterdir()] == [said["id"]]


@pytest.mark.slow
def test_a_disk_that_cannot_be_written_is_an_error_with_words(tmp_path: Path, demo_pcm: bytes) -> None:
    (tmp_path / "file").write_text("in the way")
    with running(model__name="fake", files__outputs=tmp_path / "file" / "outputs") as server:
        assert "files cannot be recognized" in server.log()
        answer = post(server, wav(demo_pcm[:64_000]))
        assert error(answer) == (500, "INTERNAL") and "save results" in answer.text
        assert str(tmp_path) not in answer.text


@pytest.mark.slow
def test_old_results_and_what_a_crash_left_are_swept_at_start(tmp_path: Path) -> None:
    for name in ("outputs_20200101_000000_0123456789abcdef", ".outputs_20200101_000000_0123456789abcdef"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "mine").mkdir()
    with running(model__name="fake", files__outputs=tmp_path):
        eventually(lambda: [path.name for path in tmp_path.iterdir()] == ["mine"], "they are gone")


@pytest.mark.slow
def test_stopping_the_server_ends_what_runs_with_words(tmp_path: Path, demo_pcm: bytes) -> None:
    with running(model__name="fake", files__outputs=tmp_path) as server:
        post(server, wav(demo_pcm[:64_000]))
        workers, answers = children_of(server, "server.uploads.worker"), []
        with held(server):
            thread = threading.Thread(target=lambda: answers.append(post(server, wav(demo_pcm), NDJSON)))
            thread.start()
            eventually(lambda: metrics(server)["emotion_files_running"] == 1, "it is being recognized")
            server.process.terminate()
            thread.join(20)
        assert lines(answers[0])[-1]["error"]["code"] == "NOT_READY"
        assert server.process.wait(20) == 0
        no_traceback(server.log())
        assert not any(worker.is_running() for worker in workers)
        assert len(list(tmp_path.iterdir())) == 1, "the first one's"


@pytest.mark.slow
def test_rest_file_and_command_line_agree_to_the_last_digit(tmp_path: Path, demo_samples: np.ndarray) -> None:
    """With the embedded model, in another rate and two channels: the same numbers everywhere."""
    path = tmp_path / "a.mp3"
    path.write_bytes(made("a.mp3", demo_samples[: 16_000 * 9]))
    folder = tmp_path / "outputs"
    with running(files__outputs=folder) as server:
        rest = {g: post(server, path.read_bytes(), granularity=g).text for g in ("utterance", "frame")}
    for granularity, text in rest.items():
        command = [
            sys.executable,
            "-m",
            "cli",
            "analyze",
            str(path),
            "--json",
            "--granularity",
            granularity,
        ]
        line = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        ).stdout
        told, said = (
            json.loads(text, parse_float=str),
            json.loads(line, parse_float=str),
        )  # digits, not values
        kept = json.loads((folder / told["id"] / "result.json").read_text(), parse_float=str)
        for name in kept.keys() - {"timestamp", "timestamp_utc", "file_name"}:
            assert told[name] == kept[name] == said[name], name
        assert kept.keys() == said.keys() - {"file"}


@pytest.mark.slow
def test_a_full_disk_is_an_error_with_words_and_leaves_nothing(tmp_path: Path, demo_pcm: bytes) -> None:
    """Of the server, which writes the upload; then of the process that writes the results."""
    small, large = (
        wav(demo_pcm[:64_000]),
        made("a.opus", np.frombuffer(demo_pcm, "<i2").astype(np.float32) / 32768),
    )
    limit = psutil.RLIMIT_FSIZE
    with running(model__name="fake", files__outputs=tmp_path) as server:
        post(server, small)
        (worker,) = children_of(server, "server.uploads.worker")
        before = outputs_of(tmp_path)
        psutil.Process(server.process.pid).rlimit(limit, (100_000, 1 << 40))
        assert error(post(server, wav(demo_pcm))) == (500, "INTERNAL")
        psutil.Process(server.process.pid).rlimit(limit, (1 << 40, 1 << 40))
        assert len(large) < 300_000 < len(demo_pcm)
        _, hard = worker.rlimit(limit)  # which it has set itself, for good
        worker.rlimit(limit, (300_000, hard))
        answer = post(server, large)
        assert error(answer) == (500, "INTERNAL") and "saved" in answer.text
        assert outputs_of(tmp_path) == before
        worker.rlimit(limit, (hard, hard))
        assert post(server, large).status_code == 200
        assert "Traceback" not in server.log()


@pytest.mark.slow
def test_a_model_that_dies_in_the_middle_changes_no_digit(tmp_path: Path, demo_pcm: bytes) -> None:
    data, answers = wav(demo_pcm * 30), []
    with running(files__outputs=tmp_path) as server:
        calm = post(server, data).json()
        thread = threading.Thread(target=lambda: answers.append(post(server, data)))
        thread.start()
        eventually(lambda: metrics(server)["emotion_files_running"] == 1, "it is being recognized")
        time.sleep(0.4)
        engine_of(server).kill()
        thread.join(60)
        assert metrics(server)["emotion_engine_restarts_total"] == 1
    assert answers[0].status_code == 200, answers[0].text
    said = answers[0].json()
    assert (said["scores"], said["utterances"]) == (calm["scores"], calm["utterances"])


def outputs_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
