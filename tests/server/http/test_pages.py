"""What answers over plain HTTP: health, readiness, the state of the service, and refusals as JSON."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.conftest import Server
from tests.server.clients import Client

Connect = Callable[..., Client]


def test_status_describes_the_service(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.start()
    code, text = server.get("/api/v1/status")
    status = json.loads(text)
    assert code == 200
    assert status["ready"] is True and status["error"] is None
    assert (status["model"], status["device"], status["dtype"]) == ("fake", "cpu", "float32")
    assert status["runtime"] == "numpy"
    assert status["supported_labels"] == status["can_say"] == ["angry", "neutral"]
    assert status["connections"] >= 1 and status["sessions"] >= 1
    assert status["queue_depth"] == 0 and isinstance(status["engine_restarts"], int)
    assert status["uptime_s"] > 0 and re.fullmatch(r"\d+\.\d+\.\d+", status["version"])


def test_alive_and_ready_are_plain_words(server: Server) -> None:
    assert server.get("/healthz") == (200, "ok\n")
    assert server.get("/readyz") == (200, "ready\n")


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/static/../server/config.py", "/api/v1/status/"]
)
def test_what_is_not_there_is_404_as_json(server: Server, path: str) -> None:
    code, text = server.get(path)
    assert code == 404
    answer = json.loads(text)
    assert answer["success"] is False
    assert answer["error"]["code"] == "NOT_FOUND" and answer["error"]["message"]


def test_a_method_that_is_not_there_is_405_as_json(server: Server) -> None:
    request = urllib.request.Request(server.url + "/metrics", method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 405
    assert json.load(refused.value)["success"] is False
