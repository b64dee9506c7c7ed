"""More connections than there is room for: those inside go on, and there is room again when they leave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import psutil
import pytest
import requests

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Raw, eventually
from tests.server.conftest import MODES, no_traceback, running

Connect = Callable[..., Client]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_connections_that_say_nothing_do_not_keep_others_out(connect: Connect, mode: str) -> None:
    """Far more of them than there may be clients, some in the middle of a request."""
    with running(model__name="fake", server__async_mode=mode, limits__max_connections=4) as server:
        silent = []
        for number in range(150):
            silent.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n"[: 9 * (number % 4)])
        try:
            assert server.get("/healthz")[0] == 200
            assert connect(server).start()["ok"]
        finally:
            for connection in silent:
                connection.close()
        no_traceback(server.log())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_server_out_of_descriptors_is_back_when_it_has_some(
    connect: Connect, demo_pcm: bytes, mode: str
) -> None:
    """More connections than the system allows it: those inside go on, and later ones are served again."""
    with running(model__name="fake", server__async_mode=mode) as server:
        speaker = connect(server)
        session_id = speaker.start()["session_id"]
        speaker.speak(demo_pcm[:64_000])
        process, crowd = psutil.Process(server.process.pid), []
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 10, 4096))
        for _ in range(40):
            crowd.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        speaker.speak(demo_pcm[64_000:128_000])
        for connection in crowd:
            connection.close()
        assert eventually(lambda: answers(server), "it serves again")
        speaker.speak(demo_pcm[128_000:192_000])
        assert speaker.stop()["lost_ms"] == 0
        ledger.of_client(speaker.heard, session_id).balance()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_connections_that_join_nothing_are_closed_and_others_are_not(
    connect: Connect, raw: Callable[..., Raw], mode: str
) -> None:
    """They answer pings and never say `40`: no limit on clients would ever see them."""
    with running(model__name="fake", server__async_mode=mode) as server:
        speaker, stranger, guest = connect(server), raw(server, greet=False), raw(server)
        began = time.monotonic()
        assert speaker.start()["ok"]
        assert stranger.until("1") in ("", "1"), "closed by the server"
        assert 8 < time.monotonic() - began < 40, "not its pings, which would time out after 45 s"
        assert guest.alive() and speaker.stop()["ok"]
        eventually(lambda: "it never joined a namespace" in server.log(), "it is in the log")
        polling = requests.get(f"{server.url}/socket.io/?EIO=4&transport=polling", timeout=10)
        assert polling.text.startswith("0{"), "and one that polls no more, once"
        time.sleep(15)
        assert server.log().count("it never joined a namespace") == 2
        no_traceback(server.log())


def answers(server: Server) -> bool:
    try:
        return server.get("/healthz")[0] == 200
    except OSError:
        return False
