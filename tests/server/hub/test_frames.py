"""WebSockets of strangers: RFC 6455 to the letter, messages with an end, nobody who keeps the others waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import Server
from tests.server.clients import Client, base64_of, eventually
from tests.server.conftest import EVENTLET_FIRST, metrics, no_traceback, running
from tests.server.wires import BINARY, CLOSE, HANDSHAKE, PING, PONG, TEXT, Wire, fragments, frame

MB = 1_000_000


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def patient(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Closes nobody for what comes too often: whoever floods it goes on."""
    with running(
        model__name="fake",
        server__async_mode=request.param,
        limits__excess_per_s=1e9,
        limits__messages_per_s=1e9,
    ) as server:
        yield server
        no_traceback(server.log())


EVENT = b'42["no_such_event",{}]'
FLOODS = {
    "pings": frame(PING, b"x") * 500,
    "pongs": frame(PONG) * 500,
    "no-ops": frame(TEXT, b"6") * 500,
    "unknown events": frame(TEXT, EVENT) * 50,
    "wrong fields": frame(TEXT, b'42["start",{"sampel_rate":1}]') * 50,
    "binary packets of nobody": frame(TEXT, b"3") * 500,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_closes_its_connection_with_one_line_and_a_count(server: Server, flood: bytes) -> None:
    before, log = metrics(server), len(server.log())
    with Wire(server.port) as wire:
        assert wire.upgrade().pour(flood), "it was cut off"
    name = 'emotion_connections_cut_total{reason="flood"}'
    eventually(lambda: metrics(server)[name] > before[name], "it is counted")
    assert server.log()[log:].count("connection closed") <= 1
    assert "127.0.0.1" in server.log()


@pytest.mark.parametrize(
    "flood", [frame(PING, b"x") * 2000, frame(TEXT, b"6") * 2000, frame(TEXT, EVENT) * 200]
)
def test_who_never_pauses_does_not_keep_others_waiting(patient: Server, flood: bytes) -> None:
    over = threading.Event()
    with Wire(patient.port) as wire:
        wire.upgrade()

        def pour() -> None:
            wire.pour(flood, 6)
            over.set()

        pouring = threading.Thread(target=pour)
        pouring.start()
        for _ in range(3):
            assert patient.get("/healthz")[0] == 200
        assert not over.is_set(), "answered while it goes on"
        wire.sock.shutdown(2)
        pouring.join()


def memory(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.parametrize(("n", "size"), [(400, 100_000), (200_000, 0)], ids=["long", "empty"])
def test_a_message_of_endless_fragments_is_refused(server: Server, n: int, size: int) -> None:
    before = memory(server)
    with Wire(server.port) as wire:
        wire.upgrade()
        with contextlib.suppress(ConnectionError):
            for part in fragments(n, size):
                wire.send(part)
        assert wire.close_code() in (1009, 0), "closed, not taken"
    assert memory(server) - before < 20 * MB


def test_the_close_code_of_a_message_that_is_too_long(server: Server) -> None:
    with Wire(server.port) as wire:
        wire.upgrade()
        wire.send(b"".join(fragments(16, 100_000)))  # 1.6 MB
        assert wire.close_code() == 1009


def test_before_anybody_has_joined_a_message_may_be_short_only(server: Server) -> None:
    with Wire(server.port) as wire:
        wire.upgrade(joined=False).send(frame(TEXT, b"40" + b"x" * 5_000))
        assert wire.close_code() == 1009


def test_a_chunk_a_little_too_large_is_refused_with_words_and_a_larger_one_closes(server: Server) -> None:
    client = Client(server.url)
    for chunk in (b"\0" * (MB + 1), b"\0" * 1_400_000, base64_of(b"\0" * 1_050_000)):
        assert client.call("audio_stream", {"chunk": chunk})["error"]["code"] == "CHUNK_TOO_LARGE"
    client.send("audio_stream", {"chunk": b"\0" * 1_500_000})
    eventually(lambda: not client.connected, "the connection is closed")


def test_a_message_of_countless_values_is_not_parsed(server: Server) -> None:
    """1.2 MB of empty lists take a third of a second to read, and nobody else is served meanwhile."""
    with Wire(server.port) as wire:
        wire.upgrade().send(frame(TEXT, b'421["start",[' + b"[]," * 400_000 + b"[]]]"))
        assert wire.close_code() != -1
        with pytest.raises(ConnectionError):
            wire.frame()


def test_a_namespace_is_not_sent_back_whole(server: Server) -> None:
    with Wire(server.port) as wire:
        wire.upgrade().send(frame(TEXT, b"40/" + b"a" * 500_000))
        got = 0
        with contextlib.suppress(ConnectionError):
            while True:
                got += len(wire.frame()[1])
        assert got < 1_000


BROKEN = {
    "RSV1": (frame(TEXT, b"3", rsv=4), 1002),
    "RSV2": (frame(TEXT, b"3", rsv=2), 1002),
    "RSV3": (frame(TEXT, b"3", rsv=1), 1002),
    "opcode 3": (frame(3, b"x"), 1002),
    "opcode 11": (frame(11, b"x"), 1002),
    "not masked": (frame(TEXT, b"3", masked=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a ping in parts": (frame(PING, b"x", final=False), 1002),
    "a continuation of nothing": (frame(0, b"x"), 1002),
    "a message within another": (frame(TEXT, b"4", final=False) + frame(TEXT, b"3"), 1002),
    "not UTF-8": (frame(TEXT, b"4\xc3\x28"), 1007),
    "UTF-8 that is cut off": (frame(TEXT, b"4\xc3"), 1007),
    "a surrogate": (frame(TEXT, b"4\xed\xa0\x80"), 1007),
    "a length of 2**62": (b"\x81\xff\x40" + b"\0" * 11, 1009),
}


# wsproto looks at the length of a message when it comes: docs/decisions/0012
PLAIN_THREADS_DIFFER = {"a length of 2**62"}


@pytest.mark.parametrize("name", BROKEN)
def test_what_rfc_6455_forbids_is_closed_with_its_code(
    server: Server, name: str, request: pytest.FixtureRequest
) -> None:
    sent, code = BROKEN[name]
    plain = request.node.callspec.params["_fake"] == "threading"
    with Wire(server.port) as wire:
        wire.upgrade().send(sent)
        if plain and name in PLAIN_THREADS_DIFFER:
            wire.sock.shutdown(1)
            assert wire.close_code() == 0
        else:
            assert wire.close_code() == code


FINE = {
    "a ping": (frame(PING, b"hello"), (PONG, b"hello")),
    "an empty ping": (frame(PING), (PONG, b"")),
    "a ping between fragments": (
        frame(TEXT, b'421["sto', final=False) + frame(PING, b"p") + frame(0, b'p"]'),
        (PONG, b"p"),
    ),
    "a close": (frame(CLOSE, b"\x03\xe8"), (CLOSE, b"\x03\xe8")),
}


@pytest.mark.parametrize(("sent", "answer"), FINE.values(), ids=FINE)
def test_what_rfc_6455_allows_is_answered(server: Server, sent: bytes, answer: tuple[int, bytes]) -> None:
    with Wire(server.port) as wire:
        wire.upgrade().send(sent)
        assert wire.frame() == answer


def test_a_message_in_fragments_is_one_message(server: Server) -> None:
    said = b'421["stop",{"session_id":"n\xc3\xa4"}]'
    with Wire(server.port) as wire:
        wire.upgrade()
        cut = said.index(b"\xc3") + 1  # within a letter
        wire.send(frame(TEXT, said[:cut], final=False) + frame(0, b"", final=False) + frame(0, said[cut:]))
        assert wire.message().startswith(b"42") and wire.message().startswith(b"431[")


KEYS = {
    "short": "AAAA",
    "15 bytes": base64_of(b"x" * 15),
    "17 bytes": base64_of(b"x" * 17),
    "no base64": "?" * 24,
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_is_sixteen_bytes(server: Server, key: str) -> None:
    with Wire(server.port) as wire:
        wire.send(HANDSHAKE.format(key=key).encode())
        assert wire.status() == 400


def test_a_handshake_without_connection_upgrade_is_refused(server: Server) -> None:
    with Wire(server.port) as wire:
        wire.send(HANDSHAKE.replace("Connection: Upgrade\r\n", "").format(key="A" * 22 + "==").encode())
        assert wire.status() == 400


def test_who_ignores_that_it_was_closed_is_cut_off(server: Server) -> None:
    """Its descriptor is free soon, whatever it still sends."""
    before = metrics(server)["emotion_sockets"]
    wires = [Wire(server.port).upgrade() for _ in range(3)]
    for wire in wires:
        wire.send(frame(TEXT, b"4nonsense"))  # closed for it
    for wire in wires:
        assert wire.dribble(frame(TEXT, b"6"), 12), "cut off"
        wire.sock.close()
    eventually(lambda: metrics(server)["emotion_sockets"] <= before, "no descriptor is left")


def test_binary_frames_still_carry_chunks(server: Server) -> None:
    with Wire(server.port) as wire:
        wire.upgrade().send(
            frame(TEXT, b'451-1["audio_stream",{"chunk":{"_placeholder":true,"num":0}}]')
            + frame(BINARY, b"\0" * 3_200)
        )
        assert b'"received_ms":100' in wire.message()
