"""SIGTERM: everybody's speech is scored, everybody is told, nobody new is let in, and the process ends with 0."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.conftest import ROOT, Server
from tests.server import ledger
from tests.server.clients import Client, Raw, eventually
from tests.server.conftest import EVENTLET_FIRST, engine_of, held, no_traceback

Connect = Callable[..., Client]

# A model that does not answer is waited for longer than any of these tests: what ends here ends without it.
PATIENT = {"engine__heartbeat_timeout_s": 100, "engine__deadline_ms": 100_000}


@pytest.fixture(params=EVENTLET_FIRST)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def speak_until_told(client: Client, audio: bytes) -> None:
    """In real time, as a microphone does, until the summary comes; what is refused by then is not counted."""
    began, at = time.monotonic(), 0
    while not client.of("session_summary") and client.connected and at < len(audio):
        client.send("audio_stream", {"chunk": audio[at : at + 1_600]})
        at += 1_600
        time.sleep(max(0.0, began + at / 32_000 - time.monotonic()))


def test_five_who_are_speaking_get_everything_and_their_summaries(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    server = Server(model__name="fake", server__async_mode=mode, server__drain_s=60)
    clients = [connect(server) for _ in range(5)]
    ids = [client.start()["session_id"] for client in clients]
    with ThreadPoolExecutor(5) as pool:
        speaking = [pool.submit(speak_until_told, client, demo_pcm[: 8 * 32_000]) for client in clients]
        for client in clients:
            client.wait_for("emotion_result")
        began = time.monotonic()
        assert server.stop(timeout_s=60) == 0
        assert time.monotonic() - began < 50, "there was nothing to wait for"
        for done in speaking:
            done.result()
    for client, session_id in zip(clients, ids, strict=True):
        (summary,) = client.of("session_summary")
        assert summary["reason"] == "shutdown"
        book = ledger.of_client(client.heard, session_id)
        book.balance()
        assert not book.lost and len(book.scored) == summary["frames"] > 0
        assert summary["speech_ms"] == 10 * summary["frames"]
        own = [name for name, payload in client.heard if payload.get("session_id") == session_id]
        assert own[-1] == "session_summary", "it is the last word"
        assert {e["code"] for e in client.of("error")} <= {"NOT_READY", "NOT_YOUR_SESSION"}
        eventually(lambda c=client: not c.connected, "the connection is closed")  # type: ignore[misc]
    no_traceback(server.log())


@contextlib.contextmanager
def hangups(how: signal.Handlers) -> Iterator[None]:
    """What a process that is started here does about a closed terminal, unless it decides for itself."""
    before = signal.signal(signal.SIGHUP, how)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_closed_terminal_ends_it_in_order(connect: Connect, demo_pcm: bytes) -> None:
    """The kernel then sends SIGHUP to all of its processes, the model's too."""
    ours, theirs = os.openpty()
    with hangups(signal.SIG_DFL):  # these tests themselves may run under nohup
        server = Server(model__name="fake", of_terminal=theirs)
    os.close(theirs)
    client = connect(server)
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[:64_000])
    os.close(ours)
    assert client.wait_for("session_summary")["reason"] == "shutdown"
    assert server.process.wait(15) == 0
    book = ledger.of_client(client.heard, session_id)
    book.balance()
    assert book.scored and not book.lost


@pytest.mark.slow
def test_one_that_was_told_to_outlive_its_terminal_does(connect: Connect) -> None:
    with hangups(signal.SIG_IGN):  # as nohup does
        server = Server(model__name="fake")
    server.process.send_signal(signal.SIGHUP)
    client = connect(server)
    assert client.start()["ok"] and client.stop()["reason"] == "stop"
    assert server.stop() == 0


@pytest.mark.slow
def test_while_it_shuts_down_nobody_new_is_let_in(mode: str, connect: Connect, demo_pcm: bytes) -> None:
    server = Server(model__name="fake", server__async_mode=mode, server__drain_s=4)
    speaking, late, resuming = connect(server), connect(server), connect(server)
    token = speaking.start()["resume_token"]
    with held(server):  # so that there is something to wait for
        speaking.speak(demo_pcm[:64_000])
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "shutting down" in server.log(), "it shuts down")
        for payload in ({}, {"session_id": "x"}, {"resume_token": token}):
            answer = (resuming if "resume_token" in payload else late).call("start", payload)
            assert answer["error"]["code"] == "NOT_READY" and "shutting down" in answer["error"]["message"]
        assert late.call("audio_stream", {"chunk": b"\0\0"})["error"]["code"] == "NOT_READY"
        assert server.get("/healthz")[0] == 200
        status, why = server.get("/readyz")
        assert status == 503 and "shutting down" in why, "a load balancer must stop sending clients here"
    assert speaking.wait_for("session_summary")["lost_ms"] == 0
    assert server.process.wait(50) == 0
    no_traceback(server.log())


