"""Asterisk's chan_websocket, as its documentation describes it: MEDIA_START in both forms, then media."""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
import websocket

from server.doors.chan_websocket import FORMATS
from tests.conftest import Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running
from tests.server.doors.lines import reporting, same, told
from tests.server.doors.plain import Polite
from tests.server.receivers import Receiver

TOKEN = "s3cret-of-the-operator"


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def exchange(request: pytest.FixtureRequest, hook: Receiver) -> Iterator[Server]:
    with reporting(hook, server__async_mode=request.param, server__token=TOKEN, **ROOMY) as server:
        yield server
        no_traceback(server.log())
        assert TOKEN not in server.log()


class Leg:
    """A channel that dials the server, with a password where it has one."""

    def __init__(self, server: Server, query: str = "", password: str = TOKEN) -> None:
        basic = base64.b64encode(f"asterisk:{password}".encode()).decode()
        self.ws = websocket.create_connection(
            f"ws://127.0.0.1:{server.port}/v1/asterisk{query}",
            header={"Authorization": f"Basic {basic}"},
            timeout=60,
            class_=Polite,
            subprotocols=["media"],
        )

    def say(self, *messages: str | bytes) -> Leg:
        for message in messages:
            self.ws.send(message, 2 if isinstance(message, bytes) else 1)
        return self

    def speak(self, audio: bytes, size: int) -> None:
        for at in range(0, len(audio), size):
            self.say(audio[at : at + size])

    def ended_with(self) -> int:
        opcode, data = self.ws.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big")

    def close(self) -> None:
        self.ws.close(timeout=2)


def media_start(format: str, connection: str, as_json: bool = False) -> str:
    fields = {"connection_id": connection, "channel": "WebSocket/emotion/0x55", "format": format}
    if as_json:
        numbers = {"optimal_frame_size": 640, "ptime": 20, "channel_variables": {"DIALED": "x"}}
        return json.dumps({"event": "MEDIA_START", **fields, **numbers})
    plain = " ".join(f"{name}:{value}" for name, value in fields.items())
    return f"MEDIA_START {plain} optimal_frame_size:640 ptime:20"


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
def test_a_call_scores_as_the_same_samples_do_over_socket_io(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, as_json: bool
) -> None:
    pcm = np.rint(demo_samples[2 * 16_000 : 6 * 16_000] * 32767).astype("<i2").tobytes()
    name = str(uuid.uuid4())
    leg = Leg(exchange).say(media_start("slin16", name, as_json))
    assert leg.ws.subprotocol == "media"
    leg.speak(pcm[:64_000], 640)
    leg.say("DTMF_END digit:1", "MEDIA_XON", '{"event":"STATUS"}', "")
    leg.speak(pcm[64_000:], 641)  # of any length
    leg.close()
    io = Client(exchange.url, auth={"token": TOKEN})
    session_id = io.start(encoding="pcm_s16le")["session_id"]
    io.speak(pcm)
    io.stop()
    io.close()
    utterances, summary = told(hook, name)
    same(utterances, told(hook, session_id)[0], 1e-5)
    assert summary["reason"] == "stop" and summary["audio_ms"] == 4_000


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_its_rate(exchange: Server, hook: Receiver, format: str) -> None:
    encoding, rate = FORMATS[format]
    name = str(uuid.uuid4())
    leg = Leg(exchange).say(media_start(format, name))
    width = 2 if encoding == "pcm_s16le" else 1
    leg.speak(bytes(rate * width), rate // 50 * width)  # of 20 ms, as Asterisk's are
    leg.close()
    assert told(hook, name)[1]["audio_ms"] == 1_000


def test_the_address_may_name_the_session(exchange: Server, hook: Receiver) -> None:
    name = f"1764.{random.randrange(10**9)}"
    leg = Leg(exchange, f"?session_id={name}&name=Line%207").say(media_start("alaw", "x"), bytes(160))
    leg.close()
    assert told(hook, name)[1]["name"] == "Line 7"


def test_without_the_token_it_is_closed_with_4401(exchange: Server) -> None:
    assert Leg(exchange, password="wrong").say(media_start("slin", "x")).ended_with() == 4401


WRONG = [
    "MEDIA_START", "", "hello", "{", "[]", '{"event": "DTMF_END"}', '{"event": ["MEDIA_START"]}', b"\0\0",
    media_start("opus", "x"), media_start("slin", "../x"), '{"event": "MEDIA_START", "format": ["slin"]}',
]  # fmt: skip


@pytest.mark.parametrize("first", WRONG)
def test_what_is_not_chan_websocket_is_closed_with_1008(exchange: Server, first: str | bytes) -> None:
    assert Leg(exchange).say(first).ended_with() == 1008


def test_strange_beginnings_hurt_nobody(exchange: Server, hook: Receiver) -> None:
    dice, name = random.Random(13), str(uuid.uuid4())
    speaker = Leg(exchange).say(media_start("ulaw", name))
    for round_ in range(40):
        text = bytearray(media_start("slin", "x", as_json=bool(round_ % 2)), "ascii")
        for _ in range(dice.randint(1, 5)):
            text[dice.randrange(len(text))] = dice.choice(b'{}[]",: 0a')
        leg = Leg(exchange).say(text.decode())
        try:
            leg.say(dice.randbytes(dice.randrange(2_000)))
        except (OSError, websocket.WebSocketException):
            continue
        finally:
            leg.close()
        speaker.say(b"\xff" * 160)
    speaker.close()
    assert told(hook, name)[1]["audio_ms"] > 0
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "nothing is left")


def test_a_call_that_is_cut_off_leaves_nothing_behind(exchange: Server) -> None:
    leg = Leg(exchange).say(media_start("slin", "cut-off"), bytes(320))
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 1, "it is there")
    assert leg.ws.sock is not None
    leg.ws.sock.shutdown(2)
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "its session is closed at once")


def test_one_voice_that_may_be_either_is_not_heard_where_the_policy_says_so() -> None:
    with running(model__name="fake", policy__watch="customer") as server:
        assert Leg(server).say(media_start("slin", "x")).ended_with() == 1008
        no_traceback(server.log())


def test_a_call_beyond_the_limit_is_closed_with_1013() -> None:
    with running(model__name="fake", limits__max_sessions=1) as server:
        one = Leg(server).say(media_start("slin", "one"), bytes(320))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the first is there")
        assert Leg(server).say(media_start("slin", "two")).ended_with() == 1013
        one.close()
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_a_call_ends_with_the_server(mode: str) -> None:
    with running(model__name="fake", server__async_mode=mode) as server:
        leg = Leg(server).say(media_start("slin", "x"), bytes(320))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the call is there")
        assert server.stop() == 0
        assert leg.ended_with() == 1001
        no_traceback(server.log())
