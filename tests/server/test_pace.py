"""Clients that are too fast, too slow, silent, or gone in the middle of a word."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator

import orjson
import psutil
import pytest
import websocket

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Raw, base64_of, eventually
from tests.server.conftest import MODES, ROOMY, metrics, no_traceback, running

Connect = Callable[..., Client]
Open = Callable[..., Raw]


@pytest.fixture(scope="module", params=MODES)
def strict(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Two seconds ahead of real time at most, forty messages a second, one second of silence."""
    with running(
        model__name="fake",
        server__async_mode=request.param,
        limits__ahead_s=2,
        limits__max_chunk_s=1,
        limits__messages_per_s=40,
        limits__idle_timeout_s=1,
        limits__resume_s=1,
        limits__outbox_events=50,
    ) as server:
        yield server
        no_traceback(server.log())


def test_packets_do_not_wait_for_one_another(server: Server, raw: Open) -> None:
    """A refusal is two packets, an event and the ack. Nagle's algorithm would hold the second for 40 ms."""
    client, gaps = raw(server), []
    for _ in range(15):
        client.send('421["flush",5]')
        client.until("42")
        began = time.perf_counter()
        client.until("43")
        gaps.append(time.perf_counter() - began)
    assert statistics.median(gaps) < 0.02


def test_audio_faster_than_real_time_is_refused_until_it_slows_and_nothing_is_lost(
    strict: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(strict)
    session_id = client.start()["session_id"]
    at, refused, seq = 0, 0, 0
    while at < 4 * 32_000:
        answer = client.call("audio_stream", {"chunk": demo_pcm[at : at + 16_000], "seq": seq})
        if answer["ok"]:
            at, seq = at + 16_000, seq + 1
            assert answer["received_ms"] == at // 32, "what is refused is not taken"
            continue
        assert answer["error"]["code"] == "RATE_LIMITED" and answer["next_seq"] == seq
        assert client.of("error")[refused] == answer["error"]
        refused += 1
        time.sleep(0.2)
    assert client.stop()["audio_ms"] == 4000
    assert refused > 3
    book = ledger.of_client(client.heard, session_id)
    book.balance()
    assert len(book.scored) > 300 and not book.lost


def test_too_many_messages_a_second_are_refused(strict: Server, connect: Connect) -> None:
    client, answers = connect(strict), []
    client.start()
    for _ in range(150):
        client.send("audio_stream", {"chunk": b"\0\0"}, on_ack=answers.append)
    eventually(lambda: len(answers) == 150, "every message is answered")
    taken = [answer for answer in answers if answer["ok"]]
    assert 70 <= len(taken) <= 110
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == {"RATE_LIMITED"}
    eventually(lambda: client.call("stop").get("ok"), "after a while it may speak again")


def test_a_session_without_audio_is_closed_with_its_summary(
    strict: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(strict)
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[:32_000])
    client.speak(demo_pcm[32_000:48_000])
    summary = client.wait_for("session_summary", timeout_s=5)
    assert summary["session_id"] == session_id and summary["reason"] == "idle"
    assert summary["audio_ms"] == 1500 and summary["frames"] > 0
    ledger.of_client(client.heard, session_id).balance()
    assert client.connected
    gone = client.call("audio_stream", {"session_id": session_id, "chunk": b"\0\0"})
    assert gone["error"]["code"] == "NOT_YOUR_SESSION"
    assert client.call("audio_stream", {"chunk": b"\0\0"})["received_ms"] == 0, "a new one opens"


def test_audio_keeps_a_session_open(strict: Server, connect: Connect) -> None:
    client = connect(strict)
    client.start()
    end = time.monotonic() + 1.6
    while time.monotonic() < end:
        client.speak(b"\0" * 6_400)
        time.sleep(0.2)
    assert not client.of("session_summary")
    assert client.stop()["reason"] == "stop"


def test_a_client_that_vanishes_inside_a_message_leaves_nothing_behind(
    strict: Server, raw: Open, demo_pcm: bytes
) -> None:
    packet = f'421["audio_stream",{{"chunk":"{base64_of(demo_pcm[:32_000])}"}}]'.encode()
    whole = b"\x81\xfe" + len(packet).to_bytes(2, "big") + b"\0\0\0\0" + packet
    for length in (1, 3, 8, 1_000, len(whole) - 1):
        client = raw(strict)
        client.send('420["start",{}]')
        assert client.ack(0)["ok"]
        client.ws.sock.sendall(whole[:length])
        client.ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.ws.sock.close()  # with a reset
    eventually(lambda: metrics(strict)["emotion_connections"] == 0, "connections are back to none")
    eventually(lambda: metrics(strict)["emotion_sessions"] == 0, "sessions are back to none")


def test_a_binary_chunk_that_never_comes_keeps_nobody_waiting(
    strict: Server, raw: Open, connect: Connect
) -> None:
    client, other = raw(strict), connect(strict)
    client.send('451-1["audio_stream",{"chunk":{"_placeholder":true,"num":0}}]')
    other.speak(b"\0" * 6_400)
    other.stop()
    client.close()
    eventually(lambda: metrics(strict)["emotion_connections"] <= 1, "it may leave")


def drip(server: Server, raw: Open, recording: bytes, seconds: int, **start: object) -> Raw:
    """A client that has asked for a lot and reads nothing of it."""
    client = raw(server, sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    client.send(f'421["start",{orjson.dumps(start).decode()}]')
    assert client.ack(1)["ok"]
    second = base64_of(recording[:32_000])
    for _ in range(seconds):
        client.send(f'42["audio_stream",{{"chunk":"{second}"}}]')
    return client


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_never_reads_is_given_up_and_nobody_else_notices(
    raw: Open, connect: Connect, demo_pcm: bytes, mode: str
) -> None:
    """Its memory is bounded and comes back; its connection closes though it does not even read that."""
    speech = demo_pcm[2 * 32_000 : 3 * 32_000]
    settings = {**ROOMY, "limits__outbox_events": 100, "limits__resume_s": 1, "limits__ahead_s": 158}
    with running(model__name="fake", server__async_mode=mode, **settings) as server:
        process = psutil.Process(server.process.pid)
        speaker = connect(server)
        session_id = speaker.start()["session_id"]
        speaker.speak(demo_pcm[:32_000])
        before = process.memory_info().rss
        stuck = drip(server, raw, speech, seconds=150, frame_results=True)
        for at in range(32_000, 6 * 32_000, 3_200):
            speaker.speak(demo_pcm[at : at + 3_200], pace=2)
        speaker.stop()
        book = ledger.of_client(speaker.heard, session_id)
        book.balance()
        assert len(book.scored) > 400 and not book.lost
        eventually(lambda: "does not read" in server.log(), "it is noticed", 20)
        eventually(lambda: metrics(server)["emotion_connections"] == 1, "it is disconnected", 10)
        eventually(lambda: metrics(server)["emotion_sessions"] == 0, "its session is closed")
        assert process.memory_info().rss - before < 60e6
        stuck.close()
        no_traceback(server.log())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_reads_late_gets_everything_up_to_the_summary(
    raw: Open, demo_pcm: bytes, mode: str
) -> None:
    """It stops reading for a while, just when it asks for the end."""
    speech = demo_pcm[2 * 32_000 : 3 * 32_000]
    settings = {**ROOMY, "limits__outbox_events": 100_000}
    with running(model__name="fake", server__async_mode=mode, **settings) as server:
        client = drip(server, raw, speech, seconds=140, frame_results=True)
        client.send('429["stop"]')
        eventually(lambda: ": stop," in server.log(), "the session ends", 30)
        singles, ended = 0, False
        while not ended:
            text = client.read()
            assert text, "the connection was closed"
            singles += text.startswith('42["frame_result"')
            ended = text.startswith('42["session_summary"')
        summary = orjson.loads(text[2:])[1]
        assert singles == summary["frames"] > 13_000
        no_traceback(server.log())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_acks_that_nobody_reads_do_not_pile_up(raw: Open, mode: str) -> None:
    """A client that asks without end and never listens: silence brings no results, only acks."""
    with running(model__name="fake", server__async_mode=mode, limits__messages_per_s=100_000) as server:
        process = psutil.Process(server.process.pid)
        client = raw(server, sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
        client.ws.settimeout(1)
        before = process.memory_info().rss
        packet = '42999["flush",{"session_id":"' + "x" * 60 + '"}]'
        with contextlib.suppress(OSError, websocket.WebSocketException):  # it is disconnected
            for _ in range(60_000):
                client.send(packet)
        eventually(lambda: metrics(server)["emotion_connections"] == 0, "it is disconnected", 10)
        assert process.memory_info().rss - before < 30e6
        no_traceback(server.log())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_connections_that_say_nothing_do_not_keep_others_out(connect: Connect, mode: str) -> None:
    """Far more of them than there may be clients, some in the middle of a request."""
    with running(model__name="fake", server__async_mode=mode, limits__max_connections=4) as server:
        silent = []
        for number in range(150):
            silent.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n"[: 9 * (number % 4)])
        try:
            assert server.get("/healthz")[0] == 200
            assert connect(server).start()["ok"]
        finally:
            for connection in silent:
                connection.close()
        no_traceback(server.log())
