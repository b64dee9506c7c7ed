"""Genesys AudioHook 2: a client that signs, numbers and closes as the protocol says, and others that do not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
import websocket

from server.doors.http_signature import MAX_AGE_S, MIN_NONCE, SignatureCheck
from tests.conftest import Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running
from tests.server.doors.lines import reporting, same, told
from tests.server.doors.plain import Polite
from tests.server.receivers import Receiver

KEY, SECRET = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh", b"an operator's own secret"
CLOSED = {"doors__genesys_api_key": KEY, "doors__genesys_client_secret": base64.b64encode(SECRET).decode()}
COMPONENTS = (
    "@request-target", "@authority", "audiohook-organization-id", "audiohook-session-id",
    "audiohook-correlation-id", "x-api-key",
)  # fmt: skip
BOTH, ONE = ["external", "internal"], ["external"]
PROBE = str(uuid.UUID(int=0))


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def exchange(request: pytest.FixtureRequest, hook: Receiver) -> Iterator[Server]:
    with reporting(
        hook, server__async_mode=request.param, server__token="t0ken", **CLOSED, **ROOMY
    ) as server:
        yield server
        no_traceback(server.log())
        assert CLOSED["doors__genesys_client_secret"] not in server.log() and KEY not in server.log()


def offer(channels: list[str], format: str = "PCMU") -> dict[str, Any]:
    return {"type": "audio", "format": format, "channels": channels, "rate": 8000}


class AudioHook:
    """A client session."""

    def __init__(
        self,
        server: Server,
        secret: bytes | None = SECRET,
        key: str = KEY,
        age_s: float = 0,
        nonce: str = "",
        headers: dict[str, str] | None = None,
        query: str = "",
        timeout_s: float = 60,
    ) -> None:
        """`headers`: what is sent in place of what was signed."""
        self.id, self.org = str(uuid.uuid4()), str(uuid.uuid4())
        self.seq = self.heard = 0
        target, authority = f"/v1/genesys{query}", f"127.0.0.1:{server.port}"
        values = dict(
            zip(COMPONENTS, (target, authority, self.org, self.id, str(uuid.uuid4()), key), strict=True)
        )
        sent = {name: value for name, value in values.items() if not name.startswith("@")}
        if secret is not None:
            created = int(time.time() - age_s)
            nonce = nonce or secrets.token_urlsafe(18)
            names = " ".join(f'"{name}"' for name in COMPONENTS)
            times = f"created={created};expires={created + 10}"
            given = f'({names});keyid="{key}";nonce="{nonce}";alg="hmac-sha256";{times}'
            lines = [f'"{name}": {values[name]}' for name in COMPONENTS] + [f'"@signature-params": {given}']
            signed = hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).digest()
            sent |= {
                "signature-input": f"sig1={given}",
                "signature": f"sig1=:{base64.b64encode(signed).decode()}:",
            }
        self.headers = {**sent, **(headers or {})}
        self.ws = websocket.create_connection(
            f"ws://{authority}{target}", header=self.headers, timeout=timeout_s, class_=Polite
        )

    def say(self, kind: str, position_s: float = 0, /, **parameters: Any) -> None:
        self.seq += 1
        numbers = {"version": "2", "id": self.id, "seq": self.seq, "serverseq": self.heard}
        self.send({**numbers, "type": kind, "position": f"PT{position_s}S", "parameters": parameters})

    def send(self, message: Any) -> None:
        self.ws.send(message if isinstance(message, str | bytes) else orjson.dumps(message).decode())

    def hear(self, kind: str) -> dict[str, Any]:
        message = orjson.loads(self.ws.recv())
        assert message["type"] == kind, message
        assert (message["version"], message["id"]) == ("2", self.id)
        assert message["seq"] == self.heard + 1 and message["clientseq"] <= self.seq
        self.heard += 1
        parameters: dict[str, Any] = message["parameters"]
        return parameters

    def open(self, *media: dict[str, Any], conversation: str = "", **more: Any) -> dict[str, Any]:
        person = {"id": str(uuid.uuid4()), "ani": "+1-555-0100", "aniName": "John Doe", "dnis": "+1-555-0101"}
        fields = {"organizationId": self.org, "conversationId": conversation or str(uuid.uuid4())}
        self.say("open", **fields, participant=person, media=list(media), language="en-US", **more)
        return self.hear("opened")

    def speak(self, audio: bytes, size: int = 3_200) -> None:
        for at in range(0, len(audio), size):
            self.ws.send(audio[at : at + size], 2)

    def close(self) -> None:
        """As it should be: said, answered, and closed with 1000."""
        self.say("close", reason="end")
        self.hear("closed")
        assert self.ended_with() == 1000

    def ended_with(self) -> int:
        opcode, data = self.ws.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big")

    def is_refused(self, reason: str) -> str:
        """Told so, and then closed as it asks for."""
        parameters = self.hear("disconnect")
        assert parameters["reason"] == reason
        self.say("close", reason="disconnect")
        self.hear("closed")
        assert self.ended_with() == 1000
        return str(parameters["info"])


def voices(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four seconds of the customer, and of the agent, at 8 kHz."""
    one, two = (np.rint(samples[at * 16_000 :][: 4 * 16_000 : 2] * 32767).astype("<i2") for at in (2, 7))
    return one, two


