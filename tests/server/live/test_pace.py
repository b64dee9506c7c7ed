"""Clients that are too fast, too slow, silent, or gone in the middle of a word."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Raw, base64_of, eventually
from tests.server.conftest import EVENTLET_FIRST, metrics, no_traceback, running

Connect = Callable[..., Client]
Open = Callable[..., Raw]


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def strict(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Two seconds ahead of real time at most, forty messages a second, one second of silence."""
    with running(
        model__name="fake",
        server__async_mode=request.param,
        limits__max_ahead_s=2,
        limits__max_chunk_s=1,
        limits__messages_per_s=40,
        limits__idle_timeout_s=1,
        limits__resume_s=1,
        limits__outbox_events=50,
    ) as server:
        yield server
        no_traceback(server.log())


def test_packets_do_not_wait_for_one_another(server: Server, raw: Open) -> None:
    """A refusal is two packets, an event and the ack. Nagle's algorithm would hold every second one for the 40 ms
    after which Linux acknowledges what it has no answer to."""
    client, gaps = raw(server), []
    for _ in range(15):
        client.send('421["flush",5]')
        client.until("42")
        began = time.perf_counter()
        client.until("43")
        gaps.append(time.perf_counter() - began)
    assert min(gaps) < 0.03


@pytest.mark.slow
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
    client = connect(strict)
    answers: list[Any] = []
    client.start()
    for _ in range(150):
        client.send("audio_stream", {"chunk": b"\0\0"}, on_ack=answers.append)
    eventually(lambda: len(answers) == 150, "every message is answered")
    taken = [answer for answer in answers if answer["ok"]]
    assert 70 <= len(taken) <= 110
    assert {answer["error"]["code"] for answer in answers if not answer["ok"]} == {"RATE_LIMITED"}
    eventually(lambda: client.call("stop").get("ok"), "after a while it may speak again")


def test_a_session_without_audio_is_closed_with_its_summary_and_audio_keeps_one_open(
    strict: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client, other = connect(strict), connect(strict)
    other.start()
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[:32_000])
    client.speak(demo_pcm[32_000:48_000])
    end = time.monotonic() + 5
    while not client.of("session_summary") and time.monotonic() < end:
        other.speak(b"\0" * 6_400)
        time.sleep(0.2)
    assert not other.of("session_summary") and other.stop()["audio_ms"] > 800
    (summary,) = client.of("session_summary")
    assert summary["session_id"] == session_id and summary["reason"] == "idle"
    assert summary["audio_ms"] == 1500 and summary["frames"] > 0
    ledger.of_client(client.heard, session_id).balance()
    assert client.connected
    gone = client.call("audio_stream", {"session_id": session_id, "chunk": b"\0\0"})
    assert gone["error"]["code"] == "NOT_YOUR_SESSION"
    unnamed = client.call("audio_stream", {"chunk": b"\0\0"})
    assert unnamed["error"]["code"] == "NOT_YOUR_SESSION", "nobody knows that it would be PCM16"
    client.start()
    assert client.call("audio_stream", {"chunk": b"\0\0"})["received_ms"] == 0, "a new one opens"


@pytest.mark.slow
def test_a_client_that_vanishes_inside_a_message_leaves_nothing_behind(
    strict: Server, raw: Open, demo_pcm: bytes
) -> None:
    packet = f'421["audio_stream",{{"chunk":"{base64_of(demo_pcm[:32_000])}"}}]'.encode()
    whole = b"\x81\xfe" + len(packet).to_bytes(2, "big") + b"\0\0\0\0" + packet
    for length in (1, 3, 8, 1_000, len(whole) - 1):
        client = raw(strict)
        client.send('420["start",{}]')
        assert client.ack(0)["ok"]
        client.sock.sendall(whole[:length])
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sock.close()  # with a reset
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


@pytest.mark.slow
def test_a_connection_outlives_its_pings(server: Server, connect: Connect, demo_pcm: bytes) -> None:
    """Every 25 s one is sent and answered; a connection that got results past the queue once ended after 45 s."""
    client, end = connect(server), time.monotonic() + 55
    client.start()
    while time.monotonic() < end:
        client.speak(demo_pcm[:32_000])
        time.sleep(1)
        assert client.connected
    assert client.stop()["reason"] == "stop"
