"""Several workers are one server: one address, one set of limits, one page of metrics, one end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import socketio

from tests.conftest import ROOT, Server
from tests.server.clients import Client, eventually
from tests.server.conftest import ended, engine_of, metrics, no_traceback, running
from tests.server.workers.conftest import workers_of

Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    with running(
        model__name="fake",
        server__workers=2,
        limits__max_sessions=3,
        limits__max_connections=8,
        monitor__max_desks=1,
        limits__decoders=1,
    ) as server:
        yield server
        no_traceback(server.log())


def code(answer: Any) -> str:
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


def by_worker(server: Server, name: str) -> list[float]:
    told = server.get("/metrics")[1]
    return [float(x.rpartition(" ")[2]) for x in told.splitlines() if x.startswith(name + "{worker=")]


def test_one_engine_and_two_workers(two: Server) -> None:
    assert len(workers_of(two)) == 2
    assert engine_of(two).ppid() == two.process.pid


def test_connections_go_to_the_worker_that_has_fewer(two: Server, connect: Connect) -> None:
    clients = [connect(two) for _ in range(20)]
    assert min(by_worker(two, "emotion_connections")) >= 5
    for client in clients:
        client.close()


def test_sessions_are_limited_in_all_workers_together(small: Server, connect: Connect) -> None:
    clients = [connect(small) for _ in range(6)]
    answers = [client.call("start", {}) for client in clients]
    assert sum(answer["ok"] for answer in answers) == 3
    assert {code(answer) for answer in answers if not answer["ok"]} == {"TOO_MANY_SESSIONS"}
    assert json.loads(small.get("/api/v1/status")[1])["sessions"] == 3
    for client, answer in zip(clients, answers, strict=True):
        if answer["ok"]:
            client.stop()
    assert json.loads(small.get("/api/v1/status")[1])["sessions"] == 0
    assert clients[0].start()["ok"]
    for client in clients:
        client.close()


def test_connections_and_desks_are_limited_in_all_workers_together(small: Server, connect: Connect) -> None:
    eventually(lambda: metrics(small)["emotion_connections"] == 0, "those before have left")
    clients = [connect(small) for _ in range(8)]
    with pytest.raises(socketio.exceptions.ConnectionError):
        connect(small)
    for client in clients:
        client.close()
    eventually(lambda: metrics(small)["emotion_connections"] == 0, "they have left")
    desk = connect(small, namespace="/monitor")
    for _ in range(4):
        with pytest.raises(socketio.exceptions.ConnectionError):
            connect(small, namespace="/monitor")
    desk.close()


def test_the_place_of_a_killed_worker_is_free_again(connect: Connect) -> None:
    with running(model__name="fake", server__workers=2, limits__max_sessions=4) as server:
        clients = [connect(server) for _ in range(8)]
        assert sum(client.call("start", {})["ok"] for client in clients) == 4
        held = by_worker(server, "emotion_sessions")
        victim = workers_of(server)[0]
        victim.kill()
        eventually(lambda: len(workers_of(server)) == 2 and ended(victim), "it is replaced")
        left = json.loads(server.get("/api/v1/status")[1])["sessions"]
        assert left in held and left < 4
        fresh = [connect(server) for _ in range(8)]
        assert sum(client.call("start", {})["ok"] for client in fresh) == 4 - left
        no_traceback(server.log())


def test_metrics_of_all_workers_add_up(two: Server, connect: Connect, demo_pcm: bytes) -> None:
    before = metrics(two)
    clients = [connect(two) for _ in range(6)]
    for client in clients:
        client.start()
        client.speak(demo_pcm[:96_000])
        assert client.stop()["audio_ms"] == 3000
    grown = metrics(two)
    assert grown["emotion_audio_seconds_total"] - before["emotion_audio_seconds_total"] == pytest.approx(18)
    assert all(of > 0 for of in by_worker(two, "emotion_audio_seconds_total")), "both have served"
    text = two.get("/metrics")[1]
    assert text.count("# TYPE emotion_sessions gauge") == 1
    assert "emotion_engine_up 1.0" in text and "emotion_sessions_limit 200.0" in text
    assert "emotion_batch_windows_count " in text and "emotion_batch_windows_count{" not in text


@pytest.mark.parametrize(("language", "words"), [("en", "several workers"), ("zh", "多个工作进程")])
def test_who_polls_is_told_to_use_websocket(two: Server, language: str, words: str) -> None:
    for query in ("EIO=4&transport=polling", "EIO=4"):
        url = f"{two.url}/socket.io/?{query}"
        answer = requests.get(url, headers={"Accept-Language": language}, timeout=10)
        assert answer.status_code == 400 and words in answer.json()["error"]["message"]


def test_files_are_taken_by_any_worker(demo_wav: Path, tmp_path: Path) -> None:
    with running(model__name="fake", server__workers=2, files__outputs=tmp_path) as server:
        ids = set()
        for _ in range(4):
            with demo_wav.open("rb") as file:
                sent = {"audio_file": file}
                answer = requests.post(f"{server.url}/api/v1/emotion/recognize", files=sent, timeout=60)
            assert answer.status_code == 200, answer.text
            ids.add(answer.json()["id"])
        assert len(ids) == 4
        for one in ids:
            for _ in range(3):
                assert requests.get(f"{server.url}/api/v1/results/{one}", timeout=10).json()["id"] == one
        assert metrics(server)['emotion_files_total{result="ok"}'] == 4
        no_traceback(server.log())


def test_the_model_is_killed_and_nobody_loses_anything(connect: Connect, demo_pcm: bytes) -> None:
    with running(model__name="fake", server__workers=2) as server:
        clients = [connect(server) for _ in range(4)]
        for client in clients:
            client.start()
            client.speak(demo_pcm[:64_000])
        engine_of(server).kill()
        for client in clients:
            client.speak(demo_pcm[64_000:128_000])
            summary = client.stop()
            assert summary["lost_ms"] == 0 and summary["frames"] > 0
        assert metrics(server)["emotion_engine_restarts_total"] == 1
        no_traceback(server.log())


def test_sigterm_ends_all_of_them_with_summaries(connect: Connect, demo_pcm: bytes) -> None:
    with running(model__name="fake", server__workers=2) as server:
        clients = [connect(server) for _ in range(4)]
        for client in clients:
            client.start()
            client.speak(demo_pcm[:64_000])
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop() == 0
        for client in clients:
            assert client.wait_for("session_summary")["reason"] == "shutdown"
        assert all(ended(process) for process in family)
        no_traceback(server.log())


def test_nobody_is_left_when_the_parent_is_killed(connect: Connect) -> None:
    with running(model__name="fake", server__workers=2) as server:
        connect(server).start()
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        eventually(lambda: not [p.cmdline() for p in family if not ended(p)], "they have ended, too")


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(connect: Connect) -> None:
    with running(model__name="fake", server__workers=2) as server:
        victim = workers_of(server)[0]
        victim.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        eventually(lambda: ended(victim), "it is killed")
        assert time.monotonic() - began > 1, "not at once: it may just be slow"
        eventually(lambda: len(workers_of(server)) == 2, "it is replaced")


def test_one_address_cannot_be_served_twice(two: Server) -> None:
    command = [sys.executable, "-m", "cli", "serve", "--model", "fake", "--port", str(two.port)]
    env = {**os.environ, "EMOTION_SERVER__WORKERS": "2"}
    other = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert other.returncode == 1 and "cannot listen on" in other.stderr
