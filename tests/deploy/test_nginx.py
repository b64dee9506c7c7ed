"""deploy/nginx.conf before a real server: what comes through it, who the server says it was, and what does not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import websocket

from tests.conftest import ROOT, Server, free_port
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import connect, metrics, no_traceback, running
from tests.server.doors.plain import PlainClient

__all__ = ["connect"]  # a fixture of the server's tests

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CONF = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
TOKEN = "s3cret"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
Connect = Callable[..., Client]

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx (Debian: nginx-light)")


class Front:
    """nginx with the shipped configuration, but for ports and certificate, before `servers`."""

    def __init__(self, servers: list[Server], folder: Path) -> None:
        assert NGINX is not None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        site = re.sub(r"^ *(ssl_|add_header).*\n", "", CONF, flags=re.M)
        site = site.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
        site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{self.port};")
        lines = " ".join(f"server 127.0.0.1:{server.port};" for server in servers)
        site = site.replace("server 127.0.0.1:7860;", lines)
        (folder / "nginx.conf").write_text(around(site, folder), encoding="utf-8")
        self._process = subprocess.Popen(
            [NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._up, "nginx listens")

    def _up(self) -> bool:
        assert self._process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def around(site: str, folder: Path) -> str:
    """What a distribution's nginx.conf has around it."""
    temporary = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"{'user root;' if os.getuid() == 0 else ''}\n"  # its workers could not write into our folder
        f"daemon off;\npid {folder}/nginx.pid;\nevents {{ worker_connections 512; }}\n"
        f"http {{\n  access_log off;\n{temporary}{site}\n}}\n"
    )


@pytest.fixture(scope="module")
def behind() -> Iterator[Server]:
    server = Server(
        model__name="fake",
        server__token=TOKEN,
        server__trusted_proxies="127.0.0.1",
        server__log_format="json",
    )
    yield server
    server.stop()
    no_traceback(server.log())