def ulaw(samples: np.ndarray) -> np.ndarray:
    """G.711, as Genesys codes it."""
    biased = np.minimum(np.abs(samples.astype(np.int32)), 32_635) + 132
    exponent = np.floor(np.log2(biased)).astype(np.int32) - 7
    mantissa = (biased >> (exponent + 3)) & 15
    coded: np.ndarray = ~(((samples < 0) << 7) | (exponent << 4) | mantissa) & 0xFF
    return coded.astype(np.uint8)


def over_socket_io(server: Server, hook: Receiver, audio: bytes, **fields: Any) -> list[dict[str, Any]]:
    io = Client(server.url, auth={"token": "t0ken"})
    session_id = io.start(sample_rate=8_000, **fields)["session_id"]
    io.speak(audio)
    io.stop()
    io.close()
    return sorted(told(hook, session_id)[0], key=lambda each: (each.get("channel", ""), each["start_ms"]))


@pytest.mark.parametrize("format", ["PCMU", "L16"])
@pytest.mark.parametrize("names", [BOTH, BOTH[::-1], ONE], ids="-".join)
def test_a_call_scores_as_the_same_samples_do_over_socket_io(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray, format: str, names: list[str]
) -> None:
    """External is the customer, internal the agent, on whichever side."""
    external, internal = (ulaw(voice) if format == "PCMU" else voice for voice in voices(demo_samples))
    tracks = {"external": external, "internal": internal}
    session = AudioHook(exchange)
    media = offer(names, format)
    assert session.open(media) == {"media": [media], "startPaused": False}
    session.speak(np.stack([tracks[name] for name in names], axis=1).tobytes())
    session.close()
    utterances, summary = told(hook, session.id)
    assert summary["reason"] == "stop" and summary["audio_ms"] == 4_000
    assert summary["name"] == "" and set(summary["tags"]) == {"conversation"}, (
        "no number, no name of a caller"
    )
    encoding = {"PCMU": "mulaw", "L16": "pcm_s16le"}[format]
    if names == ONE:
        theirs = over_socket_io(exchange, hook, external.tobytes(), encoding=encoding)
    else:  # the settings have the agent on the left
        pair = np.stack([internal, external], axis=1).tobytes()
        theirs = over_socket_io(exchange, hook, pair, encoding=encoding, channels=2)
    mine = sorted(utterances, key=lambda each: (each.get("channel", ""), each["start_ms"]))
    assert [each.get("channel") for each in mine] == [each.get("channel") for each in theirs]
    same(mine, theirs, 1e-5)


