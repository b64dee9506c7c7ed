"""Short-lived tokens: made with a key, good for what was asked, for as long, and while the key lives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import requests
import websocket

from server.access.identity import Identity
from server.access.key_file import KeyFile
from server.access.tokens import AUDIENCE, TokenRequest, make, read
from tests.conftest import ROOMY, Server
from tests.server.access.test_auth import rest
from tests.server.clients import Client, eventually
from tests.server.conftest import no_traceback, running
from tests.server.live.test_admission import refusal

Connect = Callable[..., Client]
SECRET = b"s" * 32
HOLDER = Identity(frozenset({"stream", "files", "admin"}), "acme", "0" * 12)


def test_a_token_says_what_was_asked_and_no_forged_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    token, scopes = make(HOLDER, TokenRequest(scopes=("stream",), ttl_s=60), SECRET)
    told = read(token, SECRET)
    assert told is not None and told.key == HOLDER.key and scopes == ["stream"] == list(told.scopes)
    assert make(HOLDER, TokenRequest(), SECRET)[1] == ["files", "stream"], "admin only in so many words"
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE)
    for forged in (
        jwt.encode(claims, b"x" * 32, "HS256"),
        jwt.encode(claims, "", "none"),
        jwt.encode({**claims, "aud": "other"}, SECRET, "HS256"),
        jwt.encode({k: v for k, v in claims.items() if k != "exp"}, SECRET, "HS256"),
        jwt.encode(claims, b"s" * 64, "HS512"),
        token[:-2],
        "..",
        "a.b.c",
        "",
    ):
        assert read(forged, SECRET) is None, forged
    assert read(jwt.encode({**claims, "exp": int(time.time()) - 1}, SECRET, "HS256"), SECRET) is None


@dataclass(frozen=True)
class Issuing:
    server: Server
    file: KeyFile
    key: str
    key_id: str

    def ask(self, key: str, **wanted: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        told = requests.post(f"{self.server.url}/api/v1/tokens", json=wanted, headers=headers, timeout=60)
        return told.status_code, told.json()

    def token(self, **wanted: Any) -> str:
        status, told = self.ask(self.key, **wanted)
        assert status == 200, told
        return str(told["token"])


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["one", "workers"])
def issuing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuing]:
    folder = tmp_path_factory.mktemp("tokens")
    file = KeyFile(folder / "keys.json")
    made, key = file.add("page", ("stream", "files"), "acme")
    settings = {
        "access__keys_file": str(file.path),
        "files__outputs": str(folder / "outputs"),
        "server__cors_origins": "https://voice.example,https://other.example",
    }
    with running(model__name="fake", server__workers=request.param, **{**ROOMY, **settings}) as server:
        yield Issuing(server, file, key, made.id)
        no_traceback(server.log())


def test_a_token_opens_what_it_was_made_for_and_makes_no_other(issuing: Issuing, connect: Connect) -> None:
    token = issuing.token(scopes=["stream"], ttl_s=600)
    assert connect(issuing.server, auth={"token": token}).start()["ok"]
    assert connect(issuing.server, auth={"token": token}).start()["ok"], "more than once"
    told = requests.get(
        f"{issuing.server.url}/api/v1/results/outputs_20260101_000000",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    assert told.json()["error"]["code"] == "FORBIDDEN"
    assert issuing.ask(token)[1]["error"]["code"] == "FORBIDDEN"
    assert issuing.ask(issuing.key, scopes=["monitor"])[1]["error"]["code"] == "FORBIDDEN"
    assert issuing.ask("")[1]["error"]["code"] == "UNAUTHORIZED"


def test_a_token_for_once_is_good_for_one_connection_in_all_workers(
    issuing: Issuing, connect: Connect
) -> None:
    token = issuing.token(once=True)
    assert connect(issuing.server, auth={"token": token}).start()["ok"]
    for _ in range(4):
        assert refusal(issuing.server, auth={"token": token})["data"]["code"] == "UNAUTHORIZED"


def test_a_token_of_a_page_is_good_for_that_page_alone(issuing: Issuing) -> None:
    start = json.dumps({"type": "start", "token": issuing.token(origin="https://voice.example/")})
    for origin, word in (
        ("https://voice.example", "resume_token"),
        ("https://other.example", "UNAUTHORIZED"),
    ):
        url = f"ws://127.0.0.1:{issuing.server.port}/v1/stream"
        with closing(websocket.create_connection(url, timeout=60, origin=origin)) as ws:
            ws.send(start)
            assert word in str(ws.recv()), origin


@pytest.mark.parametrize(
    "wanted",
    [{"ttl_s": 0}, {"ttl_s": 3601}, {"scopes": []}, {"scopes": ["all"]}, {"for": 1}, {"once": "perhaps"}],
)
def test_what_cannot_be_asked_is_named(issuing: Issuing, wanted: dict[str, Any]) -> None:
    status, told = issuing.ask(issuing.key, **wanted)
    assert status == 400 and told["error"]["code"] == "BAD_REQUEST"
    assert next(iter(wanted)) in told["error"]["message"]


def test_a_body_that_is_long_or_no_json_is_refused(issuing: Issuing) -> None:
    url, headers = f"{issuing.server.url}/api/v1/tokens", {"Authorization": f"Bearer {issuing.key}"}
    for body, status in ((b"x" * 5000, 413), (b"[", 400), (b'"x"', 400)):
        assert requests.post(url, data=body, headers=headers, timeout=60).status_code == status
    assert requests.post(url, headers=headers, timeout=60).json()["expires_in_s"] == 300


def test_a_token_ends_with_its_key(issuing: Issuing) -> None:
    key, presented = issuing.file.add("short", ("stream",))
    eventually(
        lambda: rest(issuing.server, {"Authorization": f"Bearer {presented}"})[0] == 200, "it is in effect"
    )
    token = eventually(lambda: issuing.ask(presented)[1].get("token"), "in all workers")
    bearer = {"Authorization": f"Bearer {token}"}
    eventually(lambda: rest(issuing.server, bearer)[0] == 200, "the token is good")
    issuing.file.revoke(key.id)
    eventually(lambda: rest(issuing.server, bearer)[0] in (401, 429), "it has ended")
