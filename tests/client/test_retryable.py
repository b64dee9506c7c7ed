"""One question decides whether the Python client tries again: the error's `retryable`, the server's word first."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from emotion_stream_client import EmotionClient, EmotionError, Waiting
from emotion_stream_client.errors import RETRYABLE
from emotion_stream_client.recognition import failure
from emotion_stream_client.sending import Outbox, Sender

from server import errors
from tests.client.test_renamed import RESULT
from tests.conftest import Server
from tests.server.conftest import ROOMY, running

Json = dict[str, Any]


def said(code: str, retryable: bool | None = None) -> Json:
    return {"code": code, "message": "m"} | ({} if retryable is None else {"retryable": retryable})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (said("BUSY"), True),
        (said("BAD_REQUEST"), False),
        (said("A_CODE_OF_TOMORROW"), False),
        (said("A_CODE_OF_TOMORROW", True), True),
        (said("BUSY", False), False),
    ],
)
def test_the_servers_word_comes_first_then_the_clients_own_set(error: Json, expected: bool) -> None:
    assert EmotionError.of(error).retryable is expected
    assert failure({"error": error}, 429, None).retryable is expected


def test_the_clients_own_set_is_the_servers_and_a_connection_that_broke() -> None:
    assert errors.RETRYABLE | {"DISCONNECTED"} == RETRYABLE


def test_what_the_client_finds_out_by_itself() -> None:
    assert EmotionError("DISCONNECTED", "m").retryable and "DISCONNECTED" in RETRYABLE
    assert not EmotionError("PROTOCOL", "m").retryable and not EmotionError("CLOSED", "m").retryable


@pytest.mark.parametrize(
    ("error", "again"), [(said("NEW", True), True), (said("RATE_LIMITED", False), False)]
)
def test_a_chunk_is_sent_again_only_where_that_helps(error: Json, again: bool) -> None:
    sender = Sender(Outbox(1000, True))
    sender.begin(False, 0)
    sender.outbox.push(b"a", 10)
    refusal = sender.answered(sender.take(0), {"ok": False, "error": error}, 0)
    assert refusal is not None and refusal.retryable is again
    assert bool(sender.outbox) is again


class Moody(BaseHTTPRequestHandler):
    """Answers uploads with `answers`, one after the other."""

    answers: list[Json]
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536)))
        answer = self.answers.pop(0)
        body = (json.dumps(answer) + "\n").encode()
        self.send_response(503 if "error" in answer else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def moody() -> Iterator[tuple[str, type[Moody]]]:
    kind = type("Moody", (Moody,), {"answers": [], "asked": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kind
    server.shutdown()
    server.server_close()


def test_an_upload_is_tried_again_when_the_server_says_that_it_helps(moody: tuple[str, type[Moody]]) -> None:
    url, handler = moody
    handler.answers += [{"error": said("INTERNAL", True)}, {"result": {**RESULT, "utterances": []}}]
    with EmotionClient(url) as client:
        assert client.recognize(b"audio", retry_timeout_s=30).id == "r" and handler.asked == 2
        handler.answers += [{"error": said("BUSY", False)}]
        with pytest.raises(EmotionError) as refused:
            client.recognize(b"audio", retry_timeout_s=30)
    assert (refused.value.code, refused.value.retryable, handler.asked) == ("BUSY", False, 3)


@pytest.fixture(scope="module")
def full() -> Iterator[Server]:
    with running(**{**ROOMY, "model__name": "fake", "limits__max_sessions": 1}) as server:
        yield server


def test_a_full_server_is_asked_again_and_its_reason_is_told_in_the_end(full: Server) -> None:
    with EmotionClient(full.url) as client, client.stream():
        with pytest.raises(EmotionError) as refused, client.stream(connect_timeout_s=1.5):
            pass
        assert refused.value.code == "TOO_MANY_SESSIONS" and refused.value.retryable


def test_a_place_that_becomes_free_is_taken(full: Server) -> None:
    with EmotionClient(full.url) as client:
        first = client.stream().__enter__()
        threading.Timer(0.7, first.close).start()
        with client.stream(connect_timeout_s=30) as second:
            second.stop()
        codes = [event.code for event in second if isinstance(event, Waiting)]
    assert codes and set(codes) == {"TOO_MANY_SESSIONS"}
