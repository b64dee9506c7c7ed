"""Calls from Telnyx: its names, packets in any order, and what the operator says in `client_state`."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from server.doors.fork import Packet
from server.doors.telnyx import DEPTH, InOrder
from server.doors.tracks import Tracks
from tests.conftest import Server
from tests.server.clients import eventually
from tests.server.conftest import metrics, no_traceback, running
from tests.server.doors.test_twilio import TOKEN, Peer, exchange, ids, media, record_of, rest

__all__ = ["exchange"]  # a fixture: the same server answers both

PATH = "/v1/telnyx"


def start(token: str = TOKEN, coding: str = "PCMU", **state: Any) -> dict[str, Any]:
    told = {
        "user_id": "3E6F995F",
        "call_control_id": "v3:MdI91X4",
        "call_session_id": "ff55a038",
        "client_state": base64.b64encode(json.dumps({"token": token, **state}).encode()).decode(),
        "media_format": {"encoding": coding, "sample_rate": 8000, "channels": 1},
    }
    return {"event": "start", "sequence_number": "1", "start": told, "stream_id": "32DE0DEA"}


CONNECTED = {"event": "connected", "version": "1.0.0"}
STOP = {"event": "stop", "sequence_number": "5", "stop": {"call_control_id": "v3:MdI91X4"}}


def packets(n: int, order: list[int] | None = None) -> list[Packet]:
    return [Packet(i, 20 * i, "inbound", bytes([i]) * 160) for i in (order or range(n))]


def test_any_order_within_the_wait_gives_the_packets_in_theirs() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        mixed = sorted(range(60), key=lambda i: i + dice.uniform(0, DEPTH - 1) if i else -1)
        line, twice = InOrder(), dice.sample(range(60), 10)
        order = [i for i in mixed for _ in range(2 if i in twice else 1)]
        given = [p.number for one in packets(60, order) for p in line.put(one)]
        assert given + [p.number for p in line.rest()] == list(range(60)), seed


def test_one_that_never_comes_is_not_waited_for_longer() -> None:
    line = InOrder()
    given = [p.number for one in packets(40) if one.number != 7 for p in line.put(one)]
    assert given == [*range(7), *range(8, 40)]
    late = packets(8)[7]
    assert not list(line.put(late)), "its time is over"
    assert len(line._waiting) == 0


def test_what_waits_is_bounded() -> None:
    line = InOrder()
    list(line.put(packets(1)[0]))
    for number in range(10_000, 1, -1):
        list(line.put(Packet(number, number, "inbound", b"")))
        assert len(line._waiting) <= DEPTH


def test_times_that_do_not_go_on_move_nothing() -> None:
    tracks, said = Tracks(1), b""
    for number in range(50):
        said += tracks.put(0, 5 * number, bytes([number]) * 160, ordered=True)
    assert said + tracks.rest() == b"".join(bytes([number]) * 160 for number in range(50))


def test_a_call_in_disorder_is_the_call_in_order(exchange: Server, demo_samples: Any) -> None:
    from tests.server.doors.test_genesys import ulaw, voices

    coded = [ulaw(voices(demo_samples)[side]).tobytes() for side in (0, 1)]
    found = []
    for disorder in (0.0, 6.0):
        dice, before = random.Random(1), ids(exchange)
        peer = Peer(exchange, PATH)
        peer.say(CONNECTED, start(name="Line 8"))
        said = [
            media(number, data[160 * number : 160 * number + 160], track)
            for number in range(200)
            for track, data in zip(("inbound", "outbound"), coded, strict=True)
        ]
        first, later = said[:2], sorted(enumerate(said[2:]), key=lambda it: it[0] + dice.uniform(0, disorder))
        peer.say(*first, *(message for _, message in later), STOP)
        assert peer.ended_with() == 1000
        record = record_of(exchange, before)
        assert record["name"] == "Line 8" and record["tags"] == {"call_session_id": "ff55a038"}
        assert record["channels"] == 2 and record["audio_ms"] == 4_000
        found.append([
            rest(exchange, f"/{record['id']}/span", begin_ms=0, end_ms=4_000, channel=channel)["scores"]
            for channel in ("agent", "customer")
        ])  # fmt: skip
    for one, other in zip(*found, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-4)


WRONG = {
    "a wrong token": (start("wrong"), 4401),
    "no token": (start(token=""), 4401),
    "another coding": (start(coding="OPUS"), 1008),
    "no tracks": (start(tracks="none"), 1008),
    "media first": (media(0), 1008),
    "Twilio's names": ({"event": "start", "start": {"callSid": "CA1", "mediaFormat": {}}}, 1008),
    "no JSON": ("hello", 1008),
}


@pytest.mark.parametrize(("message", "code"), WRONG.values(), ids=WRONG)
def test_what_is_not_telnyx_is_closed(exchange: Server, message: Any, code: int) -> None:
    peer = Peer(exchange, PATH)
    peer.say(message)
    assert peer.ended_with() == code


def test_strange_messages_within_a_call_hurt_nobody(exchange: Server) -> None:
    dice = random.Random(4)
    for _ in range(30):
        peer = Peer(exchange, PATH)
        peer.say(start(tracks="inbound"))
        text = bytearray(json.dumps(media(1)).encode())
        for _ in range(dice.randint(1, 6)):
            text[dice.randrange(len(text))] = dice.choice(b'{}[]",:0a')
        try:
            peer.say(text.decode(errors="replace"), media(2), {"event": "error", "payload": {"code": 1}})
        except OSError:
            continue
        finally:
            peer.ws.close(timeout=0.2)
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "nothing is left")


def test_keys_errors_and_a_state_of_somebody_else_mean_nothing(tmp_path: Path) -> None:
    with running(model__name="fake", files__outputs=tmp_path) as server:
        peer = Peer(server, PATH)
        begun = start()
        begun["start"]["client_state"] = "aGF2ZSBhIG5pY2UgZGF5ID1d"
        peer.say(CONNECTED, begun, media(0), {"event": "dtmf", "dtmf": {"digit": "1"}}, {"event": "mark"})
        eventually(
            lambda: metrics(server)["emotion_channels"] == 2, "both tracks, where nothing else is said"
        )
        peer.say(STOP)
        assert peer.ended_with() == 1000
        cut = Peer(server, PATH)
        cut.say(start(), media(0))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the call is there")
        cut.ws.sock.shutdown(2)  # type: ignore[union-attr]
        eventually(lambda: metrics(server)["emotion_sessions"] == 0, "its session is closed at once")
        no_traceback(server.log())


def test_only_the_customer_is_heard_where_the_policy_says_so() -> None:
    with running(model__name="fake", policy__watch="customer") as server:
        one, two = Peer(server, PATH), Peer(server, PATH)
        one.say(start(tracks="inbound"))
        assert one.ended_with() == 1008, "one track may hold both"
        two.say(start())
        eventually(lambda: metrics(server)["emotion_channels"] == 1, "one of the two is scored")
        assert server.stop() == 0
        assert two.ended_with() == 1001
        no_traceback(server.log())
