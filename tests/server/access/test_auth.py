"""A server with a token lets in whoever presents it, and tells everybody else UNAUTHORIZED."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket

from tests.conftest import Server
from tests.server.clients import Client, Raw
from tests.server.conftest import metrics, no_traceback, running
from tests.server.live.test_admission import refusal

Connect = Callable[..., Client]
Open = Callable[..., Raw]

TOKEN = "s3cret-of-the-operator"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server that asks for a token. Its /readyz does not, as load balancers have none."""
    with running(model__name="fake", server__token=TOKEN) as server:
        yield server
        no_traceback(server.log())


@pytest.mark.parametrize(
    "auth",
    [
        None,
        {},
        {"token": ""},
        {"token": "wrong"},
        {"token": 5},
        {"token": None},
        {"token": [TOKEN]},
        {"t": TOKEN},
    ],
)
def test_without_the_token_nobody_connects(guarded: Server, auth: Any) -> None:
    before = metrics(guarded)
    said = refusal(guarded, auth=auth)
    assert said["data"]["code"] == "UNAUTHORIZED"
    assert said["data"]["message"] == said["message"] and "token" in said["message"]
    assert TOKEN not in json.dumps(said)
    after = metrics(guarded)
    name = 'emotion_errors_total{code="UNAUTHORIZED"}'
    assert after[name] == before[name] + 1 and after["emotion_connections"] == 0


def test_whoever_was_refused_is_not_listened_to(guarded: Server, raw: Open) -> None:
    client = raw(guarded, greet=False)
    client.send("40", '421["start",{}]')
    assert client.until("44")
    client.ws.settimeout(0.3)
    try:
        answer = client.until("431")
    except websocket.WebSocketTimeoutException:
        answer = ""
    assert not answer


def test_the_token_lets_in_as_auth_and_as_a_header(guarded: Server, connect: Connect) -> None:
    assert connect(guarded, auth={"token": TOKEN}).start()["ok"]
    header = {"Authorization": f"Bearer {TOKEN}"}
    assert rest(guarded, header)[0] == 200
    assert connect(guarded, headers=header).start()["ok"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "Basic " + base64.b64encode(b"a:b").decode(),
        TOKEN,
    ],
)
def test_rest_without_the_token_is_401_with_the_same_code(guarded: Server, header: str) -> None:
    status, body = rest(guarded, {"Authorization": header} if header else {})
    assert status == 401
    assert body["success"] is False and body["error"]["code"] == "UNAUTHORIZED" and body["error"]["message"]


def test_health_readiness_and_metrics_need_no_token(guarded: Server) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert guarded.get(path)[0] == 200


def rest(server: Server, headers: dict[str, str]) -> tuple[int, Any]:
    request = urllib.request.Request(server.url + "/api/v1/status", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)
