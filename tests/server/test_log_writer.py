"""Logs that nobody reads, that cannot be written, or that strangers write into: it serves on, lines stay lines."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from server.log_writer import LineWriter
from tests.conftest import ROOT, Server, free_port
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, MODES, running

Connect = Callable[..., Client]


def taken_from(fd: int) -> bytes:
    """Everything, until the other end is closed."""
    said = b""
    while piece := os.read(fd, 65536):
        said += piece
    return said


def small_pipe() -> tuple[int, int]:
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    return reads, writes


def test_what_does_not_fit_is_dropped_counted_and_told_of_and_nobody_waits() -> None:
    reads, writes = small_pipe()
    writer = LineWriter(lambda n: b"missing %d\n" % n, writes, room=10_000)
    for number in range(400):  # 40 KB: more than pipe and room take
        writer.put(b"%099d\n" % number, writes)
    dropped = writer.dropped
    assert 200 < dropped <= 300
    reading = threading.Thread(target=lambda: lines.extend(taken_from(reads).splitlines()))
    lines: list[bytes] = []
    reading.start()
    writer.flush(10)
    writer.put(b"later\n", writes)
    writer.flush(10)
    time.sleep(0.05)
    os.close(writes)
    reading.join(10)
    numbers = [int(line) for line in lines if line.isdigit()]
    assert numbers == list(range(400 - dropped)), "those that were taken, in order"
    assert lines.count(b"missing %d" % dropped) == 1 and lines[-1] == b"later"
    assert writer.dropped == dropped


def test_many_threads_lose_and_mix_nothing() -> None:
    reads, writes = small_pipe()
    writer = LineWriter(lambda n: b"", writes)

    def write(mark: int) -> None:
        for number in range(200):
            writer.put(f"{mark} {number} {'x' * 50}\n".encode(), writes)

    with ThreadPoolExecutor(8) as pool:
        got = pool.submit(taken_from, reads)
        for done in [pool.submit(write, mark) for mark in range(6)]:
            done.result()
        writer.flush(10)
        os.close(writes)
        lines = got.result().decode().splitlines()
    for mark in range(6):
        assert [int(x.split()[1]) for x in lines if x.startswith(f"{mark} ")] == list(range(200))
    assert writer.dropped == 0


def test_a_reader_that_is_gone_and_a_pipe_that_does_not_block_end_nothing() -> None:
    reads, writes = small_pipe()
    writer = LineWriter(lambda n: b"", writes)
    os.set_blocking(writes, False)
    for _ in range(100):
        writer.put(b"a" * 99 + b"\n", writes)
    assert len(os.read(reads, 65536)) > 0
    eventually(lambda: len(os.read(reads, 65536)) > 0, "it goes on when there is room")
    os.close(reads)
    writer.put(b"b\n", writes)
    writer.flush(10)
    eventually(lambda: writer.dropped > 0, "it is counted")
    os.close(writes)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_ten_who_speak_do_not_notice_that_nobody_reads_the_log(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    """After 655 requests nothing answered any more, /healthz included."""
    reads, writes = small_pipe()
    settings: dict[str, Any] = {"server__log_level": "DEBUG", "server__log_format": "json"}
    server = Server(model__name="fake", server__async_mode=mode, stderr=writes, **settings)
    os.close(writes)
    try:
        clients = [connect(server) for _ in range(10)]
        ids = [client.start()["session_id"] for client in clients]
        with ThreadPoolExecutor(11) as pool:
            speaking = [pool.submit(c.speak, demo_pcm[: 4 * 32_000], 3_200, 1) for c in clients]
            began, slowest, asked = time.monotonic(), 0.0, 0
            with requests.Session() as session:
                while time.monotonic() - began < 4:
                    at = time.monotonic()
                    assert session.get(f"{server.url}/healthz", timeout=10).text == "ok\n"
                    slowest, asked = max(slowest, time.monotonic() - at), asked + 1
            for done in speaking:
                done.result()
            for client, session_id in zip(clients, ids, strict=True):
                assert client.stop()["lost_ms"] == 0
                ledger.of_client(client.heard, session_id).balance()
            print(f"{asked} requests, the slowest {1000 * slowest:.0f} ms")
            reading = pool.submit(taken_from, reads)
            assert server.stop() == 0
            lines = reading.result(10).decode().splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines) and len(lines) > asked
    finally:
        server.process.kill()
        os.close(reads)


@pytest.mark.slow
@pytest.mark.parametrize("mode", EVENTLET_FIRST)
@pytest.mark.parametrize("how", ["its reader is gone", "closed"])
def test_it_serves_without_standard_output_and_error(mode: str, how: str) -> None:
    """It died at "ready" of a pipe that was closed."""
    port = free_port()
    command = [sys.executable, "-m", "cli", "serve", "--port", str(port)]
    env = {**os.environ, "EMOTION_MODEL__NAME": "fake", "EMOTION_SERVER__ASYNC_MODE": mode}
    if how == "closed":
        command = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *command]
        process = subprocess.Popen(command, cwd=ROOT, env=env)
    else:
        reads, writes = os.pipe()
        os.close(reads)
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=writes, stderr=writes)
        os.close(writes)
    try:

        def ready() -> bool:
            assert process.poll() is None, f"it ended with {process.returncode}"
            try:
                return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
            except requests.ConnectionError:
                return False

        eventually(ready, "it is ready", 40)
        time.sleep(0.3)  # it has said so
        said = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        assert process.poll() is None
        if how != "closed":
            (dropped,) = [x for x in said.splitlines() if x.startswith("emotion_log_lines_dropped_total ")]
            assert float(dropped.split()[1]) > 0
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_what_strangers_and_libraries_write_is_lines_like_all_others(mode: str, format: str) -> None:
    """Raw ESC and CR reached the log; libraries' own lines were no JSON, one had no end."""
    with running(
        model__name="fake", server__async_mode=mode, server__log_format=format, server__log_level="DEBUG"
    ) as server:
        evil = "%1b%5b2J%1b%5b31mX%0d%0a2026-01-01 00:00:00,000 ERROR engine: all is lost%9b".replace(
            " ", "%20"
        )
        requests.get(f"{server.url}/socket.io/?EIO=4&transport=polling&sid={evil}", timeout=5)
        for nonsense in (b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x1b[2J\x9b / x y z\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), 5) as plain:
                plain.sendall(nonsense)
                plain.settimeout(2)
                with contextlib.suppress(OSError):
                    plain.recv(1000)
        server.stop()
        log = server.log()
    own = log.replace("\n", "")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in own)
    lines = [line for line in log.splitlines() if line and not line.startswith("  ")]
    if format == "json":
        assert all(json.loads(line)["message"] for line in lines)
    else:
        assert all(re.match(r"20\d\d-\d\d-\d\d [\d:,]+ [A-Z]+ \w+", line) for line in lines), lines
    assert not any(line.startswith("2026-01-01 00:00:00,000 ERROR engine") for line in lines)
    assert any("all is lost" in line and "127.0.0.1" in line for line in lines), (
        "it is told, with the address"
    )
