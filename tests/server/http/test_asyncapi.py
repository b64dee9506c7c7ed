"""Live audio against its own description: what really passes, by both ways, is what it promises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson
import pytest
import requests

from server.errors import CODES
from server.http.asyncapi import RESULTS, SENT, document
from stream.codec import ENCODINGS
from stream.types import LABELS
from tests.conftest import Server
from tests.server.clients import Client
from tests.server.conftest import ROOMY, no_traceback, running
from tests.server.doors.plain import PlainClient

RULES = orjson.dumps(
    [{"name": "any", "when": {"any_of": list(LABELS), "above": 0.05}, "window_s": 1, "message_zh": "ja"}]
).decode()


def schema_of(name: str) -> Any:
    return jsonschema_rs.validator_for({**document(), "$ref": f"#/components/schemas/{name}"})


class Recording(PlainClient):
    """Keeps every message as it came."""

    def __init__(self, url: str) -> None:
        self.messages: list[Any] = []
        super().__init__(url)

    def _message(self, data: bytes) -> Any:
        self.messages.append(orjson.loads(data))
        return super()._message(data)


@pytest.fixture(scope="module")
def talking() -> Iterator[Server]:
    with running(model__name="fake", alerts__rules=RULES, **ROOMY) as server:
        yield server
        no_traceback(server.log())


@pytest.fixture
def io(talking: Server) -> Iterator[Client]:
    client = Client(talking.url)
    yield client
    client.close()


def conversation(client: Client, audio: bytes) -> list[Any]:
    """Everything that a client may ask for, some of it wrong; the answers."""
    answers = [
        client.call("start", {"frame_results": True, "load_events": True, "name": "x", "tags": {"a": "b"}})
    ]
    client.speak(audio)
    answers += [
        client.call("audio_stream", {"chunk": b"\0\0", "seq": 0}),
        client.call("audio_stream", {"chunk": b"\0\0", "seq": 0}),
        client.call("audio_stream", {"chunk": b"\0\0", "seq": 9}),
        client.call("flush"),
        client.call("span", {"begin_ms": 0, "end_ms": 5_000, "present": {"sad": 0.5}}),
        client.call("span", {"begin_ms": 0, "end_ms": 10}),
        client.call("span", {"begin_ms": 5, "end_ms": 0}),
        client.call("nothing"),
        client.call("stop"),
        client.call("start", {"channels": 2}),
    ]
    client.speak(b"".join(audio[i : i + 2] * 2 for i in range(0, len(audio), 2)))
    answers += [
        client.call("stop"),
        client.call("start", {"encoding": "webm"}),
        client.call("audio_stream", {"chunk": b"\x1aE\xdf\xa3webm" + b"\x55" * 20_000}),
    ]
    client.wait_for("error", lambda p: "session_id" in p)
    return answers


def test_what_passes_over_socket_io_is_as_described(io: Client, demo_pcm: bytes) -> None:
    for answer in conversation(io, demo_pcm[: 6 * 32_000]):
        schema_of("ack").validate(answer)
    for name, payload in io.heard:
        schema_of(name).validate(payload)
    heard = {name for name, _ in io.heard}
    assert heard == set(RESULTS) - {"lost", "load"}, "all but what needs a server in trouble"


def test_what_passes_over_the_plain_websocket_is_as_described(talking: Server, demo_pcm: bytes) -> None:
    client = Recording(talking.url)
    conversation(client, demo_pcm[: 6 * 32_000])
    client.say({"type": "ping"})
    client.wait_for("pong")
    assert {m["type"] for m in client.messages} >= {*RESULTS, "ack", "pong"} - {"lost", "load"}
    for message in client.messages:
        schema_of(f"{message['type']}_message").validate(message)
    assert {m["to"] for m in client.messages if m["type"] == "ack"} >= set(SENT)
    client.close()


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("lost", {"session_id": "a", "start_ms": 0, "end_ms": 10, "code": "NONE"}),
        ("speech_message", {"session_id": "a", "state": "start", "at_ms": 0}),
        ("speech", {"session_id": "a", "state": "start", "at_ms": 0, "more": 1}),
        ("ack", {"ok": True}),
        ("start_message", {"type": "start", "sampel_rate": 8000}),
    ],
)
def test_this_test_can_fail(name: str, payload: Any) -> None:
    assert not schema_of(name).is_valid(payload)


def test_it_is_served_and_every_reference_leads_somewhere(talking: Server) -> None:
    url = talking.url
    served = requests.get(f"{url}/asyncapi.json", timeout=10).json()
    assert served == json.loads(json.dumps(document())) and served["asyncapi"] == "3.0.0"
    for target in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(served)):
        at = served
        for part in target.split("/"):
            at = at[part]
    schemas = served["components"]["schemas"]
    assert schemas["Label"]["enum"] == list(LABELS) and set(schemas["Code"]["enum"]) == set(CODES)
    assert set(schemas["start"]["properties"]["encoding"]["enum"]) == set(ENCODINGS)


def test_what_the_server_takes_is_what_is_described(io: Client) -> None:
    """Each field alone, by name: known to both, or to neither."""
    for event in SENT:
        known = document()["components"]["schemas"][event]["properties"]
        for name in ("session_id", "encoding", "chunk", "seq", "token", "tags", "received", "id", "type"):
            error = io.call(event, {name: 1.5}).get("error", {})
            assert ("unknown field" not in error["message"]) == (name in known), (event, name)


def test_the_documents_are_served_as_text_and_listed(talking: Server) -> None:
    url = talking.url
    listed = requests.get(f"{url}/llms.txt", timeout=10)
    assert listed.headers["Content-Type"].startswith("text/plain") and listed.text.startswith(
        "# emotion-stream\n"
    )
    links = re.findall(r"\]\((/[^)]+)\)", listed.text)
    assert {"/docs/protocol.md", "/docs/protocol.zh.md", "/docs/doors/twilio.md"} <= set(links)
    for link in links:
        assert requests.get(url + link, timeout=10).status_code == 200, link
    for strange in ("/docs/none.md", "/docs/..%2fREADME.md", "/docs/doors/../../README.md"):
        assert requests.get(url + strange, timeout=10).status_code == 404
