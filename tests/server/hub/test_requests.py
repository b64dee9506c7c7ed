"""HTTP of strangers: heads that say one thing, lines with an end, deadlines by the clock, room for the probes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import Server
from tests.server.clients import eventually
from tests.server.conftest import EVENTLET_FIRST, metrics, no_traceback, running
from tests.server.wires import Wire

MB = 1_000_000


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def hasty(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A second for a head and for a body, 40 half requests, 60 connections of one address."""
    with running(
        model__name="fake",
        server__async_mode=request.param,
        limits__head_timeout_s=1,
        limits__body_timeout_s=1,
        limits__max_connections=40,
        limits__sockets_per_peer=60,
    ) as server:
        yield server
        no_traceback(server.log())


REFUSED = {
    "two Content-Lengths": "Host: localhost\r\nContent-Length: 2\r\nContent-Length: 2",
    "two that differ": "Host: localhost\r\nContent-Length: 2\r\nContent-Length: 3",
    "a list of lengths": "Host: localhost\r\nContent-Length: 2, 2",
    "a plus sign": "Host: localhost\r\nContent-Length: +2",
    "an underscore": "Host: localhost\r\nContent-Length: 0_2",
    "a minus sign": "Host: localhost\r\nContent-Length: -2",
    "hexadecimal": "Host: localhost\r\nContent-Length: 0x2",
    "no number": "Host: localhost\r\nContent-Length: two",
    "an empty length": "Host: localhost\r\nContent-Length:",
    "a length and chunks": "Host: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
    "an unknown encoding": "Host: localhost\r\nTransfer-Encoding: gzip",
    "two encodings": "Host: localhost\r\nTransfer-Encoding: gzip, chunked",
    "chunked twice": "Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "identity": "Host: localhost\r\nTransfer-Encoding: identity",
    "chunked with a tab inside": "Host: localhost\r\nTransfer-Encoding: chun\tked",
    "a space before the colon": "Host: localhost\r\nContent-Length : 2",
    "no name": "Host: localhost\r\n: 2",
    "a folded line": "Host: localhost\r\nX-A: 1\r\n  2",
    "no Host": "X-A: 1",
    "two Hosts": "Host: localhost\r\nHost: y",
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
def test_a_head_that_can_be_read_in_two_ways_is_refused(hasty: Server, headers: str) -> None:
    with Wire(hasty.port) as wire:
        wire.send(
            f"POST /healthz HTTP/1.1\r\n{headers}\r\n\r\nGET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert wire.status() == 400
        assert b"HTTP/1." not in wire.rest(), "and nothing behind it is read"


def test_http_0_9_is_refused(hasty: Server) -> None:
    with Wire(hasty.port) as wire:
        wire.send(b"GET /healthz\r\n\r\n")
        assert b"ok" not in wire.head()


UPLOAD = (
    "POST /api/v1/emotion/recognize HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: multipart/form-data; boundary=b\r\n"
)
CHUNKED = (UPLOAD + "Transfer-Encoding: chunked\r\n\r\n").encode()


@pytest.mark.parametrize("size", [b"0x5", b"0_5", b"+5", b"-5", b" ", b"", b"5g", b"5" * 40])
def test_the_size_of_a_chunk_is_hexadecimal(hasty: Server, size: bytes) -> None:
    with Wire(hasty.port) as wire:
        wire.send(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.status() in (0, 400)
        assert b"HTTP/1." not in wire.rest(), "and nothing behind it is read"


def test_chunks_with_extensions_and_trailers_are_read(hasty: Server) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="nope"\r\n\r\nx\r\n--b--\r\n'
    with Wire(hasty.port) as wire:
        wire.send(
            CHUNKED.replace(b"Host: localhost", b"Host: localhost\r\nConnection: close")
            + b"%x;a=b\r\n" % len(form)
            + form
            + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        assert wire.status() == 400
        assert b"nope" in wire.rest()


def memory(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize("begin", [b"", b"5\r\nhello\r\n0\r\nX: "], ids=["chunk size", "trailer"])
def test_a_line_without_an_end_ends_its_connection(hasty: Server, begin: bytes) -> None:
    before = memory(hasty)
    with Wire(hasty.port) as wire:
        wire.send(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + begin)
        assert wire.pour(b"1" * 100_000, 10), "closed"
    assert memory(hasty) - before < 20 * MB


@pytest.mark.slow
def test_a_head_has_a_deadline_however_it_dribbles(hasty: Server) -> None:
    for begin in (
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n",
    ):
        with Wire(hasty.port) as wire:
            wire.send(begin)
            assert wire.dribble(b"X-Slow: yes\r\n"), "cut off"


def test_a_body_has_a_least_speed(hasty: Server) -> None:
    with Wire(hasty.port) as wire:
        wire.send((UPLOAD + "Content-Length: 100000\r\n\r\n").encode())
        assert wire.dribble(b"--b\r\n"), "given up"


def test_pipelined_requests_without_a_pause_do_not_keep_others_waiting(
    hasty: Server, request: pytest.FixtureRequest
) -> None:
    over = threading.Event()
    with Wire(hasty.port) as wire:

        def pour() -> None:
            with contextlib.suppress(OSError):
                reading = threading.Thread(target=_drain, args=(wire.sock,), daemon=True)
                reading.start()
                wire.pour(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200, 6)
            over.set()

        pouring = threading.Thread(target=pour)
        pouring.start()
        for _ in range(3):
            assert hasty.get("/healthz")[0] == 200
        over_early = over.is_set()
        with contextlib.suppress(OSError):
            wire.sock.shutdown(2)
        pouring.join()
        plain = request.node.callspec.params["hasty"] == "threading"  # closes after one request
        assert plain or not over_early, "answered while it goes on"


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def test_half_requests_give_way_the_oldest_first(hasty: Server) -> None:
    before = metrics(hasty)['emotion_connections_cut_total{reason="crowded"}']
    halves = [Wire(hasty.port) for _ in range(150)]
    try:
        for half in halves:
            with contextlib.suppress(ConnectionError):
                half.send(b"G")
        assert hasty.get("/healthz")[0] == 200 and hasty.get("/")[0] == 200
        after = metrics(hasty)
        assert after['emotion_connections_cut_total{reason="crowded"}'] - before >= 100
        assert after["emotion_sockets"] < 60
    finally:
        for half in halves:
            half.sock.close()


def test_whoever_has_all_connections_of_an_address_leaves_room_for_the_probes(hasty: Server) -> None:
    eventually(lambda: metrics(hasty)["emotion_sockets"] <= 2, "others are gone")
    wires = [Wire(hasty.port).upgrade(joined=False) for _ in range(60)]
    try:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert hasty.get(path)[0] == 200
        with Wire(hasty.port) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.status() == 503
        wires.pop().sock.close()
        eventually(lambda: hasty.get("/")[0] == 200, "there is room again")
    finally:
        for wire in wires:
            wire.sock.close()


def test_a_connection_serves_many_requests(hasty: Server) -> None:
    with Wire(hasty.port) as wire:
        for _ in range(3):
            wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = wire.head()
            assert head.startswith(b"HTTP/1.1 200") and wire.take(3) == b"ok\n"
            if b"onnection: close" in head:
                break  # plain threads close after each
