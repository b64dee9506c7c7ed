"""Clients that do not read what they asked for: they cost bounded memory, and in the end their connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

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
    settings = {**ROOMY, "limits__outbox_events": 100, "limits__resume_s": 1, "limits__max_ahead_s": 158}
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
        eventually(lambda: "does not read" in server.log(), "it is noticed")
        eventually(lambda: metrics(server)["emotion_connections"] == 1, "it is disconnected")
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
        eventually(lambda: "reason=stop" in server.log(), "the session ends")
        singles, ended = [], False
        while not ended:
            text = client.read()
            assert text, "the connection was closed"
            if text.startswith('42["frame_result"'):
                singles.append(orjson.loads(text[2:])[1]["timestamp"])
            ended = text.startswith('42["session_summary"')
        summary = orjson.loads(text[2:])[1]
        assert len(singles) == summary["frames"] > 13_000
        assert singles == sorted(set(singles)), "each once, in order"
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
        eventually(lambda: metrics(server)["emotion_connections"] == 0, "it is disconnected")
        assert process.memory_info().rss - before < 30e6
        no_traceback(server.log())
