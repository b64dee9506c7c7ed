"""Other people's pages and made-up names: who is refused, who is not, what the log says of it, and from where."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from server.access.hosts import Hosts, exposed
from server.config import Config, ConfigError, load
from server.peer import Proxies, address_of
from tests.conftest import Server
from tests.server.clients import eventually
from tests.server.conftest import EVENTLET_FIRST, metrics, no_traceback, running
from tests.server.live.test_admission import refusal
from tests.server.test_startup import refused, run

EVIL = "http://evil.example"
POLL = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture
def local(server: Server) -> Server:
    """As it is out of the box: on loopback, without tokens."""
    return server


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def proxied(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Behind a proxy at 127.0.0.2, known by a name, with a token."""
    settings = {"server__hosts": "emotion.example", "server__trusted_proxies": "127.0.0.2, 10.0.0.0/8"}
    with running(
        model__name="fake",
        server__async_mode=request.param,
        server__token="s3cret",
        server__log_format="json",
        server__cors_origins="https://listed.example",
        **settings,
    ) as server:
        yield server
        no_traceback(server.log())


def ask(
    server: Server, method: str, path: str, headers: dict[str, str], origin_address: str = "127.0.0.1"
) -> tuple[int, Any]:
    """One request as it is written here: the status, and the JSON of the answer where there is one."""
    fields = {"Host": f"127.0.0.1:{server.port}", "Connection": "close", "Content-Length": "0", **headers}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
    with socket.create_connection(
        ("127.0.0.1", server.port), 10, source_address=(origin_address, 0)
    ) as plain:
        plain.sendall(head.encode())
        answer = http.client.HTTPResponse(plain, method=method)
        answer.begin()
        body = b"" if answer.status == 101 else answer.read()
        return answer.status, json.loads(body) if body.startswith(b"{") else None


def lines(server: Server, message: str) -> list[dict[str, Any]]:
    """Of its log, those that say so."""
    objects = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in objects if line["message"] == message]


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


@pytest.mark.parametrize(
    "path",
    ["/", "/desk", "/api/v1/sessions", "/static/live/app.js", "/client/emotion-stream.js", POLL, "/nothing"],
)
def test_a_foreign_name_reads_nothing(local: Server, path: str) -> None:
    """A page whose name was pointed at this machine (DNS rebinding) had every session of the desk."""
    foreign = {"Host": f"evil.example:{local.port}", "Origin": f"{EVIL}:{local.port}"}
    status, body = ask(local, "GET", path, foreign)
    assert status == 400 and body["error"]["code"] == "UNKNOWN_HOST"
    assert "server.hosts" in body["error"]["message"] and "evil.example" in body["error"]["message"]


def test_nor_does_it_open_a_websocket(local: Server) -> None:
    path = POLL.replace("polling", "websocket")
    evil = {"Host": f"evil.example:{local.port}", "Origin": f"{EVIL}:{local.port}"}
    assert ask(local, "GET", path, {**UPGRADE, **evil})[0] == 400
    own = {"Host": f"localhost:{local.port}", "Origin": f"http://localhost:{local.port}"}
    assert ask(local, "GET", path, {**UPGRADE, **own})[0] == 101


@pytest.mark.parametrize(
    "forwarded",
    [{"X-Forwarded-Host": "localhost"}, {"Forwarded": "host=localhost"}, {"X-Forwarded-Host": "127.0.0.1"}],
)
def test_and_a_header_that_a_page_can_set_does_not_help_it(local: Server, forwarded: dict[str, str]) -> None:
    assert ask(local, "GET", "/api/v1/sessions", {"Host": "evil.example", **forwarded})[0] == 400


