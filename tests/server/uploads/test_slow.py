"""Uploads that hardly move, and those that move as fast as they can: neither have the server to themselves."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from server.config import FilesSection
from server.errors import ClientError
from server.uploads.reception import CROWDED_S, SLOW_S, Reception
from tests.conftest import ROOT, Server
from tests.server.clients import eventually
from tests.server.conftest import EVENTLET_FIRST, metrics, running
from tests.server.recordings import wav
from tests.server.uploads.test_routes import FILE, MULTIPART, PATH, form

STRANGER, OTHER = "127.0.0.2", "127.0.0.3"


class From(HTTPAdapter):
    """Requests from another address of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)


def post(server: Server, data: bytes, address: str = OTHER) -> requests.Response:
    with requests.Session() as session:
        session.mount("http://", From(address))
        return session.post(server.url + PATH, files={"audio_file": ("x", data)}, timeout=60)


def began(server: Server, address: str = STRANGER, length: int = 1_000_000) -> socket.socket:
    """An upload of which the first bytes have been sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), source_address=(address, 0))
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {MULTIPART}\r\n"
    head += f"Content-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + form((FILE, b""), end=b""))
    return connection


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two may be recognized and sixteen wait, as by default; a stranger may send twenty at a time, of thirty."""
    folder = tmp_path_factory.mktemp("outputs")
    with running(
        model__name="fake",
        server__async_mode=request.param,
        files__outputs=folder,
        files__max_receiving=30,
        files__max_receiving_per_peer=20,
    ) as server:
        server.outputs = folder  # type: ignore[attr-defined]
        yield server


def test_uploads_that_dribble_shut_nobody_out_and_leave_nothing(server: Server, demo_pcm: bytes) -> None:
    """Eighteen, as many as may be recognized and wait; then as many as the stranger may send."""
    folder: Path = server.outputs  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(began(server)) for _ in range(18)]
        eventually(lambda: metrics(server)["emotion_files_receiving"] == 18, "they are being received")
        for address in (OTHER, STRANGER):
            answer = post(server, wav(demo_pcm[:64_000]), address)
            assert answer.status_code == 200, answer.text
        slow += [stack.enter_context(began(server)) for _ in range(2)]
        eventually(lambda: metrics(server)["emotion_files_receiving"] == 20, "it has its share")
        refused = post(server, wav(demo_pcm[:64_000]), STRANGER)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "BUSY", refused.text
        assert int(refused.headers["Retry-After"]) >= 1
        assert post(server, wav(demo_pcm[:64_000]), OTHER).status_code == 200
    eventually(lambda: metrics(server)["emotion_files_receiving"] == 0, "they have gone")
    eventually(lambda: not [x for x in folder.iterdir() if x.name.startswith(".")], "nothing is left")


@pytest.mark.slow
def test_an_upload_that_dribbles_gives_way_when_there_is_no_room(server: Server, demo_pcm: bytes) -> None:
    """Not at once, but long before it would be given up otherwise; and it is told why."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(began(server)) for _ in range(20)]
        eventually(lambda: metrics(server)["emotion_files_receiving"] == 20, "it has its share")
        eventually(
            lambda: post(server, wav(demo_pcm[:64_000]), STRANGER).status_code == 200,
            "one of them has given way",
            timeout_s=SLOW_S,
        )
        (answered, *_), _, _ = select.select(slow, [], [], 20)
        answered.settimeout(10)
        told = b"".join(iter(lambda: answered.recv(4000), b""))
        assert b" 400 " in told and b"too slow" in told and b"others wait" in told


@pytest.mark.slow
def test_the_clock_ends_a_slow_upload_whether_or_not_anything_comes(server: Server) -> None:
    silent, dribbling = began(server), began(server)
    with silent, dribbling:
        eventually(lambda: metrics(server)["emotion_files_receiving"] == 2, "they are being received")
        end = time.monotonic() + 2 * SLOW_S
        while metrics(server)["emotion_files_receiving"] and time.monotonic() < end:
            with contextlib.suppress(OSError):
                dribbling.sendall(b"x")
            time.sleep(1)
        assert metrics(server)["emotion_files_receiving"] == 0
        for connection in (silent, dribbling):
            connection.settimeout(10)
            assert b"too slow" in connection.recv(4000)


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_a_server_that_stops_breaks_off_what_comes_in_and_leaves_nothing(mode: str, tmp_path: Path) -> None:
    with running(model__name="fake", server__async_mode=mode, files__outputs=tmp_path) as server:
        with began(server) as connection:
            eventually(lambda: list(tmp_path.iterdir()), "it has begun")
            assert server.stop() == 0
            connection.settimeout(10)
            assert b"shutting down" in connection.recv(4000)
        assert not list(tmp_path.iterdir())


def test_the_reception_counts_by_the_clock_and_by_whose_it_is() -> None:
    files = FilesSection(max_receiving=3, max_receiving_per_peer=2)
    reception, broken = Reception(files), []
    with contextlib.ExitStack() as stack:

        def enter(peer: str, spent_s: float = 0.0, received: int = 0) -> None:
            receipt = stack.enter_context(reception.admitted(peer, lambda: broken.append(peer)))
            receipt.began -= spent_s
            receipt.received = received

        enter("a", spent_s=CROWDED_S + 1, received=10_000_000)
        enter("a", spent_s=CROWDED_S - 1)
        with pytest.raises(ClientError, match="is receiving"):
            enter("a")
        enter("b", spent_s=CROWDED_S + 1, received=100)
        assert not broken
        enter("c")
        assert broken == ["b"], "the only one that is slow"
        with pytest.raises(ClientError, match="is receiving"):
            enter("d")
        assert len(reception) == 3


def test_a_sender_as_fast_as_the_server_gives_way_after_every_piece(tmp_path: Path) -> None:
    """Under eventlet nothing else makes it: a socket that always has bytes ready never waits."""
    code = f"""
from server import hub
hub.patch()
import io, threading, time
from pathlib import Path
from server.uploads.form import receive
from tests.server.uploads.test_routes import FILE, MULTIPART, form
body, pieces, turns = io.BytesIO(form((FILE, bytes(20_000_000)))), [], []
def other():
    while True:
        turns.append(len(pieces))
        time.sleep(0)
threading.Thread(target=other, daemon=True).start()
receive(body.read, MULTIPART, None, Path({str(tmp_path / "upload")!r}), 1 << 30, pieces.append)
assert len(pieces) > 100
print(len(pieces) - len(set(turns)))
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) <= 1, "another thread has run between any two pieces"
