"""Every entrance × every scope × tenants: the table that docs/access.md shows, tried on a server.

`ENTRANCES` says of each entrance what lets somebody in; a new one gets its line here, and in the documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import socketio
import websocket

from server.access.identity import SCOPES, Scope
from server.access.key_file import KeyFile
from tests.conftest import ROOMY, ROOT, Server
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running
from tests.server.receivers import Receiver

Connect = Callable[..., Client]
SPEECH = (ROOT / "demo" / "conversation.wav").read_bytes()
TENANTS = ("acme", "other")


@dataclass(frozen=True)
class Scene:
    """A server with keys of every scope for two tenants, and what the first tenant has on it."""

    server: Server
    keys: dict[tuple[str, Scope], str]
    owner: Client
    session_id: str
    result: str
    record: str

    def rest(self, method: str, path: str, key: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return requests.request(method, self.server.url + path, headers=headers, timeout=120, **more)


def code(answer: requests.Response) -> str:
    """ok, or why not."""
    return "ok" if answer.ok else str(answer.json()["error"]["code"])


def socket_io(scene: Scene, key: str, namespace: str = "/") -> str:
    said: list[Any] = []
    client = socketio.Client(reconnection=False)
    client.on("connect_error", said.append, namespace=namespace)
    client.on("connect", lambda: said.append("ok"), namespace=namespace)
    with suppress(socketio.exceptions.ConnectionError):
        client.connect(
            scene.server.url,
            auth={"token": key},
            transports=["websocket"],
            namespaces=[namespace],
            wait_timeout=60,
        )
    client.disconnect()
    return str(said[0] if said[0] == "ok" else said[0]["data"]["code"])


def door(scene: Scene, path: str, first: dict[str, Any]) -> str:
    ws = websocket.create_connection(f"ws://127.0.0.1:{scene.server.port}{path}", timeout=60)
    try:
        ws.send(json.dumps(first))
        _, data = ws.recv_data()
        if data[:2] in (b"\x0f\xa1", b"\x03\xf0"):  # closed, with 4401 or 1008: the reason is the code
            return bytes(data[2:]).decode()
        told = orjson.loads(data)
        return "ok" if told.get("ok") else str(told["code"])
    finally:
        ws.close()


def upload(scene: Scene, key: str) -> str:
    return code(scene.rest("POST", "/api/v1/emotion/recognize", key, files={"audio_file": ("a.wav", SPEECH)}))


# What it is → which scope opens it (None: any key), and how it is tried.
ENTRANCES: dict[str, tuple[Scope | None, Callable[[Scene, str], str]]] = {
    "Socket.IO `/`": ("stream", socket_io),
    "`/v1/stream`": ("stream", lambda s, k: door(s, "/v1/stream", {"type": "start", "token": k})),
    "`POST /api/v1/emotion/recognize`": ("files", upload),
    "`GET /api/v1/results/<id>`": (
        "files",
        lambda s, k: code(s.rest("GET", f"/api/v1/results/{s.result}", k)),
    ),
    "`DELETE /api/v1/results/<id>`": (
        "files",
        lambda s, k: code(s.rest("DELETE", "/api/v1/results/outputs_20260101_000000", k)),
    ),
    "Socket.IO `/monitor`": ("monitor", lambda s, k: socket_io(s, k, "/monitor")),
    "`GET /api/v1/sessions`": ("records", lambda s, k: code(s.rest("GET", "/api/v1/sessions", k))),
    "`GET /api/v1/sessions/<id>/<file>`": (
        "records",
        lambda s, k: code(s.rest("GET", f"/api/v1/sessions/{s.record}/session.json", k)),
    ),
    "`GET /api/v1/sessions/<id>/span`": (
        "records",
        lambda s, k: code(s.rest("GET", f"/api/v1/sessions/{s.session_id}/span?begin_ms=0&end_ms=100", k)),
    ),
    "`DELETE /api/v1/sessions/<id>`": (
        "records",
        lambda s, k: code(s.rest("DELETE", "/api/v1/sessions/session_20260101_000000", k)),
    ),
    "`POST /api/v1/tokens`": (
        None,
        lambda s, k: code(s.rest("POST", "/api/v1/tokens", k, json={"scopes": None})),
    ),
    "`GET /api/v1/status`": (None, lambda s, k: code(s.rest("GET", "/api/v1/status", k))),
}
LET_IN = ("ok", "NOT_FOUND")  # the second: it may ask, and there is none


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("tenants")
    file = KeyFile(folder / "keys.json")
    keys = {(t, scope): file.add(f"{t} {scope}", (scope,), t)[1] for t in TENANTS for scope in SCOPES}
    settings = {"access__keys_file": str(file.path), "files__outputs": str(folder / "outputs"), **ROOMY}
    with running(model__name="fake", recording__sessions="true", **settings) as server:
        for key in keys.values():  # known from now on: who guesses does not keep them out
            told = requests.get(
                f"{server.url}/api/v1/status", headers={"Authorization": f"Bearer {key}"}, timeout=60
            )
            assert told.ok
        past = Client(server.url, auth={"token": keys["acme", "stream"]})
        name = past.start(session_id="of_acme", name="Anna")["session_id"]
        past.stop()
        past.close()
        made = Scene(server, keys, past, name, "", "")
        result = made.rest(
            "POST",
            "/api/v1/emotion/recognize",
            keys["acme", "files"],
            files={"audio_file": ("a.wav", SPEECH)},
        ).json()["id"]
        record = eventually(
            lambda: made.rest("GET", "/api/v1/sessions", keys["acme", "records"]).json()["sessions"],
            "there is a record",
        )[0]["id"]
        owner = Client(server.url, auth={"token": keys["acme", "stream"]})
        owner.start(session_id=name)
        yield Scene(server, keys, owner, name, result, record)
        owner.close()
        no_traceback(server.log())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_entrance_lets_in_whoever_has_its_scope_and_nobody_else(
    scene: Scene, entrance: str, scope: Scope
) -> None:
    wanted, attempt = ENTRANCES[entrance]
    told = attempt(scene, scene.keys["acme", scope])
    assert told in LET_IN if wanted in (None, scope) else told == "FORBIDDEN"


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("key", ["", "es_000000000000_" + "A" * 43])
def test_without_a_key_or_with_a_wrong_one_every_entrance_is_closed(
    scene: Scene, entrance: str, key: str
) -> None:
    assert ENTRANCES[entrance][1](scene, key) in ("UNAUTHORIZED", *(("RATE_LIMITED",) if key else ()))


def test_the_documents_have_the_table() -> None:
    rows = {f"| {entrance} | {f'`{scope}`' if scope else ''} |" for entrance, (scope, _) in ENTRANCES.items()}
    for name in ("access.md", "access.zh.md"):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        table = {re.sub(r"(any key|任何密钥)", "", row) for row in page.splitlines() if row.startswith("| ")}
        assert not {re.sub(r"\s+", " ", row) for row in rows} - {re.sub(r"\s+", " ", row) for row in table}


# -- what one tenant has is invisible to another ------------------------------------------------------------


def test_results_of_one_tenant_are_not_there_for_another(scene: Scene) -> None:
    mine, theirs = (scene.keys[tenant, "files"] for tenant in TENANTS)
    path = f"/api/v1/results/{scene.result}"
    for method, where in (("GET", path), ("GET", f"{path}/result.json"), ("DELETE", path)):
        assert code(scene.rest(method, where, theirs)) == "NOT_FOUND"
    for trick in (
        "tenants",
        "tenants/acme",
        "..",
        f"tenants%2Facme%2F{scene.result}",
        f"acme:{scene.result}",
    ):
        assert not scene.rest("GET", f"/api/v1/results/{trick}", theirs).ok
    assert code(scene.rest("GET", path, mine)) == "ok"


def test_records_and_live_sessions_of_one_tenant_are_not_there_for_another(scene: Scene) -> None:
    mine, theirs = (scene.keys[tenant, "records"] for tenant in TENANTS)
    assert scene.rest("GET", "/api/v1/sessions", theirs).json()["sessions"] == []
    for asked, n in ((scene.session_id, 1), ("acme", 0)):  # the end of an id is no id
        path = f"/api/v1/sessions?session_id={asked}"
        assert len(scene.rest("GET", path, mine).json()["sessions"]) == n
    span = "span?begin_ms=0&end_ms=100"
    for path in (f"{scene.record}/session.json", f"{scene.record}/{span}", f"{scene.session_id}/{span}"):
        assert code(scene.rest("GET", f"/api/v1/sessions/{path}", theirs)) == "NOT_FOUND"
        assert code(scene.rest("GET", f"/api/v1/sessions/{path}", mine)) == "ok"
    assert code(scene.rest("GET", f"/api/v1/sessions/acme:{scene.session_id}/{span}", theirs)) == "NOT_FOUND"
    assert code(scene.rest("DELETE", f"/api/v1/sessions/{scene.record}", theirs)) == "NOT_FOUND"


def test_a_name_that_one_tenant_uses_is_free_for_another_and_its_token_is_of_no_use(
    scene: Scene, connect: Connect
) -> None:
    mine, theirs = (connect(scene.server, auth={"token": scene.keys[t, "stream"]}) for t in TENANTS)
    told = mine.start(session_id="same-name")
    other = theirs.start(session_id="same-name")
    assert told["session_id"] == other["session_id"] == "same-name" and not other["resumed"]
    assert theirs.call("start", {"session_id": "same-name"})["error"]["code"] == "NOT_YOUR_SESSION"
    stolen = theirs.call("start", {"session_id": "x", "resume_token": told["resume_token"]})
    assert stolen["ok"] and not stolen["resumed"]
    for guess in (f"acme:{told['resume_token']}", f":{told['resume_token']}"):
        assert not theirs.start(session_id=f"y{len(guess)}", resume_token=guess)["resumed"]
    assert mine.call("stop", {"session_id": "same-name"})["ok"]
    assert theirs.call("stop", {"session_id": "same-name"})["ok"], "it has not gone with the other"


def test_a_desk_shows_the_sessions_of_its_tenant_alone(scene: Scene, connect: Connect) -> None:
    options = [{"auth": {"token": scene.keys[t, "monitor"]}, "namespace": "/monitor"} for t in TENANTS]
    mine, theirs = (connect(scene.server, **each) for each in options)

    def names(desk: Client) -> set[str]:
        return {session["session_id"] for session in desk.call("list")["sessions"]}

    assert scene.session_id in names(mine) and scene.session_id not in names(theirs)
    for event in ("open", "subscribe"):
        told = theirs.call(event, {"session_id": scene.session_id})
        assert told["error"]["code"] == "NOT_FOUND", event
        assert mine.call(event, {"session_id": scene.session_id})["ok"]
    assert theirs.call("subscribe", {})["ok"] and mine.call("subscribe", {})["ok"]
    speaker = connect(scene.server, auth={"token": scene.keys["acme", "stream"]})
    speaker.start(session_id="heard-by-acme", name="Secret Name")
    eventually(lambda: "heard-by-acme" in json.dumps(mine.heard), "its own desk is told")
    assert "acme" not in json.dumps(theirs.heard) and "Secret" not in json.dumps(theirs.heard)
    eventually(lambda: [e for e, _ in theirs.heard] != [], "the other has been told what there is, too")


def test_answers_stay_in_no_cache_and_pages_may_do_what_they_need_and_no_more(scene: Scene) -> None:
    told = scene.rest("GET", f"/api/v1/results/{scene.result}", scene.keys["acme", "files"])
    assert told.headers["Cache-Control"] == "no-store"
    for path in ("/", "/desk", "/upload"):
        headers = scene.rest("GET", path, "").headers
        for part in ("base-uri 'none'", "form-action 'self'", "object-src 'none'", "frame-ancestors 'none'"):
            assert part in headers["Content-Security-Policy"]
        assert "microphone=(self)" in headers["Permissions-Policy"]
        assert (
            headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        )


def test_metrics_name_no_tenant_and_no_key(scene: Scene) -> None:
    told = scene.server.get("/metrics")[1]
    assert "acme" not in told and not re.search(r"\bes_", told) and "emotion_sessions" in told


def test_a_webhook_is_told_of_its_tenant_alone(tmp_path: Path, connect: Connect) -> None:
    file = KeyFile(tmp_path / "keys.json")
    keys = {tenant: file.add(tenant, ("stream",), tenant)[1] for tenant in ("acme", "default")}
    wanted: dict[str, dict[str, str]] = {"acme": {"tenant": "acme"}, "own": {}, "all": {"tenant": "*"}}
    with ExitStack() as stack:
        receivers = {name: stack.enter_context(closing(Receiver())) for name in wanted}
        hooks = [
            {"name": name, "url": receivers[name].url, "events": ["summary"], **more}
            for name, more in wanted.items()
        ]
        settings = {"access__keys_file": str(file.path), "alerts__webhooks": json.dumps(hooks), **ROOMY}
        server = stack.enter_context(running(model__name="fake", **settings))
        for tenant, key in keys.items():
            client = connect(server, auth={"token": key})
            client.start(session_id=f"of-{tenant}")
            client.stop()
        told = {name: {post.json["session_id"] for post in r.wait()} for name, r in receivers.items()}
        told["all"] = {post.json["session_id"] for post in receivers["all"].wait(2)}
        assert told == {"acme": {"of-acme"}, "own": {"of-default"}, "all": {"of-acme", "of-default"}}
