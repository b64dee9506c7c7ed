"""deploy/haproxy.cfg before two servers and a Redis: each in a network namespace, as on a machine of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from emotion_stream_client import AsyncEmotionClient
from emotion_stream_client.events import Event

from tests.conftest import ROOT, Server, free_port
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.cluster.conftest import Redis, a_redis, lost, together
from tests.server.cluster.test_lost import CHUNK, balanced, speak
from tests.server.conftest import connect, metrics, no_traceback
from tests.server.workers.test_resuming import received
from tests.server.workers.test_resuming import speak as speak_numbered

__all__ = ["connect"]  # a fixture of the server's tests

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
CFG = (ROOT / "deploy/haproxy.cfg").read_text(encoding="utf-8")
N = 10
Connect = Callable[..., Client]

pytestmark = [
    pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy (Debian: haproxy)"),
    pytest.mark.slow,
]


def ip(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *words], capture_output=True, check=False)


@contextlib.contextmanager
def machine(number: int) -> Iterator[tuple[str, str, str]]:
    """A network namespace: its name, its address, and this machine's as seen from there."""
    if shutil.which("ip") is None or os.getuid() != 0:
        pytest.skip("network namespaces need root, and iproute2")
    name = f"emotion-{secrets.token_hex(3)}"
    net = f"10.{77 + number}.{secrets.randbelow(250) + 1}"
    if ip("netns", "add", name).returncode:
        pytest.skip("network namespaces are not permitted here")
    try:
        outside = f"e{name[-6:]}"
        made = ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        if made.returncode:
            pytest.skip(f"no network can be made here: {made.stderr.decode().strip()}")
        for command in (
            ("addr", "add", f"{net}.1/24", "dev", outside),
            ("link", "set", outside, "up"),
            ("-n", name, "addr", "add", f"{net}.2/24", "dev", "eth0"),
            ("-n", name, "link", "set", "eth0", "up"),
            ("-n", name, "link", "set", "lo", "up"),
        ):
            assert ip(*command).returncode == 0, command
        yield name, f"{net}.2", f"{net}.1"
    finally:
        ip("netns", "del", name)


def inside(name: str, **settings: Any) -> Server:
    """A server in this network namespace."""

    class Inside(Server):
        within = ("ip", "netns", "exec", name)

    return Inside(**settings)


class Front:
    """HAProxy with the shipped configuration, but for ports, certificate and servers."""

    def __init__(self, servers: list[Server], folder: Path) -> None:
        assert HAPROXY is not None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        site = re.sub(r"^ *(bind :443|http-request redirect).*\n", "", CFG, flags=re.M)
        site = site.replace("maxconn 20000", "maxconn 2000")
        site = site.replace("bind :80", f"bind 127.0.0.1:{self.port}")
        site = site.replace("X-Forwarded-Proto https", "X-Forwarded-Proto http")
        self._admin = folder / "admin.sock"
        site = site.replace("/run/haproxy/admin.sock", str(self._admin))
        for placeholder, server in zip(("10.0.0.11:7860", "10.0.0.12:7860"), servers, strict=True):
            site = site.replace(placeholder, server.url.removeprefix("http://"))
        self.file = folder / "haproxy.cfg"
        self.file.write_text(site, encoding="utf-8")
        self.process = subprocess.Popen([HAPROXY, "-W", "-f", str(self.file)], stdout=subprocess.DEVNULL)
        eventually(self._up, "HAProxy listens")

    def tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self._admin))
            admin.sendall(command.encode() + b"\n")
            return admin.recv(65536).decode()

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def _up(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


@contextlib.contextmanager
def two_machines(folder: Path, **settings: Any) -> Iterator[tuple[Front, list[Server], Redis]]:
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(machine(number)) for number in range(2)]
        store = stack.enter_context(a_redis("0.0.0.0"))
        servers: list[Server] = []
        for name, address, here in places:
            server = inside(
                name,
                model__name="fake",
                server__host=address,
                server__open="true",
                server__hosts="127.0.0.1",
                server__trusted_proxies=here,
                redis__url=store.url.replace("127.0.0.1", here),
                **settings,
            )
            stack.callback(server.stop)
            servers.append(server)
        together(servers)
        front = Front(servers, folder)
        stack.callback(front.stop)
        yield front, servers, store
        for server in servers:
            no_traceback(server.log())


def of_sessions(servers: list[Server]) -> list[float]:
    return [metrics(server)["emotion_sessions"] for server in servers if server.process.poll() is None]


