"""The same call through every door: the same scores, after the same µ-law coding, posted as results."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from server.metrics import DOORS
from stream.codec import Decoder, Format
from tests.conftest import Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, no_traceback
from tests.server.doors.lines import Line, calling, phone, reporting, same
from tests.server.doors.plain import PlainClient
from tests.server.doors.test_chan_websocket import Leg, media_start
from tests.server.doors.test_freeswitch import Fork
from tests.server.doors.test_genesys import CLOSED, AudioHook, offer, ulaw, voices
from tests.server.doors.test_telnyx import start as telnyx_start
from tests.server.doors.test_twilio import Peer, media
from tests.server.doors.test_twilio import start as twilio_start
from tests.server.receivers import Receiver


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def exchange(request: pytest.FixtureRequest, hook: Receiver) -> Iterator[Server]:
    with reporting(hook, server__async_mode=request.param, **calling(), **CLOSED, **ROOMY) as server:
        yield server
        no_traceback(server.log())


def socket_io(server: Server, coded: bytes, linear: bytes) -> None:
    client = Client(server.url)
    client.start(encoding="mulaw", sample_rate=8_000)
    client.speak(coded)
    client.stop()
    client.close()


def websocket(server: Server, coded: bytes, linear: bytes) -> None:
    client = PlainClient(server.url)
    client.start(encoding="mulaw", sample_rate=8_000)
    client.speak(coded)
    client.stop()
    client.close()


def twilio(server: Server, coded: bytes, linear: bytes) -> None:
    peer = Peer(server)
    peer.say(twilio_start(""))
    for number, at in enumerate(range(0, len(coded), 160)):
        peer.say(media(number, coded[at : at + 160]))
    peer.say({"event": "stop", "stop": {"callSid": "CA1"}})
    assert peer.ended_with() == 1000


def telnyx(server: Server, coded: bytes, linear: bytes) -> None:
    peer = Peer(server, "/v1/telnyx")
    peer.say(telnyx_start("", tracks="inbound"))
    for number, at in enumerate(range(0, len(coded), 160)):
        peer.say(media(number, coded[at : at + 160]))
    peer.say({"event": "stop", "stop": {"call_control_id": "v3:1"}})
    assert peer.ended_with() == 1000


def audiosocket(server: Server, coded: bytes, linear: bytes) -> None:
    line = Line(phone(server)).hello()
    line.speak(linear)
    line.close()


def freeswitch(server: Server, coded: bytes, linear: bytes) -> None:
    fork = Fork(server, "sample_rate=8000").say(json.dumps({"session_id": str(uuid.uuid4())}))
    fork.speak(linear, 8_000)
    fork.close()


def genesys(server: Server, coded: bytes, linear: bytes) -> None:
    session = AudioHook(server)
    session.open(offer(["external"]))
    session.speak(coded)
    session.close()


def chan_websocket(server: Server, coded: bytes, linear: bytes) -> None:
    leg = Leg(server).say(media_start("ulaw", str(uuid.uuid4())))
    leg.speak(coded, 160)
    leg.close()


WAYS: dict[str, Callable[[Server, bytes, bytes], None]] = {
    "websocket": websocket,
    "twilio": twilio,
    "telnyx": telnyx,
    "audiosocket": audiosocket,
    "freeswitch": freeswitch,
    "genesys": genesys,
    "chan_websocket": chan_websocket,
}


def posted(hook: Receiver, call: Callable[[], None]) -> list[dict[str, Any]]:
    """The utterances of the one session that `call` makes."""
    before = len(hook.posts)
    call()
    eventually(
        lambda: any(p.json["event"] == "summary" for p in hook.posts[before:]), "its summary is posted"
    )
    return [p.json for p in hook.posts[before:] if p.json["event"] == "utterance"]


def test_each_door_is_here() -> None:
    assert set(WAYS) == set(DOORS)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_call_scores_alike(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, way: str
) -> None:
    coded = ulaw(voices(demo_samples)[0]).tobytes()
    # As a telephone system decodes it, in 16 bits; at 16 kHz there is nothing to resample.
    decoded = Decoder(Format("mulaw", 16_000)).decode(coded)
    linear = np.rint(decoded * 32_768).astype("<i2").tobytes()
    reference = posted(hook, lambda: socket_io(exchange, coded, linear))
    same(posted(hook, lambda: WAYS[way](exchange, coded, linear)), reference, 0.01)
