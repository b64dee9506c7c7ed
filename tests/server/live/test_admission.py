"""Who is let in, how many, and when: with the contract's code for whoever is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import socketio
import websocket

from tests.conftest import ROOT, Server, free_port
from tests.server.clients import Client, Raw, eventually
from tests.server.conftest import EVENTLET_FIRST, metrics, no_traceback, running

Connect = Callable[..., Client]
Open = Callable[..., Raw]


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """Three sessions in all, two for one connection, four connections."""
    with running(
        model__name="fake",
        limits__max_sessions=3,
        limits__max_sessions_per_connection=2,
        limits__max_connections=4,
        limits__resume_s=0.3,
    ) as server:
        yield server
        no_traceback(server.log())


def code(answer: Any) -> str:
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


def refusal(server: Server, **options: Any) -> Any:
    """What `connect_error` gets when the server does not let somebody in."""
    said: list[Any] = []
    client = socketio.Client(reconnection=False)
    client.on("connect_error", said.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(server.url, transports=["websocket"], wait_timeout=10, **options)
    client.disconnect()
    return said[0]


def test_a_connection_may_hold_so_many_sessions(small: Server, connect: Connect) -> None:
    client = connect(small)
    first = client.start()["session_id"]
    client.start()
    assert code(client.call("start", {})) == "TOO_MANY_SESSIONS"
    client.stop(session_id=first)
    assert client.start()["ok"]


@pytest.mark.slow
def test_all_connections_together_may_hold_so_many_sessions(small: Server, connect: Connect) -> None:
    eventually(lambda: metrics(small)["emotion_sessions"] == 0, "sessions of those who left are given up")
    full, waiting = connect(small), connect(small)
    full.start()
    full.start()
    waiting.start()
    assert code(waiting.call("start")) == "TOO_MANY_SESSIONS"
    assert code(connect(small).call("audio_stream", {"chunk": b"\0\0"})) == "TOO_MANY_SESSIONS"
    full.close()
    eventually(lambda: waiting.call("start", {})["ok"], "a place is free once its owner does not come back")


def test_a_refused_start_leaves_nothing_behind(small: Server, connect: Connect) -> None:
    client = connect(small)
    for _ in range(20):
        assert code(client.call("start", {"encoding": "opus"})) == "UNSUPPORTED_ENCODING"
    assert client.start()["ok"]
    client.stop()


def test_so_many_connections_and_no_more(small: Server, connect: Connect) -> None:
    eventually(lambda: metrics(small)["emotion_connections"] == 0, "everybody has left")
    inside = [connect(small) for _ in range(4)]
    said = refusal(small)
    assert said["data"]["code"] == "TOO_MANY_SESSIONS" and said["message"]
    inside[0].close()
    eventually(lambda: metrics(small)["emotion_connections"] < 4, "a place is free")
    assert connect(small).connected


def test_websockets_that_do_not_connect_take_nobodys_place(
    small: Server, raw: Open, connect: Connect
) -> None:
    eventually(lambda: metrics(small)["emotion_connections"] == 0, "everybody has left")
    for _ in range(30):
        raw(small, greet=False)
    assert connect(small).call("start")["ok"]


def from_page(server: Server, origin: str) -> bool:
    """Whether a browser on a page of `origin` gets a WebSocket."""
    try:
        Raw(server.port, origin=origin).close()
    except websocket.WebSocketBadStatusException as refused:
        assert refused.status_code == 400
        return False
    return True


def test_pages_of_other_origins_do_not_connect(server: Server) -> None:
    assert from_page(server, server.url)
    assert not from_page(server, "https://a.example")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allowed", "strangers"), [("https://b.example, https://a.example/", False), ("*", True)]
)
def test_pages_of_allowed_origins_connect_too(allowed: str, strangers: bool) -> None:
    with running(model__name="fake", server__cors_origins=allowed) as server:
        assert from_page(server, server.url)
        assert from_page(server, "https://a.example")
        assert from_page(server, "https://evil.example") is strangers
        no_traceback(server.log())


@pytest.mark.slow
@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_while_the_model_loads_clients_may_connect_but_not_start(mode: str, connect: Connect) -> None:
    """Before anything answers there is only the process; `readyz` says 503 until the model does."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "serve", "--port", str(port), "--model", "compact"],
        cwd=ROOT,
        env={**os.environ, "EMOTION_SERVER__ASYNC_MODE": mode},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        early = object.__new__(Server)
        early.port, early.url = port, f"http://127.0.0.1:{port}"

        def listening() -> bool:
            try:
                return early.get("/healthz")[0] == 200
            except OSError:
                return False

        eventually(listening, "it listens")
        client = connect(early)
        answer = client.call("start")
        ready, why = early.get("/readyz")
        if answer["ok"]:
            pytest.skip("the model had loaded before anybody could ask")
        assert code(answer) == "NOT_READY" and "loading" in answer["error"]["message"]
        assert code(client.call("audio_stream", {"chunk": b"\0\0"})) == "NOT_READY"
        assert (ready, "loading" in why) == (503, True) or ready == 200
        status = json.loads(early.get("/api/v1/status")[1])
        assert status["model"] == "compact"
        eventually(lambda: client.call("start")["ok"], "the model has loaded", 60)
        assert early.get("/readyz") == (200, "ready\n")
    finally:
        process.terminate()
        process.wait(20)