def test_haproxy_takes_the_file_as_it_is_shipped(tmp_path: Path) -> None:
    key, certificate = tmp_path / "a.key", tmp_path / "a.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a.example -keyout {key} -out {certificate}"
    made = subprocess.run(make.split(), capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    (tmp_path / "a.cfg").write_text(CFG.replace("/etc/ssl/emotion.example.com.pem", str(certificate)))
    assert HAPROXY is not None
    command = [HAPROXY, "-c", "-f", str(tmp_path / "a.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_two_machines_are_one_service(tmp_path: Path, connect: Connect, demo_pcm: bytes) -> None:
    """Desk, limits, polling, a machine that is lost, and the same session on the other one."""
    with two_machines(tmp_path, limits__max_sessions=6) as (front, servers, _):
        clients = [connect(front) for _ in range(8)]
        answers = [client.call("start", {}) for client in clients]
        assert sum(answer["ok"] for answer in answers) == 6
        assert of_sessions(servers) == [3, 3], "spread by what is open"
        desk = connect(servers[0], namespace="/monitor")
        ids = {answer["session_id"] for answer in answers if answer["ok"]}
        assert {summary["session_id"] for summary in desk.call("list")["sessions"]} == ids
        for client, answer in zip(clients, answers, strict=True):
            if answer["ok"]:
                client.stop()

        def has_room() -> bool:
            return bool(clients[-1].call("start", {})["ok"])

        eventually(has_room, "the places are free")
        polling = [connect(front, transport="polling") for _ in range(4)]
        for client in polling:
            client.start()
            client.speak(demo_pcm[: 2 * 32_000], cut=6_400)
            assert client.stop()["audio_ms"] == 2_000
        assert requests.get(f"{front.url}/metrics", timeout=10).status_code == 404

        client = clients[0]
        started = client.start()
        seq = speak_numbered(client, demo_pcm[: 30 * CHUNK], 0)
        client.wait_for("emotion_result")
        its = next(server for server in servers if started["session_id"] in server.log())
        lost(its)
        heard = list(client.heard)
        again = eventually(lambda: reconnected(connect, front), "the other one answers")
        got = received(heard, started["session_id"])
        resumed = eventually(
            lambda: taken_up(again, started["resume_token"], got), "it is found on the other machine"
        )
        assert resumed["resumed"] and resumed["next_seq"] == seq
        speak_numbered(again, demo_pcm[30 * CHUNK : 60 * CHUNK], seq)
        assert again.stop()["audio_ms"] == 6_000
        book = ledger.of_client([*heard, *again.heard], started["session_id"])
        book.balance()
        assert book.scored


def reconnected(connect: Connect, front: Front) -> Client | None:
    with contextlib.suppress(Exception):
        return connect(front)
    return None


def taken_up(client: Client, token: str, got: int) -> dict[str, object] | None:
    answer = client.call("start", {"resume_token": token, "received": got})
    return answer if answer["ok"] else None


def test_a_reload_and_a_drained_server_cost_nothing(tmp_path: Path, demo_pcm: bytes) -> None:
    """While people speak; who comes afterwards is taken in by the new process, and not by the drained server."""
    with two_machines(tmp_path) as (front, servers, _):
        told: list[list[Event]] = [[] for _ in range(N)]
        before = front.workers()

        def change() -> None:
            front.tell("set server emotion_stream/a state drain")
            front.process.send_signal(signal.SIGUSR2)
            eventually(lambda: set(front.workers()) - set(before), "there is a new process")

        async def all_of_them() -> None:
            async with AsyncEmotionClient(front.url) as client:
                speaking = asyncio.gather(*(speak(client, demo_pcm, n, told[n]) for n in range(N)))
                await asyncio.sleep(4)
                await asyncio.to_thread(change)
                await speaking

        asyncio.run(all_of_them())
        moved, missed = balanced(told, set())
        assert moved == missed == 0
        front.tell("set server emotion_stream/a state drain")
        opened = metrics(servers[0])["emotion_audio_seconds_total"]

        async def afterwards() -> None:
            async with AsyncEmotionClient(front.url) as client:
                for _ in range(3):
                    async with client.stream() as stream:
                        await stream.send(demo_pcm[:CHUNK])
                        await stream.stop()

        asyncio.run(afterwards())
        assert metrics(servers[0])["emotion_audio_seconds_total"] == opened
