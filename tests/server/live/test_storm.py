"""Hundreds of clients that come, misbehave and go: the server is afterwards what it was before."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import websocket

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Raw, base64_of, eventually
from tests.server.conftest import MODES, metrics, no_traceback, running
from tests.server.live.test_packets import CLOSED_OR_IGNORED

Connect = Callable[..., Client]

NEAR = 20e6  # bytes: how near to where it was the memory comes back
BAD = [frames for frames in CLOSED_OR_IGNORED.values() if len(frames[0]) < 1_100_000]


def misbehave(server: Server, audio: bytes, dice: random.Random) -> None:
    """One visit: connect, say something sensible or not, leave in one way or another."""
    with contextlib.suppress(websocket.WebSocketException, OSError):
        client = Raw(server.port, greet=dice.random() < 0.9)
        client.ws.settimeout(2)
        for _ in range(dice.randint(0, 3)):
            kind = dice.randrange(5)
            if kind == 0:
                client.send(f'421["start",{{"frame_results":{"true" if dice.random() < 0.5 else "false"}}}]')
            elif kind == 1:
                client.send(f'421["audio_stream",{{"chunk":"{base64_of(audio)}"}}]')
            elif kind == 2:
                client.send(
                    f'421["audio_stream",{{"chunk":"{"A" * dice.choice([5, 1_000_000, 3_000_000])}"}}]'
                )
            elif kind == 3:
                client.send(*dice.choice(BAD))
            else:
                client.send('421["stop"]')
        if dice.random() < 0.5:
            client.close()
        else:
            client.sock.close()


def rounds(server: Server, audio: bytes, visits: int, seed: int) -> None:
    dices = [random.Random(seed + i) for i in range(visits)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda dice: misbehave(server, audio, dice), dices))
    eventually(
        lambda: metrics(server)["emotion_connections"] <= 1, "the visitors' connections are closed", 30
    )
    eventually(lambda: metrics(server)["emotion_sessions"] <= 1, "and their sessions")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_after_a_storm_the_server_is_what_it_was_and_its_guests_noticed_nothing(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    # The desk forgets at once who has left: it would hold what is not lost.
    settings = {"limits__resume_s": 0.5, "limits__max_sessions": 1000, "limits__messages_per_s": 100_000}
    settings["monitor__ended_ttl_s"] = 0
    with running(model__name="fake", server__async_mode=mode, **settings) as server:
        process = psutil.Process(server.process.pid)
        rounds(
            server, demo_pcm[:32_000], visits=300, seed=0
        )  # what is loaded once, and the heap at its largest
        before, files = process.memory_info().rss, process.num_fds()

        speaker = connect(server)
        session_id = speaker.start()["session_id"]
        over = threading.Event()

        def speak() -> None:
            at = 0
            while not over.is_set():
                speaker.speak(demo_pcm[at : at + 3_200])
                at = (at + 3_200) % (19 * 32_000)
                time.sleep(0.1)

        with ThreadPoolExecutor(1) as guest:
            speaking = guest.submit(speak)
            rounds(server, demo_pcm[:32_000], visits=300, seed=10_000)
            over.set()
            speaking.result()
        assert speaker.stop()["lost_ms"] == 0
        ledger.of_client(speaker.heard, session_id).balance()
        assert not speaker.of("error")
        speaker.close()
        eventually(lambda: metrics(server)["emotion_connections"] == 0, "nobody is left")
        eventually(lambda: process.num_fds() <= files + 2, "no descriptor is left")
        grown = process.memory_info().rss - before
        assert grown < NEAR, f"{grown / 1e6:.1f} MB more than before"
        assert metrics(server)['emotion_errors_total{code="INTERNAL"}'] == 0
        no_traceback(server.log())
