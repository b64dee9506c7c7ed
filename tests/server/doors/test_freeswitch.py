"""Forks of calls as FreeSWITCH makes them: metadata, then L16 in frames of 20 ms; and peers that are not it."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
import websocket

from server.doors.freeswitch import asked
from server.errors import ClientError
from tests.conftest import Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running
from tests.server.doors.lines import reporting, same, told
from tests.server.doors.plain import Polite
from tests.server.receivers import Receiver

TOKEN = "s3cret-of-the-operator"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def exchange(request: pytest.FixtureRequest, hook: Receiver) -> Iterator[Server]:
    with reporting(hook, server__async_mode=request.param, server__token=TOKEN, **ROOMY) as server:
        yield server
        no_traceback(server.log())
        assert TOKEN not in server.log()


class Fork:
    """As mod_audio_fork connects: with its subprotocol."""

    def __init__(self, server: Server, query: str, headers: dict[str, str] | None = None) -> None:
        self.ws = websocket.create_connection(
            f"ws://127.0.0.1:{server.port}/v1/freeswitch?{query}",
            header=headers or {},
            timeout=60,
            class_=Polite,
            subprotocols=["audio.drachtio.org"],
        )

    def say(self, *messages: str | bytes) -> Fork:
        for message in messages:
            self.ws.send(message, 2 if isinstance(message, bytes) else 1)
        return self

    def speak(self, pcm: bytes, rate: int, channels: int = 1) -> None:
        size = rate // 50 * 2 * channels
        for at in range(0, len(pcm), size):
            self.say(pcm[at : at + size])

    def rest(self) -> tuple[list[dict[str, Any]], int]:
        """What the server says until it closes, and with which code."""
        heard: list[dict[str, Any]] = []
        while True:
            opcode, data = self.ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return heard, int.from_bytes(data[:2], "big")
            heard.append(orjson.loads(data))

    def close(self) -> None:
        self.ws.close(timeout=2)


def metadata(session_id: str, **fields: Any) -> str:
    return json.dumps({"session_id": session_id, "name": "Line 7", "callSid": "of another", **fields})


def voices(samples: np.ndarray) -> tuple[bytes, bytes]:
    """Four seconds of the caller, and of the callee."""
    one, two = (
        np.rint(samples[at * 16_000 :][: 4 * 16_000] * 32767).astype("<i2").tobytes() for at in (2, 7)
    )
    return one, two


def interleaved(left: bytes, right: bytes) -> bytes:
    return np.stack([np.frombuffer(left, "<i2"), np.frombuffer(right, "<i2")], axis=1).tobytes()


def test_its_subprotocol_is_spoken(exchange: Server) -> None:
    fork = Fork(exchange, "sample_rate=8000", BEARER)
    assert fork.ws.subprotocol == "audio.drachtio.org"
    fork.close()


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_a_fork_scores_as_the_same_samples_do_over_socket_io(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, rate: int
) -> None:
    pcm = voices(demo_samples)[0]
    if rate == 8_000:
        pcm = np.frombuffer(pcm, "<i2")[::2].tobytes()
    name = f"fork-{rate}-{random.random()}"
    fork = Fork(exchange, f"sample_rate={rate}", BEARER).say(metadata(name))
    fork.speak(pcm, rate)
    fork.close()
    io = Client(exchange.url, auth={"token": TOKEN})
    session_id = io.start(encoding="pcm_s16le", sample_rate=rate)["session_id"]
    io.speak(pcm)
    io.stop()
    io.close()
    utterances, summary = told(hook, name)
    same(utterances, told(hook, session_id)[0], 1e-5)
    assert (summary["reason"], summary["audio_ms"], summary["name"]) == ("stop", 4_000, "Line 7")


@pytest.mark.parametrize("left", ["customer", "agent"])
def test_both_voices_are_whose_they_are(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, left: str
) -> None:
    """The settings have the agent on the left, FreeSWITCH the caller."""
    caller, callee = voices(demo_samples)
    name = f"both-{left}-{random.random()}"
    fork = Fork(exchange, f"sample_rate=16000&channels=2&left={left}", BEARER).say(metadata(name))
    stereo = interleaved(caller, callee)
    for at in range(0, len(stereo), 1_279):  # not even whole samples
        fork.say(stereo[at : at + 1_279])
    fork.close()
    io = Client(exchange.url, auth={"token": TOKEN})
    session_id = io.start(encoding="pcm_s16le", channels=2)["session_id"]
    io.speak(interleaved(callee, caller) if left == "customer" else stereo)
    io.stop()
    io.close()
    mine, theirs = (
        sorted(told(hook, each)[0], key=lambda u: (u["channel"], u["start_ms"]))
        for each in (name, session_id)
    )
    assert [u["channel"] for u in mine] == [u["channel"] for u in theirs] and len(
        {u["channel"] for u in mine}
    ) == 2
    same(mine, theirs, 1e-5)


def test_nothing_goes_back_but_what_is_asked_for(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray
) -> None:
    pcm = voices(demo_samples)[0]
    mute = Fork(exchange, "sample_rate=16000", BEARER).say(metadata("mute"))
    mute.speak(pcm, 16_000)
    eventually(lambda: [p for p in hook.posts if p.json["session_id"] == "mute"], "it has results")
    mute.ws.settimeout(0.5)
    with pytest.raises(websocket.WebSocketTimeoutException):
        mute.ws.recv()
    mute.close()
    asking = Fork(exchange, "sample_rate=16000&results=true", BEARER).say(metadata("asking"))
    asking.speak(pcm, 16_000)
    heard = [orjson.loads(asking.ws.recv())]
    while heard[-1]["type"] != "utterance_result":
        heard.append(orjson.loads(asking.ws.recv()))
    assert {each["type"] for each in heard} <= {"speech", "utterance_result", "alert"}
    assert {each["session_id"] for each in heard} == {"asking"}
    asking.close()


def test_without_metadata_and_with_words_that_are_none(exchange: Server) -> None:
    for said in ([], ["hello"], ["[1]"], [""]):
        fork = Fork(exchange, "sample_rate=8000", BEARER).say(*said)
        fork.say(bytes(320), "a text of later", bytes(320))
        eventually(lambda: metrics(exchange)["emotion_sessions"] == 1, "there is a session")
        fork.close()
        eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "there is none")


@pytest.mark.parametrize("way", ["bearer", "basic", "metadata"])
def test_who_knows_the_token_gets_in(exchange: Server, way: str) -> None:
    basic = base64.b64encode(f"freeswitch:{TOKEN}".encode()).decode()
    headers = {"bearer": BEARER, "basic": {"Authorization": f"Basic {basic}"}}.get(way)
    fork = Fork(exchange, "sample_rate=8000", headers)
    fork.say(json.dumps({"token": TOKEN} if way == "metadata" else {}), bytes(320))
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 1, "there is a session")
    fork.close()
    eventually(lambda: metrics(exchange)["emotion_connections"] == 0, "it is over")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic !"}, {"Authorization": "Bearer wrong"}])
def test_who_does_not_is_closed_with_4401(exchange: Server, headers: dict[str, str]) -> None:
    for first in ("{}", b"\0\0", json.dumps({"token": 5}), json.dumps({"token": "wrong"})):
        fork = Fork(exchange, "sample_rate=8000", headers).say(first)
        assert fork.rest() == ([], 4401)


WRONG = {
    "a name that is none": json.dumps({"name": 5}),
    "tags that are none": json.dumps({"tags": [1]}),
    "an id that is none": json.dumps({"session_id": "../x"}),
    "too long": json.dumps({"name": "x" * 5_000}),
}


@pytest.mark.parametrize("first", WRONG.values(), ids=WRONG)
def test_metadata_that_cannot_be_is_refused(exchange: Server, first: str) -> None:
    fork = Fork(exchange, "sample_rate=8000", BEARER).say(first)
    assert fork.rest()[1] == (1009 if len(first) > 4_096 else 1008)


BAD = ["", "sample_rate=7999", "sample_rate=x", "sample_rate=8000&channels=3", "sample_rate=8000&left=me",
       "sample_rate=8000&results=1", "sample_rate=8000&chanels=2", "sample_rate=%C2%B2"]  # fmt: skip


@pytest.mark.parametrize("query", BAD)
def test_an_address_that_does_not_say_what_comes_is_refused_at_the_handshake(
    exchange: Server, query: str
) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Fork(exchange, query, BEARER)
    assert refused.value.status_code == 400
    with pytest.raises(ClientError):
        asked({})


def test_a_call_that_is_cut_off_leaves_nothing_behind(exchange: Server) -> None:
    forks = [Fork(exchange, "sample_rate=8000", BEARER).say("{}", bytes(320)) for _ in range(10)]
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 10, "they are there")
    for fork in forks:
        assert fork.ws.sock is not None
        fork.ws.sock.shutdown(2)
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "their sessions are closed at once")
    eventually(lambda: metrics(exchange)["emotion_connections"] == 0, "and their connections")


def test_strange_messages_hurt_nobody(exchange: Server, hook: Receiver) -> None:
    dice = random.Random(11)
    name = f"speaker-{random.random()}"
    speaker = Fork(exchange, "sample_rate=8000", BEARER).say(metadata(name))
    for _ in range(40):
        fork = Fork(exchange, "sample_rate=8000&channels=2&results=true", BEARER)
        text = bytearray(metadata("x"), "ascii")
        for _ in range(dice.randint(0, 5)):
            text[dice.randrange(len(text))] = dice.choice(b'{}[]",:0a')
        fork.say(text.decode(), *(dice.randbytes(dice.randrange(2_000)) for _ in range(3)))
        fork.close()
        speaker.say(bytes(320))
    speaker.close()
    assert told(hook, name)[1]["audio_ms"] == 800
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "nothing is left")


def test_only_the_customer_is_heard_where_the_policy_says_so() -> None:
    with running(model__name="fake", policy__watch="customer") as server:
        one = Fork(server, "sample_rate=8000").say("{}")
        assert one.rest()[1] == 1008, "one channel may hold both"
        two = Fork(server, "sample_rate=8000&channels=2").say("{}", bytes(640))
        eventually(lambda: metrics(server)["emotion_channels"] == 1, "one of the two is scored")
        two.close()
        no_traceback(server.log())


def test_a_call_beyond_the_limit_is_closed_with_1013() -> None:
    with running(model__name="fake", limits__max_sessions=1) as server:
        one = Fork(server, "sample_rate=8000").say("{}", bytes(320))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the first is there")
        assert Fork(server, "sample_rate=8000").say("{}").rest()[1] == 1013
        one.close()
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_a_call_ends_with_the_server(mode: str) -> None:
    with running(model__name="fake", server__async_mode=mode) as server:
        fork = Fork(server, "sample_rate=8000&results=true").say("{}", bytes(320))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the call is there")
        assert server.stop() == 0
        heard, code = fork.rest()
        assert code == 1001 and heard[-1]["type"] == "session_summary" and heard[-1]["reason"] == "shutdown"
        no_traceback(server.log())