def test_the_best_of_what_is_offered_is_taken(exchange: Server) -> None:
    offers = [offer(ONE), offer(ONE, "L16"), offer(BOTH), offer(BOTH, "OPUS"), offer(["internal"])]
    session = AudioHook(exchange)
    assert session.open(*offers, supportedLanguages=True) == {
        "media": [offer(BOTH)],
        "startPaused": False,
        "supportedLanguages": [],
    }
    session.close()
    for none in (
        [],
        [offer(BOTH, "OPUS")],
        [{**offer(ONE), "rate": 16_000}],
        [offer(["me"])],
        [offer(ONE + ONE)],
    ):
        session = AudioHook(exchange)
        session.say("open", organizationId=session.org, conversationId=str(uuid.uuid4()), media=none)
        session.is_refused("error")


def test_a_probe_is_opened_and_closed_and_is_no_session(exchange: Server) -> None:
    session = AudioHook(exchange)
    assert session.open(offer(BOTH), conversation=PROBE)["media"] == [offer(BOTH)]
    session.say("ping")
    session.hear("pong")
    session.speak(bytes(3_200))  # their test client may send some
    session.say("ping", rtt="PT0.03S")
    session.hear("pong")
    assert metrics(exchange)["emotion_sessions"] == 0
    session.close()


def test_discarded_audio_moves_the_clock_and_pauses_do_not(
    exchange: Server, hook: Receiver, demo_samples: np.ndarray
) -> None:
    voice = ulaw(voices(demo_samples)[0]).tobytes()
    session = AudioHook(exchange)
    session.open(offer(ONE))
    session.speak(voice[:8_000])
    session.say("discarded", 1, start="PT1S", discarded="PT0.5S")
    session.say("paused", 1.5)
    session.say("update", 1.5, language="de-DE")
    session.hear("updated")
    session.say("resumed", 1.5, start="PT1.5S", discarded="PT2S")
    session.speak(voice[8_000:])
    session.say("discarded", 6.5, start="PT6.5S", discarded="PT100000S")
    session.say("error", 6.5, code=409, message="something")
    session.close()
    utterances, summary = told(hook, session.id)
    assert summary["audio_ms"] == 4_000 + 2_500 + 8_000, "no more than 8 s are filled at once"
    silence = b"\xff" * 20_000
    alike = over_socket_io(
        exchange, hook, voice[:8_000] + silence + voice[8_000:] + b"\xff" * 64_000, encoding="mulaw"
    )
    same(utterances, alike, 1e-5)


UNSIGNED: dict[str, dict[str, Any]] = {
    "another secret": {"secret": b"another"},
    "another key": {"key": "another"},
    "no signature": {"secret": None},
    "an old one": {"age_s": MAX_AGE_S + 30},
    "one of tomorrow": {"age_s": -60},
    "a short nonce": {"nonce": "x" * (MIN_NONCE - 1)},
    "another correlation": {"headers": {"audiohook-correlation-id": str(uuid.uuid4())}},
    "another key beside it": {"headers": {"x-api-key": "another"}},
    "no key": {"headers": {"x-api-key": ""}},
    "no signature's bytes": {"headers": {"signature": "sig1=:!:"}},
    "another label": {"headers": {"signature": "sig2=:AAAA:"}},
    "nonsense": {"headers": {"signature-input": 'sig1=("' + '"x" ' * 500}},
    "fields left out": {"headers": {"signature-input": 'sig1=("x-api-key");keyid="k";nonce="n";created=1'}},
}


@pytest.mark.parametrize("wrong", UNSIGNED.values(), ids=UNSIGNED)
def test_who_has_not_signed_is_told_unauthorized_and_closed(exchange: Server, wrong: dict[str, Any]) -> None:
    before = metrics(exchange)['emotion_door_connections_total{door="genesys"}']
    session = AudioHook(exchange, **wrong)
    session.is_refused("unauthorized")
    counted = metrics(exchange)
    assert counted['emotion_door_connections_total{door="genesys"}'] == before
    eventually(lambda: metrics(exchange)["emotion_connections"] == 0, "nobody was let in")


