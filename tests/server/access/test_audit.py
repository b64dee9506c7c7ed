"""The audit log: a line for each who asks, of who, what, from where and whether they were let in; and no more."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import requests

from server.access.audit import REFUSED_BURST, WAITING, AuditLog
from server.access.identity import EVERYBODY
from server.access.key_file import KeyFile
from tests.conftest import ROOMY
from tests.server.access.test_keys import cli
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/x\r\n\x1b" + "y" * 999, "REMOTE_ADDR": "203.0.113.9"}


def entries(path: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def test_who_asked_for_what_is_written_down_and_no_key_is(tmp_path: Path) -> None:
    file, path = KeyFile(tmp_path / "keys.json"), tmp_path / "audit.jsonl"
    made, key = file.add("crm", ("stream",), "acme")
    settings = {"access__keys_file": str(file.path), "access__audit_file": str(path), **ROOMY}
    with running(model__name="fake", **settings) as server:
        client = Client(server.url, auth={"token": key})
        client.start(name="Anna")
        client.stop()
        client.close()
        url = f"{server.url}/api/v1/sessions?session_id=Anna"
        refused = requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        assert refused.json()["error"]["code"] == "FORBIDDEN"
        assert requests.get(url, headers={"Authorization": "Bearer guess"}, timeout=60).status_code == 401
        eventually(lambda: len(entries(path)) >= 3, "all of it is in the file")
        no_traceback(server.log())
    let_in, lacking, guess = entries(path)
    assert let_in["result"] == "ok" and let_in["scope"] == "stream" and "/socket.io" in let_in["what"]
    assert (let_in["tenant"], let_in["key"], let_in["name"]) == ("acme", made.id, "crm")
    assert lacking["result"] == "FORBIDDEN" and lacking["what"] == "GET /api/v1/sessions"
    assert guess["result"] == "UNAUTHORIZED" and guess["from"] == "127.0.0.1"
    text = path.read_text(encoding="utf-8")
    assert key not in text and "guess" not in text and "Anna" not in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_changes_of_keys_are_written_down(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "audit.jsonl"
    monkeypatch.setenv("EMOTION_ACCESS__AUDIT_FILE", str(path))
    made = cli("add", "crm", "--scope", "stream", "--json", file=tmp_path / "keys.json")
    cli("list", "--json", file=tmp_path / "keys.json")
    cli("revoke", made["id"], "--json", file=tmp_path / "keys.json")
    assert [entry["what"] for entry in entries(path)] == ["keys add", "keys revoke"]
    assert all(entry["key"] == made["id"] and entry["from"].startswith("user ") for entry in entries(path))
    assert made["key"] not in path.read_text()


def test_strangers_do_not_fill_it_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    for _ in range(3 * REFUSED_BURST):
        audit.tell(ENVIRON, "stream", None, "UNAUTHORIZED")
    for _ in range(2 * WAITING):
        audit.tell(ENVIRON, "stream", EVERYBODY, "ok")
    audit.start()
    audit.close()
    *lines, last = entries(tmp_path / "audit.jsonl")
    assert len(lines) == WAITING and last["left_out"] == 3 * REFUSED_BURST + 2 * WAITING - WAITING
    assert all(len(line["what"]) <= 200 for line in lines)
    assert sum(line["result"] == "UNAUTHORIZED" for line in lines) < 2 * REFUSED_BURST


def test_a_disk_that_fails_is_told_once_and_loses_no_count(tmp_path: Path, caplog: Any) -> None:
    audit = AuditLog(tmp_path / "missing" / "audit.jsonl")
    for _ in range(2):
        audit.tell(ENVIRON, "stream", EVERYBODY, "ok")
        audit._write()
    assert sum("cannot be written" in record.message for record in caplog.records) == 1
    (tmp_path / "missing").mkdir()
    audit._write()
    assert [entry["left_out"] for entry in entries(tmp_path / "missing" / "audit.jsonl")] == [2]
    assert audit._lines == deque()
