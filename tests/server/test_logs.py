"""Log lines as an operator meets them: one line per event, fields apart, ids that lead from one to the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import requests

from server import logs
from tests.server.clients import Client
from tests.server.conftest import running

Connect = Callable[..., Client]


def said(format: logs.Format, what: str) -> str:
    program = f"import logging; from server import logs; logs.configure('INFO', {format!r})\n"
    program += "log = logging.getLogger('x')\n"
    done = subprocess.run([sys.executable, "-c", program + what], capture_output=True, text=True, check=True)
    return done.stderr


def test_fields_stand_behind_the_message_and_never_break_its_line() -> None:
    what = r"log.info('opened\nlevel=ERROR', extra={'session': 'a1', 'name_given': 'a b\nc', 'quiet': 1})"
    line = said("text", what)
    assert line.count("\n") == 1
    assert line.rstrip().endswith(r"INFO x: opened\nlevel=ERROR session=a1 name_given='a b\nc' quiet=1")


def test_as_json_every_line_is_an_object_even_with_a_traceback() -> None:
    what = "try:\n  1 / 0\nexcept ZeroDivisionError:\n  log.exception('broken %d', 7, extra={'session': 'ä'})"
    (line,) = said("json", what).splitlines()
    found = json.loads(line)
    assert found["time"].endswith("+00:00") and found["level"] == "ERROR" and found["logger"] == "x"
    assert (
        found["message"] == "broken 7"
        and found["session"] == "ä"
        and "ZeroDivisionError" in found["traceback"]
    )


def test_requests_and_sessions_have_ids_that_lead_through_the_log(connect: Connect) -> None:
    with running(model__name="fake", server__log_format="json", server__log_level="DEBUG") as server:
        ours = requests.get(f"{server.url}/api/v1/status", headers={"X-Request-ID": "abc-1"}, timeout=5)
        assert ours.headers["X-Request-ID"] == "abc-1"
        theirs = requests.get(f"{server.url}/nothing/here", headers={"X-Request-ID": "a b" * 40}, timeout=5)
        assert len(theirs.headers["X-Request-ID"]) == 16
        client = connect(server)
        session_id = client.start()["session_id"]
        client.stop()
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    (status,) = [line for line in lines if line.get("request") == "abc-1"]
    assert status["message"] == "GET /api/v1/status" and status["status"] == 200 and status["ms"] >= 0
    (lost,) = [line for line in lines if line.get("request") == theirs.headers["X-Request-ID"]]
    assert lost["status"] == 404 and "nothing" not in lost["message"]
    about = [line["message"] for line in lines if line.get("session") == session_id]
    assert about == ["session opened", "session closed"]
    assert {line["logger"] for line in lines} >= {"engine", "http", "server", "sessions"}