def test_a_signature_counts_once(exchange: Server) -> None:
    first = AudioHook(exchange)
    first.open(offer(ONE))
    again = AudioHook(exchange, headers=first.headers)
    again.id = first.id
    again.is_refused("unauthorized")
    first.close()


def test_the_query_is_signed_too(exchange: Server) -> None:
    session = AudioHook(exchange, query="?a=1&b=%20")
    session.open(offer(ONE))
    session.close()


def test_the_signature_is_genesys_own() -> None:
    """The worked example of their documentation (developer.genesys.cloud/devapps/audiohook/security)."""
    values = dict(
        zip(
            COMPONENTS,
            (
                "/api/v1/voicebiometrics/ws", "audiohook.example.com", "d7934305-0972-4844-938e-9060eef73d05",
                "30b0e395-84d3-4570-ac13-9a62d8f514c0", "e160e428-53e2-487c-977d-96989bf5c99d", KEY,
            ),
            strict=True,
        )
    )  # fmt: skip
    given = "sig1=(" + " ".join(f'"{name}"' for name in COMPONENTS) + f');keyid="{KEY}"'
    given += ';nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created=1641013200;expires=3282026430'
    signature = "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:"
    check = SignatureCheck(KEY, base64.b64decode("TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="))
    assert check.why_not(values, given, signature, 1_641_013_200 + 11) == "too old, or of the future"
    assert check.why_not({**values, "@authority": "x"}, given, signature, 1_641_013_201) != ""
    assert check.why_not(values, given, signature, 1_641_013_201) == ""
    assert check.why_not(values, given, signature, 1_641_013_202) == "signed before"


def strange(session: AudioHook) -> dict[str, Any]:
    numbers = {"version": "2", "id": session.id, "seq": session.seq + 1, "serverseq": session.heard}
    return {**numbers, "type": "ping", "position": "PT0S", "parameters": {}}


STRANGE = {
    "no JSON": lambda s: "hello",
    "no object": lambda s: "[]",
    "another version": lambda s: {**strange(s), "version": "3"},
    "another id": lambda s: {**strange(s), "id": str(uuid.uuid4())},
    "a number left out": lambda s: {**strange(s), "seq": s.seq + 2},
    "what was never said": lambda s: {**strange(s), "serverseq": 99},
    "a type that is none": lambda s: {**strange(s), "type": "dance"},
    "opened twice": lambda s: {**strange(s), "type": "open"},
    "a type of a type": lambda s: {**strange(s), "type": ["ping"]},
    "no parameters": lambda s: {**strange(s), "parameters": None},
    "a duration that is none": lambda s: {
        **strange(s),
        "type": "discarded",
        "parameters": {"discarded": "1 s"},
    },
    "a duration without end": lambda s: {
        **strange(s),
        "type": "resumed",
        "parameters": {"discarded": "PT1e9S"},
    },
    "no duration": lambda s: {**strange(s), "type": "discarded"},
    "half a sample": lambda s: b"\0" * 3,
}


@pytest.mark.parametrize("said", STRANGE.values(), ids=STRANGE)
def test_what_is_not_audiohook_is_told_so_and_closed(exchange: Server, said: Any) -> None:
    session = AudioHook(exchange)
    session.open(offer(BOTH))
    message = said(session)
    session.seq += 1
    if isinstance(message, bytes):
        session.ws.send(message, 2)
    else:
        session.send(message)
    assert session.hear("disconnect")["reason"] == "error"
    session.ws.close(timeout=0.2)
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "its session is over")


def test_audio_before_it_was_opened_is_an_error(exchange: Server) -> None:
    session = AudioHook(exchange)
    session.ws.send(bytes(160), 2)
    session.is_refused("error")


