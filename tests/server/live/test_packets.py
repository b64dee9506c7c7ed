"""Below the messages: malformed Socket.IO and Engine.IO packets end their own connection at worst, in one line of
the log, while everybody else goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import websocket

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Raw, eventually
from tests.server.conftest import metrics

Connect = Callable[..., Client]
Open = Callable[..., Raw]
Frames = list[str | bytes]

SILENCE = b"\0" * 320
ONE = '451-1["audio_stream",{"chunk":{"_placeholder":true,"num":0}}]'

REFUSED_WITH_WORDS: dict[str, str] = {
    "an event called connect": '42{id}["connect"]',
    "an event called connect with an environment": '42{id}["connect",{{}}]',
    "an event called connect with text": '42{id}["connect","x"]',
    "an event called disconnect": '42{id}["disconnect"]',
    "an event called connect_error": '42{id}["connect_error",1]',
    "an event called star": '42{id}["*"]',
    "an event called star with an object": '42{id}["*",{{"a":1}}]',
    "an event called star with text": '42{id}["*","x"]',
    "an event with an empty name": '42{id}[""]',
    "two arguments": '42{id}["start",{{}},{{}}]',
    "a number too large to count with": '42{id}["start",{{"sample_rate":99999999999999999999999}}]',
    "an enormous id": '42{id}["stop",{{"session_id":"' + "9" * 900_000 + '"}}]',
    "nested objects": '42{id}["start",' + '{{"a":' * 900 + "1" + "}}" * 900 + "]",
}

CLOSED_OR_IGNORED: dict[str, Frames] = {
    "an event without a name": ["42[]"],
    "an event named by a number": ["42[5]"],
    "an event named by null": ["421[null]"],
    "an event named by an object": ['421[{"a":1}]'],
    "an event named by a list": ["421[[1]]"],
    "an event that is an object": ['421{"a":1}'],
    "an event that is text": ['421"start"'],
    "an event that is a number": ["4215"],
    "an event of nothing": ["42"],
    "broken JSON": ['421["start",'],
    "JSON nested too deeply": ['421["start",' + "[" * 100_000 + "]" * 100_000 + "]"],
    "half a surrogate pair": ['421["start",{"session_id":"\\ud800"}]'],
    "a number beyond all numbers": ['421["start",{"sample_rate":1e999}]'],
    "an error from a client": ['44{"a":1}'],
    "a packet type that does not exist": ['49["x"]'],
    "a packet type that is a letter": ['4x["x"]'],
    "an empty message": ["4"],
    "an id of 200 digits": ["42" + "1" * 200 + '["start"]'],
    "an id in superscript": ['42²["start"]'],
    "an id of a megabyte": ["42" + "1" * 1_000_000 + '["start"]'],
    "bytes that nobody announced": [SILENCE],
    "text in place of the bytes": [ONE, '422["start",{}]'],
    "bytes that are named wrongly": [ONE.replace('"num":0', '"num":5'), SILENCE],
    "bytes that are named in words": [ONE.replace('"num":0', '"num":"a"'), SILENCE],
    "a binary event without bytes": [ONE.replace("451-", "450-"), SILENCE],
    "a billion attachments": [ONE.replace("451-", "45999999999-"), SILENCE, SILENCE],
    "more attachments than digits": [ONE.replace("451-", "45" + "9" * 400 + "-")],
    "a binary answer to nothing": ['461-1[{"_placeholder":true,"num":0}]', b"aa"],
    "an answer to nothing": ["431[1]"],
    "an answer to nothing, of a large number": ["43999999999[1]"],
    "an answer that is no list": ['431{"a":1}'],
    "a second connect": ["40", "40"],
    "a namespace that does not exist": ["40/nope,", '42/nope,1["start"]', "41/nope,"],
    "a namespace without an end": ["40/" + "n" * 100_000],
    "an empty frame": [""],
    "a frame of a type that is a letter": ["x"],
    "a frame of a type that does not exist": ["9abc"],
    "an opening from the client": ['0{"sid":"mine"}'],
    "pongs to nothing": ["3", "3", "3"],
    "a probe after the upgrade": ["2probe", "5"],
    "an upgrade of nothing": ["5"],
    "a noop": ["6"],
    "base64 in place of a frame": ["bAAAA"],
    "more than any message may hold": ['421["audio_stream",{"chunk":"' + "A" * 17_000_000 + '"}]'],
}


@pytest.mark.parametrize("packet", REFUSED_WITH_WORDS.values(), ids=REFUSED_WITH_WORDS)
def test_events_that_cannot_be_served_are_refused(server: Server, raw: Open, packet: str) -> None:
    client = raw(server)
    client.send(packet.format(id=7))
    answer = client.ack(7)
    assert answer["ok"] is False and answer["error"]["code"] in ("BAD_REQUEST", "NOT_YOUR_SESSION")
    assert client.alive(), "the connection can go on"


@pytest.mark.parametrize("frames", CLOSED_OR_IGNORED.values(), ids=CLOSED_OR_IGNORED)
def test_a_malformed_packet_ends_its_own_connection_at_worst(
    server: Server, raw: Open, frames: Frames
) -> None:
    client, neighbor = raw(server), raw(server)
    with contextlib.suppress(websocket.WebSocketConnectionClosedException, ConnectionError):
        client.send(*frames)
        client.alive()  # it answers, or is closed; what it must not do is go deaf
    client.close()
    assert neighbor.alive()


@pytest.mark.parametrize("first", [["41"], ["1"], ['421["start"]'], [ONE, SILENCE]])
def test_packets_outside_of_a_connection_are_for_nobody(server: Server, raw: Open, first: Frames) -> None:
    client, neighbor = raw(server, greet=first[0] in ("41", "1")), raw(server)
    client.send(*first)
    client.ws.settimeout(0.2)
    with pytest.raises((websocket.WebSocketException, OSError)):
        client.send('421["start"]')
        while not client.read().startswith("431"):
            pass
    assert neighbor.alive()


def test_a_client_may_leave_and_join_on_the_same_websocket(server: Server, raw: Open) -> None:
    client = raw(server)
    for _ in range(3):
        client.send("41", "40")
        assert client.until("40")
        assert client.alive()


@pytest.mark.parametrize(
    "auth", ['"text"', "[1]", "5", "true", '{"token":5}', '{"token":{"a":[]}}', '{"x":1}']
)
def test_whatever_is_presented_where_nothing_is_asked_for_is_fine(
    server: Server, raw: Open, auth: str
) -> None:
    client = raw(server, greet=False)
    client.send("40" + auth)
    assert client.until("40")
    assert client.alive()


def test_a_storm_of_malformed_packets_leaves_nothing_behind(
    server: Server, connect: Connect, demo_pcm: bytes
) -> None:
    """While somebody speaks in real time: all frames come, and the books of connections close."""
    # A client of another test that polled may still be missed: it leaves without a word.
    before, present = len(server.log()), metrics(server)["emotion_connections"]
    speaker = connect(server)
    session_id = speaker.start()["session_id"]
    storms = iter(list(CLOSED_OR_IGNORED.values()) * 2)
    for at in range(0, 4 * 32_000, 3_200):
        speaker.speak(demo_pcm[at : at + 3_200])
        for frames in (next(storms, None), next(storms, None)):
            if frames is None or len(frames[0]) > 1_000_000:
                continue
            client = Raw(server.port)
            with contextlib.suppress(websocket.WebSocketException, ConnectionError):
                client.send(*frames)
            client.close()
    speaker.stop()
    book = ledger.of_client(speaker.heard, session_id)
    book.balance()
    assert len(book.scored) > 300 and not book.lost
    speaker.close()
    eventually(lambda: metrics(server)["emotion_connections"] <= present, "all connections are closed")
    eventually(lambda: server.log()[before:].count("closed") > 20, "the log tells of them")
    assert server.log()[before:].count("\n") < 300, "a line for each, not a page"