@pytest.fixture(scope="module")
def front(behind: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    front = Front([behind], tmp_path_factory.mktemp("nginx"))
    yield front
    front.stop()


def test_nginx_takes_the_file_as_it_is_shipped(tmp_path: Path) -> None:
    key, certificate = tmp_path / "a.key", tmp_path / "a.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a.example -keyout {key} -out {certificate}"
    made = subprocess.run(make.split(), capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    site = CONF.replace("/etc/ssl/emotion.example.com.pem", str(certificate))
    site = site.replace("/etc/ssl/emotion.example.com.key", str(key))
    site = site.replace("listen 80;", f"listen {free_port()};").replace(
        "listen 443 ssl;", f"listen {free_port()} ssl;"
    )
    (tmp_path / "nginx.conf").write_text(around(site, tmp_path), encoding="utf-8")
    assert NGINX is not None
    command = [NGINX, "-t", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warn" not in done.stderr, done.stderr


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_live_audio_comes_through(front: Front, connect: Connect, demo_pcm: bytes, transport: str) -> None:
    client = connect(front, auth={"token": TOKEN}, transport=transport)
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[: 4 * 32_000], cut=6_400)
    summary = client.stop()
    book = ledger.of_client(client.heard, session_id)
    book.balance()
    assert summary["audio_ms"] == 4_000 and summary["lost_ms"] == 0 and len(book.scored) > 100


def test_the_plain_door_comes_through(front: Front, demo_pcm: bytes) -> None:
    client = PlainClient(front.url, token=TOKEN)
    client.start()
    client.speak(demo_pcm[: 2 * 32_000], cut=6_400)
    assert client.stop()["audio_ms"] == 2_000
    client.close()


def test_files_come_through_and_their_steps_as_they_are_made(front: Front, demo_wav: Path) -> None:
    with demo_wav.open("rb") as file:
        answer = requests.post(
            f"{front.url}/api/v1/emotion/recognize",
            files={"audio_file": file},
            headers={**AUTH, "Accept": "application/x-ndjson"},
            stream=True,
            timeout=60,
        )
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert answer.status_code == 200 and "step" in lines[0] and lines[-1]["result"]["success"] is True
    too_much = requests.post(f"{front.url}/api/v1/results/x", data=b"a" * 100_000, timeout=10)
    assert too_much.status_code == 413


def test_the_log_has_the_clients_address_and_what_it_claims_is_not_believed(
    front: Front, behind: Server
) -> None:
    before = len(behind.log())
    with socket.create_connection(("127.0.0.1", front.port), 10, source_address=("127.0.0.5", 0)) as plain:
        plain.sendall(
            f"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{front.port}\r\nConnection: close\r\n"
            "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n\r\n".encode()
        )
        assert plain.recv(4096).startswith(b"HTTP/1.1 401")
    eventually(lambda: "request refused" in behind.log()[before:], "it is in the log")
    (line,) = [x for x in behind.log()[before:].splitlines() if "request refused" in x]
    assert json.loads(line)["peer"] == "127.0.0.5"


def test_pages_of_others_and_other_names_are_refused_behind_it_too(front: Front) -> None:
    url = f"{front.url}/api/v1/emotion/recognize"
    evil = requests.post(url, headers={**AUTH, "Origin": "https://evil.example"}, timeout=10)
    assert evil.status_code == 403 and evil.json()["error"]["code"] == "CROSS_SITE"
    rebound = requests.get(front.url, headers={"Host": "evil.example"}, timeout=10)
    assert rebound.status_code == 400 and rebound.json()["error"]["code"] == "UNKNOWN_HOST"
    assert requests.get(f"{front.url}/metrics", timeout=10).status_code == 404
    assert requests.get(f"{front.url}/healthz", timeout=10).text == "ok\n"


def test_one_address_has_a_hundred_connections_and_others_theirs(front: Front) -> None:
    url = f"ws://127.0.0.1:{front.port}/socket.io/?EIO=4&transport=websocket"
    held: list[websocket.WebSocket] = []

    def from_(address: str) -> websocket.WebSocket:
        plain = socket.create_connection(("127.0.0.1", front.port), 10, source_address=(address, 0))
        return websocket.create_connection(url, socket=plain, timeout=10)

    try:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            for _ in range(101):
                held.append(from_("127.0.0.6"))
        assert refused.value.status_code == 429 and len(held) == 100
        held.append(from_("127.0.0.7"))
    finally:
        for one in held:
            assert one.sock is not None
            one.sock.close()


@pytest.mark.slow
def test_a_header_that_drips_is_cut_and_the_server_never_hears_of_it(front: Front, behind: Server) -> None:
    with socket.create_connection(("127.0.0.1", front.port), 10) as plain:
        began = time.monotonic()
        plain.sendall(b"GET / HTTP/1.1\r\nHost: ")
        said: bytes | None = None
        plain.settimeout(0.5)
        while said is None and time.monotonic() - began < 40:
            try:
                plain.sendall(b"a")
                said = plain.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                said = b""
        assert said is not None, "it was cut"
        assert 8 < time.monotonic() - began < 30
    assert requests.get(f"{front.url}/healthz", timeout=10).status_code == 200


@pytest.mark.slow
def test_before_two_servers_sockets_are_spread_and_who_polls_stays(
    tmp_path: Path, connect: Connect, demo_pcm: bytes
) -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(model__name="fake")) for _ in range(2)]
        front = Front(servers, tmp_path)
        stack.callback(front.stop)
        sockets = [connect(front) for _ in range(6)]
        assert [metrics(server)["emotion_connections"] for server in servers] == [3, 3]
        for client in sockets:
            client.close()
        for client in [connect(front, transport="polling") for _ in range(4)]:
            client.start()
            client.speak(demo_pcm[: 2 * 32_000], cut=6_400)
            assert client.stop()["audio_ms"] == 2_000
        eventually(lambda: sorted(metrics(s)["emotion_connections"] for s in servers) == [0, 4], "on one")