def test_another_organization_than_the_signed_one_is_unauthorized(exchange: Server) -> None:
    session = AudioHook(exchange)
    session.say(
        "open", organizationId=str(uuid.uuid4()), conversationId=str(uuid.uuid4()), media=[offer(ONE)]
    )
    session.is_refused("unauthorized")


def test_a_call_that_is_cut_off_leaves_nothing_behind(exchange: Server, hook: Receiver) -> None:
    session = AudioHook(exchange)
    session.open(offer(ONE))
    session.speak(bytes(8_000))
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 1, "it is there")
    assert session.ws.sock is not None
    session.ws.sock.shutdown(2)
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "its session is closed at once")
    eventually(lambda: metrics(exchange)["emotion_connections"] == 0, "and its connection")
    assert told(hook, session.id)[1]["reason"] == "disconnect"


def test_who_was_told_to_close_and_does_not_is_cut_off(exchange: Server) -> None:
    session = AudioHook(exchange, secret=b"another")
    session.hear("disconnect")
    try:
        while session.ws.recv_data()[0] != websocket.ABNF.OPCODE_CLOSE:
            pass
    except (OSError, websocket.WebSocketException):
        pass


@pytest.mark.slow
def test_opened_comes_in_time_while_forty_others_speak(exchange: Server, demo_samples: np.ndarray) -> None:
    """Within the five seconds that Genesys waits."""
    pair = np.stack([ulaw(voice) for voice in voices(demo_samples)], axis=1).tobytes()
    others = [AudioHook(exchange) for _ in range(40)]
    for other in others:
        other.open(offer(BOTH))
        other.speak(pair)
    late = AudioHook(exchange, timeout_s=5)
    late.open(offer(BOTH))
    assert metrics(exchange)["emotion_sessions"] == 41
    for session in (late, *others):
        session.ws.settimeout(60)
        session.close()


def test_without_a_key_in_the_settings_nobody_gets_in() -> None:
    with (
        running(model__name="fake") as server,
        pytest.raises(websocket.WebSocketBadStatusException) as refused,
    ):
        AudioHook(server)
    assert refused.value.status_code == 403


def test_without_a_secret_the_key_is_enough() -> None:
    with running(model__name="fake", doors__genesys_api_key=KEY) as server:
        session = AudioHook(server, secret=None)
        session.open(offer(ONE))
        session.close()
        AudioHook(server, secret=None, key="another").is_refused("unauthorized")
        no_traceback(server.log())


def test_only_the_customer_is_heard_where_the_policy_says_so() -> None:
    with running(model__name="fake", policy__watch="customer", **CLOSED) as server:
        one, two = AudioHook(server), AudioHook(server)
        one.say("open", organizationId=one.org, conversationId=str(uuid.uuid4()), media=[offer(ONE)])
        one.is_refused("error")
        two.open(offer(ONE), offer(BOTH))
        eventually(lambda: metrics(server)["emotion_channels"] == 1, "one of the two is scored")
        two.close()
        no_traceback(server.log())


def test_a_call_beyond_the_limit_is_told_so() -> None:
    with running(model__name="fake", limits__max_sessions=1, **CLOSED) as server:
        one, two = AudioHook(server), AudioHook(server)
        one.open(offer(ONE))
        two.say("open", organizationId=two.org, conversationId=str(uuid.uuid4()), media=[offer(ONE)])
        assert "TOO_MANY_SESSIONS" in two.is_refused("error")
        one.close()
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_a_call_ends_with_the_server(mode: str) -> None:
    with running(model__name="fake", server__async_mode=mode, **CLOSED) as server:
        session = AudioHook(server)
        session.open(offer(ONE))
        assert server.stop() == 0
        assert session.hear("disconnect")["reason"] == "completed"
        assert session.ended_with() == 1001
        no_traceback(server.log())
