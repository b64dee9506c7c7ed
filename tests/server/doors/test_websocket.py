"""`/v1/stream`: how it opens, answers and ends, and whom it cuts off. What a session does is tested elsewhere."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import psutil
import pytest
import websocket

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, MODES, ROOMY, metrics, no_traceback, running
from tests.server.doors.plain import PlainClient
from tests.server.live.test_messages import wrong_types
from tests.server.wires import BINARY, HANDSHAKE, KEY, PING, PONG, TEXT, Wire, fragments, frame

Connect = Callable[..., PlainClient]
TOKEN = "s3cret-of-the-operator"


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def guarded(request: pytest.FixtureRequest) -> Iterator[Server]:
    """It asks for a token, and has room for two connections."""
    settings = {"server__token": TOKEN, "limits__max_connections": 2}
    with running(model__name="fake", server__async_mode=request.param, **settings) as server:
        yield server
        no_traceback(server.log())
        assert TOKEN not in server.log()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def shipped(request: pytest.FixtureRequest) -> Iterator[Server]:
    """With the limits that it ships with."""
    with running(model__name="fake", server__async_mode=request.param) as server:
        yield server
        no_traceback(server.log())


def opened(port: int, start: bytes | None = b"{}") -> Wire:
    """A WebSocket to the door; `start`: its first message, which is answered."""
    wire = Wire(port, timeout_s=60)
    wire.send(
        HANDSHAKE.replace("/socket.io/?EIO=4&transport=websocket", "/v1/stream").format(key=KEY).encode()
    )
    assert wire.status() == 101
    if start is not None:
        wire.send(frame(TEXT, start))
        assert orjson.loads(wire.message())["ok"]
    return wire


def test_the_same_recording_has_the_same_scores_by_both_ways(
    compact: Server, connect: Connect, demo_pcm: bytes
) -> None:
    audio = demo_pcm[: 8 * 32_000]
    door, io = connect(compact), Client(compact.url)
    books = []
    for client in (door, io):
        session_id = client.start()["session_id"]
        client.speak(audio, cut=3_200)
        client.stop()
        books.append(ledger.of_client(client.heard, session_id))
        books[-1].balance()
    io.close()
    ledger.same(*books)
    assert {name for name, _ in door.heard} == {name for name, _ in io.heard}
    for name in ("emotion_result", "utterance_result", "speech", "session_summary"):
        assert set(door.of(name)[0]) == set(io.of(name)[0]), name


def test_answers_carry_the_clients_number_and_chunks_without_one_get_none(
    server: Server, connect: Connect
) -> None:
    client = connect(server)
    client.say({"encoding": "pcm_s16le"})  # no type: it is the first
    assert client.wait_for("ack")["to"] == "start"
    client.send("audio_stream", {"chunk": b"\0" * 32_000})
    client.say({"type": "audio_stream", "chunk": "AAAA"})
    assert client.call("audio_stream", {"chunk": b"\0" * 32_000})["received_ms"] == 2000
    client.say({"type": "flush", "id": "mine"})
    assert client.call("flush")["ok"]
    client.say({"type": "ping"})
    assert client.wait_for("pong") == {}
    client.say({"type": "stop"})
    eventually(lambda: len(client.of("ack")) == 2, "stop is answered")
    start, stop = client.of("ack")
    assert (start["to"], stop["to"]) == ("start", "stop") and stop["audio_ms"] == 2000
    assert client.of("session_summary")[0]["reason"] == "stop"
    assert client.connected and client.start()["ok"], "another session may follow"


def test_bare_audio_is_numbered_so_that_who_comes_back_knows_what_was_taken(
    server: Server, connect: Connect
) -> None:
    first, second = connect(server), connect(server)
    token = first.start()["resume_token"]
    for _ in range(3):
        first.send("audio_stream", {"chunk": b"\0" * 3200})
    assert first.call("flush")["ok"]
    back = second.start(resume_token=token)
    assert back["resumed"] and back["next_seq"] == 3


def test_audio_without_a_session_is_refused(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.start()
    client.stop()
    client.send("audio_stream", {"chunk": b"\0" * 3200})
    assert client.wait_for("error")["code"] == "NOT_YOUR_SESSION"


@pytest.mark.parametrize("token", [None, "", "wrong", 5, [TOKEN]])
def test_without_the_token_it_is_closed_with_4401(guarded: Server, connect: Connect, token: Any) -> None:
    before = metrics(guarded)
    client = connect(guarded)
    client.say({"type": "start", **({} if token is None else {"token": token})})
    assert client.ended_with() == 4401
    assert client.of("error")[0]["code"] == "UNAUTHORIZED"
    name = 'emotion_errors_total{code="UNAUTHORIZED"}'
    assert metrics(guarded)[name] == before[name] + 1


def test_the_token_lets_in_with_the_start_and_as_a_header(guarded: Server, connect: Connect) -> None:
    eventually(lambda: metrics(guarded)["emotion_connections"] == 0, "nobody is left")
    assert connect(guarded, token=TOKEN).start()["ok"]
    assert connect(guarded, headers={"Authorization": f"Bearer {TOKEN}"}).start()["ok"]
    third = connect(guarded, token=TOKEN)
    third.say({"token": TOKEN})
    assert third.ended_with() == 1013, "connections are counted with those of Socket.IO"
    assert third.of("error")[0]["code"] == "TOO_MANY_SESSIONS"


FIRST = {
    "audio": (b"\0\0", 1008),
    "no JSON": ("hello", 1008),
    "a list": ("[]", 1008),
    "another event": ('{"type": "flush"}', 1008),
    "an unknown field": ('{"sampel_rate": 8000}', 1008),
    "an encoding that is none": ('{"encoding": "opus"}', 1008),
    "too long": (orjson.dumps({"name": "x" * 5_000}).decode(), 1009),
}


@pytest.mark.parametrize(("first", "code"), FIRST.values(), ids=FIRST)
def test_what_does_not_begin_with_a_start_is_closed(
    server: Server, connect: Connect, first: str | bytes, code: int
) -> None:
    client = connect(server)
    client.ws.send(first, BINARY if isinstance(first, bytes) else TEXT)
    assert client.ended_with() == code
    if code == 1008:
        assert client.of("error")[0]["code"] in ("BAD_REQUEST", "UNSUPPORTED_ENCODING")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_who_never_starts_is_closed_and_who_only_listens_is_not(mode: str, connect: Connect) -> None:
    """The second is silent for longer than a connection may be that does not answer pings."""
    with running(model__name="fake", server__async_mode=mode) as server:
        idle, quiet, deaf = connect(server), connect(server), opened(server.port)
        quiet.start()
        assert idle.ended_with() == 4408
        assert deaf.close_code() == 4408
        assert quiet.call("flush")["ok"]
        deaf.sock.close()
        no_traceback(server.log())


def test_fields_of_the_wrong_type_are_bad_requests(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.start()
    for event, payload in wrong_types():
        try:
            orjson.dumps(payload)
        except TypeError:
            continue  # bytes
        assert client.call(event, payload)["error"]["code"] == "BAD_REQUEST", (event, payload)
    assert client.call("no_such_event")["error"]["code"] == "BAD_REQUEST"
    client.say({"type": ["start"]})
    client.say({"type": "flush", "id": {"a": 1}})
    assert client.call("stop")["ok"]


FLOODS = {
    "pings": frame(PING, b"x") * 500,
    "pongs": frame(PONG) * 500,
    "ping messages": frame(TEXT, b'{"type":"ping"}') * 500,
    "unknown events": frame(TEXT, b'{"type":"nothing"}') * 50,
    "wrong fields": frame(TEXT, b'{"type":"start","sampel_rate":1}') * 50,
    "audio": frame(BINARY, b"\0\0") * 500,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_closes_its_connection_with_one_line_and_a_count(shipped: Server, flood: bytes) -> None:
    before, log = metrics(shipped), len(shipped.log())
    with opened(shipped.port) as wire:
        assert wire.pour(flood), "it was cut off"
    name = 'emotion_connections_cut_total{reason="flood"}'
    eventually(lambda: metrics(shipped)[name] > before[name], "it is counted")
    assert shipped.log()[log:].count("connection closed") <= 1
    eventually(lambda: metrics(shipped)["emotion_connections"] == 0, "it is forgotten")


def test_messages_that_are_too_long_or_hold_too_much_close_it(server: Server) -> None:
    with opened(server.port) as wire:
        wire.send(b"".join(fragments(16, 100_000)))
        assert wire.close_code() == 1009
    with opened(server.port) as wire:
        wire.send(frame(TEXT, b'{"type":"start","tags":[' + b"[]," * 400_000 + b"[]]}"))
        assert wire.close_code() == 1008
    with opened(server.port) as wire:
        wire.send(frame(BINARY, b"\0" * 1_050_000))
        assert orjson.loads(wire.message())["code"] == "CHUNK_TOO_LARGE"


def test_strange_messages_hurt_nobody(server: Server, connect: Connect, demo_pcm: bytes) -> None:
    """Each ends in an answer or a closed connection; somebody else speaks all the while."""
    dice, speaker = random.Random(7), connect(server)
    speaker.start()
    before = metrics(server)["emotion_connections"]  # other tests' may still be among them
    valid = [
        b"{}",
        b'{"type":"flush"}',
        b'{"type":"audio_stream","chunk":"AAAA","seq":0}',
        b'{"type":"stop","id":3}',
    ]
    for round_ in range(60):
        with opened(server.port, start=b"{}" if round_ % 3 else None) as wire:
            for _ in range(4):
                text = bytearray(dice.choice(valid))
                for _ in range(dice.randint(0, 3)):
                    text[dice.randrange(len(text))] = dice.choice(b'{}[]",:0a\\\x00')
                opcode = dice.choice([TEXT, TEXT, BINARY, 0, 3])
                try:
                    wire.send(frame(opcode, bytes(text), final=dice.random() > 0.1))
                except ConnectionError:
                    break
        speaker.send("audio_stream", {"chunk": demo_pcm[round_ * 3200 : (round_ + 1) * 3200]})
    assert speaker.stop()["audio_ms"] == 6000
    eventually(lambda: metrics(server)["emotion_connections"] <= before, "the strangers are gone")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Origin": "https://evil.example"}, 403, "CROSS_SITE"),
        ({"Host": "evil.example"}, 400, "UNKNOWN_HOST"),
    ],
)
def test_pages_of_other_sites_and_strange_names_are_refused(
    server: Server, headers: dict[str, str], status: int, code: str
) -> None:
    header = {**headers, **({} if "Origin" in headers else {"Origin": "http://127.0.0.1"})}
    host = header.pop("Host", None)
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(
            f"ws://127.0.0.1:{server.port}/v1/stream",
            header=header,
            host=host,
            origin=header.pop("Origin", None),
        )
    assert refused.value.status_code == status
    assert orjson.loads(refused.value.resp_body or b"{}")["error"]["code"] == code


def test_its_own_page_is_served_and_who_does_not_upgrade_is_told(server: Server) -> None:
    own = websocket.create_connection(f"ws://127.0.0.1:{server.port}/v1/stream", origin=server.url)
    own.send("{}")
    assert orjson.loads(own.recv())["ok"]
    own.close()
    status, body = server.get("/v1/stream")
    assert status == 400 and "WebSocket" in orjson.loads(body)["error"]["message"]


def test_only_the_customer_is_heard_where_the_policy_says_so(connect: Connect, demo_pcm: bytes) -> None:
    both = bytes(2 * len(demo_pcm[:64_000]))
    with running(model__name="fake", policy__watch="customer", **ROOMY) as server:
        one, two = connect(server), connect(server)
        assert one.call("start", {})["error"]["code"] and one.ended_with() == 1008
        answer = two.start(channels=2)
        assert answer["watch"] == "customer" and answer["channels"] == ["agent", "customer"]
        two.send("audio_stream", {"chunk": both})
        assert set(two.stop()["channels"]) == {"customer"}
        no_traceback(server.log())


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_that_breaks_leaves_nothing_behind(mode: str, connect: Connect, demo_pcm: bytes) -> None:
    with running(model__name="fake", server__async_mode=mode, limits__resume_s=1, **ROOMY) as server:
        process = psutil.Process(server.process.pid)
        first = connect(server)
        first.start()
        first.close()
        eventually(lambda: metrics(server)["emotion_connections"] == 0, "it is noticed")
        threads = process.num_threads()
        clients = [connect(server) for _ in range(20)]
        for client in clients:
            client.start()
            client.send("audio_stream", {"chunk": demo_pcm[:32_000]})
        for client in clients:
            client.kill()
        eventually(lambda: metrics(server)["emotion_connections"] == 0, "they are noticed")
        eventually(lambda: metrics(server)["emotion_sessions"] == 0, "their sessions are closed")
        eventually(lambda: process.num_threads() <= threads + 2, "and their threads have ended")
        no_traceback(server.log())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_never_reads_is_given_up(mode: str, demo_pcm: bytes) -> None:
    """Its memory is bounded; it loses its connection though it does not even read that."""
    settings = {**ROOMY, "limits__outbox_events": 100, "limits__resume_s": 1, "limits__max_ahead_s": 158}
    with running(model__name="fake", server__async_mode=mode, **settings) as server:
        process = psutil.Process(server.process.pid)
        small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
        stuck = websocket.create_connection(f"ws://127.0.0.1:{server.port}/v1/stream", sockopt=small)
        stuck.send('{"frame_results": true}')
        assert orjson.loads(stuck.recv())["ok"]
        before = process.memory_info().rss
        for _ in range(150):
            stuck.send(demo_pcm[2 * 32_000 : 3 * 32_000], BINARY)
        eventually(lambda: "does not read" in server.log(), "it is noticed")
        eventually(lambda: metrics(server)["emotion_connections"] == 0, "it is disconnected")
        eventually(lambda: metrics(server)["emotion_sessions"] == 0, "its session is closed")
        assert process.memory_info().rss - before < 60e6
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_who_is_connected_at_the_end_is_told_1001(mode: str, connect: Connect) -> None:
    with running(model__name="fake", server__async_mode=mode) as server:
        client = connect(server)
        client.start()
        done = threading.Thread(target=server.stop)
        done.start()
        assert client.ended_with() == 1001
        assert client.of("session_summary")[0]["reason"] == "shutdown"
        done.join()
        no_traceback(server.log())