@pytest.mark.slow
def test_a_model_that_does_not_answer_does_not_keep_it_from_ending(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    """When the time to drain is over, everybody gets a summary, which says what was lost."""
    server = Server(model__name="fake", server__async_mode=mode, server__drain_s=1, **PATIENT)
    client = connect(server)
    session_id = client.start()["session_id"]
    engine = engine_of(server)
    engine.send_signal(signal.SIGSTOP)
    client.speak(demo_pcm[:64_000])
    assert server.stop(timeout_s=50) == 0
    summary = client.wait_for("session_summary")
    assert summary["reason"] == "shutdown" and summary["speech_ms"] > 0
    ledger.of_client(client.heard, session_id).balance()
    assert summary["lost_ms"] == summary["speech_ms"]
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
    no_traceback(server.log())


@pytest.mark.slow
def test_sessions_that_are_being_closed_for_idleness_do_not_hold_it_up(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    server = Server(
        model__name="fake", server__async_mode=mode, server__drain_s=1, limits__idle_timeout_s=0.3, **PATIENT
    )
    clients = [connect(server) for _ in range(3)]
    for client in clients:
        client.start()
    engine_of(server).suspend()
    for client in clients:
        client.speak(demo_pcm[:64_000])
    time.sleep(2)  # by now it has looked twice for idle sessions
    assert server.stop(timeout_s=50) == 0
    for client in clients:
        assert client.wait_for("session_summary")["reason"] in ("idle", "shutdown")
    no_traceback(server.log())


@pytest.mark.slow
def test_it_ends_though_a_client_does_not_read(mode: str, demo_pcm: bytes) -> None:
    server = Server(model__name="fake", server__async_mode=mode, server__drain_s=2)
    deaf = Raw(server.port)
    deaf.send('421["start",{"frame_results":true}]')
    assert server.stop(timeout_s=50) == 0
    deaf.close()
    no_traceback(server.log())


@pytest.mark.slow
def test_ctrl_c_is_as_good(mode: str, connect: Connect) -> None:
    server = Server(model__name="fake", server__async_mode=mode)
    client = connect(server)
    client.start()
    server.process.send_signal(signal.SIGINT)
    assert client.wait_for("session_summary")["reason"] == "shutdown"
    assert server.process.wait(50) == 0
    no_traceback(server.log())


@pytest.mark.slow
def test_a_second_signal_does_no_harm(mode: str, connect: Connect) -> None:
    server = Server(model__name="fake", server__async_mode=mode)
    connect(server).start()
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        server.process.send_signal(number)
        time.sleep(0.05)
    assert server.process.wait(50) == 0
    no_traceback(server.log())


@pytest.mark.slow
def test_the_model_process_ends_with_its_server_however_that_ends(mode: str) -> None:
    server = Server(model__name="fake", server__async_mode=mode)
    engine = engine_of(server)
    server.process.kill()
    server.process.wait(5)
    eventually(lambda: not engine.is_running(), "the model process ends by itself")


@pytest.mark.slow
def test_it_can_be_ended_while_the_model_loads(mode: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--port", "0", "--model", "compact"],
        cwd=ROOT,
        env={**os.environ, "EMOTION_SERVER__ASYNC_MODE": mode},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("listening on" in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGTERM)
    said, log = process.communicate(timeout=60)
    assert process.returncode == 0 and "ready" not in said, "it did not wait for the model"
    no_traceback(log)


@pytest.mark.slow
def test_after_a_restart_on_the_same_port_clients_are_served_again(mode: str, connect: Connect) -> None:
    server = Server(model__name="fake", server__async_mode=mode)
    connect(server).start()
    server.restart()
    assert connect(server).start()["ok"]
    assert server.stop() == 0
