"""What is kept of sessions: right, whole, bounded, read over REST by supervisors alone, gone when removed."""

from __future__ import annotations

import csv
import json
import resource
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from server import wire
from server.records import session_record
from stream.types import LABELS
from tests.conftest import Server
from tests.server.clients import Client, Payload, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running

Connect = Callable[..., Client]


def kept(root: Path, session_id: str) -> Path:
    """The folder of a session, once it is there."""
    found: Path = eventually(
        lambda: next(root.glob(f"session_*_{session_id}"), None), f"{session_id} is kept"
    )
    return found


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ask(server: Server, method: str, path: str, token: str = "") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(server.url + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def keeping(request: pytest.FixtureRequest, root: Path) -> Iterator[Server]:
    with running(
        model__name="fake",
        server__async_mode=request.param,
        recording__sessions="true",
        recording__audio="true",
        files__outputs=root,
        **ROOMY,
    ) as server:
        yield server
        no_traceback(server.log())


@pytest.fixture(scope="module")
def spoken(
    keeping: Server, root: Path, demo_samples: np.ndarray
) -> Iterator[tuple[Client, Payload, Path, bytes]]:
    """A call of two channels, its summary, its record, its audio."""
    client = Client(keeping.url)
    n = 9 * 16_000
    call = np.stack([np.clip(4 * demo_samples[:n], -1, 1), demo_samples[-n:]], axis=1)
    pcm = np.rint(call * 32767).astype("<i2").tobytes()
    start = client.start(channels=2, name="张三", tags={"queue": "billing"}, frame_results=True)
    client.speak(pcm, 50_001)
    summary = client.stop()
    yield client, summary, kept(root, start["session_id"]), pcm
    client.close()


def test_the_record_says_what_the_client_was_told(spoken: tuple[Client, Payload, Path, bytes]) -> None:
    client, summary, folder, _ = spoken
    record = read(folder / "record.json")
    assert (record["name"], record["tags"]) == ("张三", {"queue": "billing"})
    assert (record["channels"], record["watch"], record["model"]) == (2, "both", "fake")
    assert record["complete"] is True and record["reason"] == "stop"
    assert record["started_utc"] < record["ended_utc"]
    for field in ("session_id", "audio_ms", "speech_ms", "lost_ms", "frames", "share"):
        assert record[field] == summary[field]
    assert record["by_channel"] == summary["channels"]
    for kind, event in (("utterances", "utterance_result"), ("alerts", "alert"), ("speech", "speech")):
        gone = {"session_id", *session_record.OMITTED}
        told = [{k: v for k, v in p.items() if k not in gone} for p in client.of(event)]
        assert record[kind] == told and told, kind
    head = read(folder / "session.json")
    assert head == {k: v for k, v in record.items() if k not in session_record.LISTS}


def test_the_timeline_is_the_mean_of_each_half_second(spoken: tuple[Client, Payload, Path, bytes]) -> None:
    client, summary, folder, _ = spoken
    timeline = read(folder / "record.json")["timeline"]
    assert sum(row["frames"] for row in timeline) == summary["frames"]
    for name in ("agent", "customer"):
        frames = {f["timestamp"]: f["scores"] for f in client.of("frame_result") if f["channel"] == name}
        mine = [row for row in timeline if row["channel"] == name]
        assert [row["start_ms"] for row in mine] == sorted({ms // 500 * 500 for ms in frames})
        for row in mine:
            inside = [s for ms, s in frames.items() if row["start_ms"] <= ms < row["end_ms"]]
            assert len(inside) == row["frames"] == sum(row["by_label"].values())
            mean = np.mean([[s[label] for label in LABELS] for s in inside], axis=0)
            assert np.allclose([row["scores"][label] for label in LABELS], mean, atol=2e-6)


def test_tables_hold_the_same(spoken: tuple[Client, Payload, Path, bytes]) -> None:
    _, _, folder, _ = spoken
    record = read(folder / "record.json")
    for name in ("timeline", "utterances", "alerts"):
        table = rows(folder / f"{name}.csv")
        assert len(table) == len(record[name])
        for row, fact in zip(table, record[name], strict=True):
            fact = {**fact, **fact.get("scores", {})}
            fact |= {name: "" if x is None else x for name, x in zip(wire.ALSO, wire.also(fact), strict=True)}
            assert all(row[key] == str(fact.get(key, "")) for key in row)
    assert {"angry", "neutral", "channel"} <= set(rows(folder / "timeline.csv")[0])


def test_audio_is_what_was_scored_channel_by_channel(spoken: tuple[Client, Payload, Path, bytes]) -> None:
    _, _, folder, pcm = spoken
    call = np.frombuffer(pcm, "<i2").reshape(-1, 2)
    for i, name in enumerate(("agent", "customer")):
        samples, rate = soundfile.read(folder / f"audio_{name}.wav", dtype="int16")
        assert rate == 16_000 and np.array_equal(samples, call[:, i])
    assert not (folder / "audio.wav").exists() and not (folder / session_record.JOURNAL).exists()


@pytest.mark.slow
def test_rest_lists_reads_and_removes(keeping: Server, connect: Connect, root: Path, demo_pcm: bytes) -> None:
    client = connect(keeping)
    ids = []
    for _ in range(2):
        ids.append(client.start()["session_id"])
        client.speak(demo_pcm[: 4 * 32_000])
        client.stop()
    folders = [kept(root, session_id) for session_id in ids]
    status, body = ask(keeping, "GET", "/api/v1/sessions?limit=100")
    listed = {entry["id"]: entry for entry in json.loads(body)["sessions"]}
    assert status == 200 and {f.name for f in folders} <= set(listed)
    entry = listed[folders[0].name]
    assert entry["session_id"] == ids[0] and "timeline" not in entry
    for name, path in entry["files"].items():
        status, body = ask(keeping, "GET", path)
        assert status == 200 and body == (folders[0] / name).read_bytes()
    status, body = ask(keeping, "DELETE", f"/api/v1/sessions/{folders[0].name}")
    assert status == 200 and not folders[0].exists() and folders[1].exists()
    assert ask(keeping, "DELETE", f"/api/v1/sessions/{folders[0].name}")[1]["error"]["code"] == "NOT_FOUND"
    assert len(json.loads(ask(keeping, "GET", "/api/v1/sessions?limit=1")[1])["sessions"]) == 1
    (found,) = json.loads(ask(keeping, "GET", f"/api/v1/sessions?session_id={ids[1]}")[1])["sessions"]
    assert found["id"] == folders[1].name


@pytest.mark.parametrize(
    "path",
    [
        "session_20260101_000000_x/record.json",
        "..%2f..%2fconfig.yaml/record.json",
        ".session_20260101_000000_x/journal",
        "outputs_20260101_000000/result.json",
        "%00/record.json",
    ],
)
def test_nothing_else_is_read_or_removed(keeping: Server, path: str) -> None:
    assert ask(keeping, "GET", f"/api/v1/sessions/{path}")[0] in (400, 404)
    assert ask(keeping, "DELETE", f"/api/v1/sessions/{path.split('/')[0]}")[0] in (400, 404)


def test_a_file_that_is_none_of_a_records_is_not_read(keeping: Server, spoken: Any) -> None:
    folder: Path = spoken[2]
    (folder / "other.txt").write_text("x")
    (folder / "audio.wav").symlink_to("/etc/hostname")
    for name in ("other.txt", "audio.wav", "journal", "..%2f..%2fx"):
        assert ask(keeping, "GET", f"/api/v1/sessions/{folder.name}/{name}")[0] == 404
    (folder / "audio.wav").unlink()


def test_limits_of_a_list_are_numbers(keeping: Server) -> None:
    for limit in ("0", "x", "-1", "501", "", "9" * 5000):
        assert ask(keeping, "GET", f"/api/v1/sessions?limit={limit}")[0] == 400


@pytest.mark.slow
def test_many_sessions_at_once_are_kept_apart(
    keeping: Server, connect: Connect, root: Path, demo_pcm: bytes
) -> None:
    client = connect(keeping)
    ids = [client.start()["session_id"] for _ in range(8)]
    for second in range(4):
        for k, session_id in enumerate(ids):
            at = (second + k) * 32_000
            client.speak(demo_pcm[at : at + 32_000], session_id=session_id)
    for session_id in ids:
        client.stop(session_id=session_id)
    for k, session_id in enumerate(ids):
        folder = kept(root, session_id)
        samples, _ = soundfile.read(folder / "audio.wav", dtype="int16")
        assert samples.tobytes() == demo_pcm[k * 32_000 : (k + 4) * 32_000]
        record = read(folder / "record.json")
        told = client.of("utterance_result", session_id)
        assert [u["start_ms"] for u in record["utterances"]] == [u["start_ms"] for u in told]


@pytest.mark.slow
def test_a_killed_server_loses_two_seconds_and_the_next_one_finishes_the_record(
    connect: Connect, tmp_path: Path, demo_pcm: bytes
) -> None:
    how = {"recording__sessions": "true", "recording__audio": "true", "files__outputs": tmp_path}
    with running(model__name="fake", **how, **ROOMY) as server:
        client = connect(server)
        session_id = client.start(name="cut off")["session_id"]
        client.speak(demo_pcm[: 8 * 32_000])
        client.call("flush")
        told = client.of("utterance_result")
        journal = eventually(lambda: next(tmp_path.glob(".session_*/journal"), None), "there is a journal")
        eventually(lambda: journal.read_bytes().count(b"utterances ") == len(told), "it is written down")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        with journal.open("ab") as torn:
            torn.write(b'utterances {"start_ms": 99')
        server.restart()
        folder = kept(tmp_path, session_id)
        record = read(folder / "record.json")
        assert record["complete"] is False and record["name"] == "cut off" and "frames" not in record
        assert [u["end_ms"] for u in record["utterances"]] == [u["end_ms"] for u in told]
        samples, _ = soundfile.read(folder / "audio.wav", dtype="int16")
        assert samples.tobytes() == demo_pcm[: 8 * 32_000]
        assert metrics(server)['emotion_records_total{result="incomplete"}'] == 1
        no_traceback(server.log())


@pytest.mark.slow
def test_another_servers_open_record_is_left_alone(connect: Connect, tmp_path: Path, demo_pcm: bytes) -> None:
    how = {"model__name": "fake", "recording__sessions": "true", "files__outputs": tmp_path, **ROOMY}
    with running(**how) as first:
        client = connect(first)
        session_id = client.start()["session_id"]
        client.speak(demo_pcm[: 4 * 32_000])
        eventually(lambda: list(tmp_path.glob(".session_*/journal")), "there is a journal")
        with running(**how) as second:
            assert not list(tmp_path.glob("session_*"))
            no_traceback(second.log())
        client.stop()
        assert read(kept(tmp_path, session_id) / "record.json")["complete"] is True


@pytest.mark.slow
def test_a_full_disk_costs_the_record_and_not_the_session(
    connect: Connect, tmp_path: Path, demo_pcm: bytes
) -> None:
    how = {"recording__sessions": "true", "recording__audio": "true", "files__outputs": tmp_path}
    with running(model__name="fake", **how, **ROOMY) as server:
        whole = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        client = connect(server)
        client.start()
        client.speak(demo_pcm[: 8 * 32_000])
        eventually(lambda: "cannot be recorded" in server.log(), "the operator is told")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, whole)
        client.speak(demo_pcm[8 * 32_000 : 12 * 32_000])
        summary = client.stop()
        assert summary["audio_ms"] == 12_000 and summary["lost_ms"] == 0 and summary["frames"] > 0
        eventually(lambda: metrics(server)['emotion_records_total{result="failed"}'] == 1, "it is counted")
        assert server.log().count("cannot be recorded") == 1 and not list(tmp_path.glob("*session_*"))
        session_id = client.start()["session_id"]
        client.speak(demo_pcm[: 2 * 32_000])
        client.stop()
        kept(tmp_path, session_id)
        no_traceback(server.log())


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_told_at_start(
    connect: Connect, tmp_path: Path, demo_pcm: bytes
) -> None:
    (tmp_path / "file").write_text("x")
    with running(model__name="fake", recording__sessions="true", files__outputs=tmp_path / "file") as server:
        assert "sessions cannot be recorded" in server.log()
        client = connect(server)
        client.start()
        client.speak(demo_pcm[:32_000])
        assert client.stop()["audio_ms"] == 1000
        no_traceback(server.log())


@pytest.mark.slow
def test_sessions_open_at_shutdown_are_kept(connect: Connect, tmp_path: Path, demo_pcm: bytes) -> None:
    with running(model__name="fake", recording__sessions="true", files__outputs=tmp_path, **ROOMY) as server:
        client = connect(server)
        session_id = client.start()["session_id"]
        client.speak(demo_pcm[: 6 * 32_000])
        server.stop()
        record = read(kept(tmp_path, session_id) / "record.json")
        assert record["complete"] is True and record["reason"] == "shutdown" and record["frames"] > 0
        assert not (kept(tmp_path, session_id) / "audio.wav").exists(), "audio is kept only when asked for"


@pytest.mark.slow
def test_records_are_for_supervisors(tmp_path: Path) -> None:
    with running(model__name="fake", server__token="c", files__outputs=tmp_path) as server:
        assert ask(server, "GET", "/api/v1/sessions", "c")[1]["error"]["code"] == "CLOSED"
    with running(
        model__name="fake", server__token="c", monitor__token="m", files__outputs=tmp_path
    ) as server:
        assert ask(server, "GET", "/api/v1/sessions", "c")[0] == 401
        assert ask(server, "DELETE", "/api/v1/sessions/session_20260101_000000_x")[0] == 401
        status, body = ask(server, "GET", "/api/v1/sessions", "m")
        assert status == 200 and json.loads(body)["sessions"] == [], "nothing is kept unless it is asked for"