def test_nobody_but_a_trusted_proxy_says_under_which_name_a_page_came(local: Server) -> None:
    """Any page could: X-Forwarded-Host was an origin of our own."""
    lie = {"Origin": EVIL, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    assert ask(local, "GET", POLL, lie)[0] == 400


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:7860", "localhost."])
def test_loopback_has_these_names_on_any_port(local: Server, name: str) -> None:
    assert ask(local, "GET", "/", {"Host": name})[0] == 200


@pytest.mark.parametrize(
    "name", ["", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost:x", "[", "::1"]
)
def test_what_only_looks_like_one_is_none(local: Server, name: str) -> None:
    assert ask(local, "GET", "/", {"Host": name})[0] == 400


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_scrapes_may_call_it_as_they_like(local: Server, path: str) -> None:
    assert ask(local, "GET", path, {"Host": "10.1.2.3:7860"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
def test_pages_of_other_sites_change_nothing(local: Server, method: str, said: dict[str, str]) -> None:
    before = metrics(local)['emotion_errors_total{code="CROSS_SITE"}']
    path = "/api/v1/emotion/recognize" if method == "POST" else "/api/v1/results/outputs_x"
    status, body = ask(local, method, path, said)
    assert (
        status == 403
        and body["error"]["code"] == "CROSS_SITE"
        and "server.cors_origins" in body["error"]["message"]
    )
    assert metrics(local)['emotion_errors_total{code="CROSS_SITE"}'] == before + 1


def test_our_own_pages_and_programs_do(local: Server) -> None:
    own = {"Origin": f"http://127.0.0.1:{local.port}", "Sec-Fetch-Site": "same-origin"}
    for said in (own, {}, {"Sec-Fetch-Site": "none"}):
        assert ask(local, "POST", "/api/v1/emotion/recognize", said)[1]["error"]["code"] != "CROSS_SITE"


def test_jsonp_is_not_served(local: Server) -> None:
    assert ask(local, "GET", POLL + "&j=0", {})[0] == 400
    assert ask(local, "GET", POLL, {})[0] == 200


def test_pages_that_are_listed_may(proxied: Server) -> None:
    listed = {"Origin": "https://listed.example", "Sec-Fetch-Site": "cross-site"}
    assert ask(proxied, "POST", "/api/v1/emotion/recognize", listed)[1]["error"]["code"] == "UNAUTHORIZED"
    assert ask(proxied, "GET", POLL, listed)[0] == 200


def test_a_trusted_proxy_says_who_the_client_is(proxied: Server) -> None:
    """And nobody else does; of a chain, the last that is no proxy of ours."""
    told = {"Host": "emotion.example", "X-Forwarded-Host": "emotion.example", "X-Forwarded-Proto": "https"}
    chain = {**told, "X-Forwarded-For": "1.1.1.1, 203.0.113.7, 10.3.4.5"}
    assert ask(proxied, "GET", "/api/v1/status", chain, "127.0.0.2")[0] == 401
    assert ask(proxied, "GET", "/api/v1/status", chain, "127.0.0.3")[0] == 401
    page = {**told, "Origin": "https://emotion.example"}
    assert ask(proxied, "GET", POLL, page, "127.0.0.2")[0] == 200

    def peers() -> list[str]:
        return [line["peer"] for line in lines(proxied, "request refused")]

    eventually(lambda: peers()[-2:] == ["203.0.113.7", "127.0.0.3"], "both are in the log")


def test_a_proxy_cannot_be_talked_into_a_name_that_is_not_ours(proxied: Server) -> None:
    evil = {"Host": "emotion.example", "X-Forwarded-Host": "evil.example"}
    assert ask(proxied, "GET", "/", evil, "127.0.0.2")[0] == 400


@pytest.mark.slow
def test_each_refused_stranger_has_a_line_with_his_address_and_a_flood_has_some(proxied: Server) -> None:
    assert refusal(proxied, auth={"token": "wrong"})["data"]["code"] == "UNAUTHORIZED"
    for _ in range(60):
        assert ask(proxied, "DELETE", "/api/v1/results/outputs_x", {"Authorization": "Basic x"})[0] == 401
    said = eventually(lambda: lines(proxied, "more were refused"), "the others are counted")
    told = lines(proxied, "connection refused") + lines(proxied, "request refused")
    assert all(line["peer"] for line in told) and {"connection refused"} <= {line["message"] for line in told}
    assert len(told) < 40 and sum(line["left_out"] for line in said) >= 25
    assert "guess" not in proxied.log() and "s3cret" not in proxied.log()


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "127.8.8.8"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": ""}, False),
        ({"host": "192.168.1.5"}, False),
        ({"host": "box.example"}, False),
        ({"host": "0.0.0.0", "token": "t"}, True),
        ({"host": "0.0.0.0", "open": True}, True),
    ],
)
def test_who_listens_on_a_network_has_a_token_or_says_that_all_may_come(
    settings: dict[str, Any], local: bool
) -> None:
    why = exposed(Config(server=settings))
    assert (why is None) is local
    if why:
        assert "server.token" in why and "server.open" in why


def test_a_server_for_everybody_by_mistake_does_not_start() -> None:
    refused(run("serve", "--host", "0.0.0.0", "--port", "0"), "server.token", "server.open: true")


def test_one_that_listens_everywhere_goes_by_its_addresses_and_by_no_name() -> None:
    everywhere = Hosts(Config(server={"host": "0.0.0.0", "hosts": "box.example"}).server)
    assert all(
        everywhere.know(name) for name in ("10.0.0.7:7860", "[fe80::1]:7860", "box.example", "BOX.example:1")
    )
    assert not any(everywhere.know(name) for name in ("evil.example", "10.0.0.7.evil.example", ""))
    for host in ("", "::", "0.0.0.0"):
        assert not any(
            Hosts(Config(server={"host": host}).server).know(name) for name in ("", "[", "a b", "x")
        )
    assert not Hosts(Config(server={"host": "10.0.0.7"}).server).know("10.0.0.8")
    assert Hosts(Config(server={"host": "10.0.0.7"}).server).know("10.0.0.7:80")
    assert Hosts(Config(server={"hosts": "*"}).server).know("evil.example")


@pytest.mark.parametrize(
    "setting",
    [{"trusted_proxies": "10.0.0.0/33"}, {"trusted_proxies": "proxy"}, {"hosts": "http://a.example"}],
)
def test_lists_that_cannot_be_meant_end_it(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        load(None, {"server": setting})


def test_addresses_are_read_as_they_are_written() -> None:
    for text, address in {
        "1.2.3.4": "1.2.3.4",
        " 1.2.3.4:80": "1.2.3.4",
        "[2001:db8::1]:80": "2001:db8::1",
        "2001:db8::1": "2001:db8::1",
        "::ffff:1.2.3.4": "1.2.3.4",
    }.items():
        assert str(address_of(text)) == address
    for text in ("", "unknown", "1.2.3", "_hidden", "1.2.3.4.5", "1:2:3"):
        assert address_of(text) is None
    ours = Proxies("10.0.0.0/8,::1")
    assert ours.client("10.0.0.1", "") == "10.0.0.1"
    assert ours.client("10.0.0.1", "9.9.9.9, unknown") == "10.0.0.1"
    assert ours.client("10.0.0.1", "10.0.0.2, 10.0.0.3") == "10.0.0.2"
    assert ours.client("8.8.8.8", "9.9.9.9") == "8.8.8.8"
    # A chain of proxies is followed so far and no farther.
    assert ours.client("10.0.0.1", "9.9.9.9," + "10.0.0.1," * 30_000 + "10.0.0.1") == "10.0.0.1"
