"""Calls from Twilio, placed by streamdouble, which others have written; and peers that only claim to be Twilio."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile
import websocket
from streamdouble.audio import wav_to_ulaw_frames

from server.doors.twilio import require_signature
from server.errors import ClientError
from tests.conftest import Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running
from tests.server.doors.plain import Polite

TOKEN = "s3cret-of-the-operator"


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def exchange(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It asks for a token, and keeps what was said."""
    root = tmp_path_factory.mktemp("kept")
    kept = {
        "recording__sessions": "true",
        "files__outputs": root,
        "server__token": TOKEN,
        "monitor__token": TOKEN,
    }
    with running(server__async_mode=request.param, **kept, **ROOMY) as server:
        yield server
        no_traceback(server.log())
        assert TOKEN not in server.log()


@pytest.fixture(scope="module")
def voices(demo_samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five seconds of the customer, and of the agent."""
    folder = tmp_path_factory.mktemp("voices")
    for name, start in (("customer", 2), ("agent", 7)):
        soundfile.write(folder / f"{name}.wav", demo_samples[start * 16_000 : (start + 5) * 16_000], 16_000)
    return folder / "customer.wav", folder / "agent.wav"


def call(server: Server, audio: Path, *options: str) -> None:
    url = f"ws://127.0.0.1:{server.port}/v1/twilio"
    program = str(Path(sys.executable).with_name("streamdouble"))
    one_way = ("--fork", "--strict-fork", "--allow-no-audio")
    command = [program, "call", url, "--audio", str(audio), *one_way, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def rest(server: Server, path: str, **query: Any) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return requests.get(f"{server.url}/api/v1/sessions{path}", query, headers=headers, timeout=10).json()


def record_of(server: Server, before: set[str]) -> dict[str, Any]:
    """The call that was not there before, once it is kept."""
    found: dict[str, Any] = eventually(
        lambda: next((s for s in rest(server, "")["sessions"] if s["id"] not in before), None), "it is kept"
    )
    return found


def ids(server: Server) -> set[str]:
    return {session["id"] for session in rest(server, "")["sessions"]}


def test_both_voices_of_a_call_score_as_over_socket_io(exchange: Server, voices: tuple[Path, Path]) -> None:
    customer, agent = voices
    before = ids(exchange)
    call(
        exchange, customer, "--track", "both", "--agent-audio", str(agent), "--param", f"token={TOKEN}",
        "--param", "name=Line 7",
    )  # fmt: skip
    record = record_of(exchange, before)
    assert record["name"] == "Line 7" and record["tags"]["call_sid"].startswith("CA")
    assert record["complete"] and record["reason"] == "stop" and record["channels"] == 2
    tracks = [np.frombuffer(b"".join(wav_to_ulaw_frames(path)), np.uint8) for path in (agent, customer)]
    assert record["audio_ms"] == pytest.approx(len(tracks[1]) / 8, abs=40)

    io = Client(exchange.url, auth={"token": TOKEN})
    before = ids(exchange)
    io.start(encoding="mulaw", sample_rate=8000, channels=2)
    io.speak(np.stack(tracks, axis=1).tobytes())
    io.stop()
    io.close()
    other = record_of(exchange, before)
    for channel in ("agent", "customer"):
        part = {"begin_ms": 0, "end_ms": 6_000, "channel": channel}
        one, two = (rest(exchange, f"/{each['id']}/span", **part) for each in (record, other))
        assert one["frames"] == pytest.approx(two["frames"], abs=10) and one["frames"] > 100
        assert list(one["scores"].values()) == pytest.approx(list(two["scores"].values()), abs=0.01)


def test_a_call_that_loses_packets_stays_in_time(exchange: Server, voices: tuple[Path, Path]) -> None:
    customer, agent = voices
    before = ids(exchange)
    rough = ("--packet-loss", "0.1", "--jitter", "40", "--chaos-seed", "7")
    both = ("--track", "both", "--agent-audio", str(agent))
    call(exchange, customer, *both, *rough, "--param", f"token={TOKEN}")
    record = record_of(exchange, before)
    assert record["audio_ms"] == pytest.approx(5_000, abs=200), "what was lost took its time"
    assert set(record["by_channel"]) == {"agent", "customer"}
    assert record["speech_ms"] > 3_000 and record["lost_ms"] == 0


class Peer:
    """Says what it likes."""

    def __init__(self, server: Server, path: str = "/v1/twilio", **headers: str) -> None:
        self.ws = websocket.create_connection(
            f"ws://127.0.0.1:{server.port}{path}", header=headers, timeout=30, class_=Polite
        )

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.ws.send(message if isinstance(message, str) else json.dumps(message))

    def ended_with(self) -> int:
        opcode, data = self.ws.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        self.ws.shutdown()  # type: ignore[no-untyped-call]
        return int.from_bytes(data[:2], "big")


def start(token: str = TOKEN, **fields: Any) -> dict[str, Any]:
    told = {
        "callSid": "CA1",
        "tracks": ["inbound"],
        "customParameters": {"token": token},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        **fields,
    }
    return {"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": told}


def media(number: int, data: bytes = b"\xff" * 160, track: str = "inbound") -> dict[str, Any]:
    payload = base64.b64encode(data).decode()
    fields = {"track": track, "chunk": str(number), "timestamp": str(20 * number), "payload": payload}
    return {"event": "media", "streamSid": "MZ1", "media": fields}


CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}


def test_a_call_that_is_cut_off_leaves_nothing_behind(exchange: Server) -> None:
    before = ids(exchange)
    peer = Peer(exchange)
    peer.say(CONNECTED, start(), *(media(n) for n in range(50)))
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 1, "the call is there")
    peer.ws.sock.shutdown(2)  # type: ignore[union-attr]
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "its session is closed at once")
    eventually(lambda: metrics(exchange)["emotion_connections"] == 0, "and its connection")
    assert record_of(exchange, before)["reason"] == "disconnect"


def test_keys_marks_and_what_is_new_mean_nothing(exchange: Server) -> None:
    before = ids(exchange)
    peer = Peer(exchange)
    dtmf = {"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "1"}}
    others = (
        dtmf,
        {"event": "mark", "mark": {"name": "x"}},
        {"event": "of tomorrow"},
        media(0, track="outbound"),
    )
    peer.say(CONNECTED, start(), media(0), *others, media(1), {"event": "stop", "stop": {"callSid": "CA1"}})
    assert peer.ended_with() == 1000
    assert record_of(exchange, before)["audio_ms"] == 40


WRONG = {
    "a wrong token": (start("wrong"), 4401),
    "no token": (start(customParameters={}), 4401),
    "another coding": (start(mediaFormat={"encoding": "audio/l16", "sampleRate": 8000}), 1008),
    "no tracks": (start(tracks=[]), 1008),
    "media first": (media(0), 1008),
    "no event": ({}, 1008),
    "no object": ("[]", 1008),
    "no JSON": ("hello", 1008),
    "parameters that are none": (start(customParameters=5), 1008),
    "a call without a name": ({"event": "start", "start": {}}, 1008),
}


@pytest.mark.parametrize(("message", "code"), WRONG.values(), ids=WRONG)
def test_what_is_not_twilio_is_closed(exchange: Server, message: Any, code: int) -> None:
    peer = Peer(exchange)
    peer.say(message)
    assert peer.ended_with() == code


def test_strange_messages_within_a_call_hurt_nobody(exchange: Server) -> None:
    dice = random.Random(3)
    for _ in range(40):
        peer = Peer(exchange)
        peer.say(start())
        text = bytearray(json.dumps(media(1)).encode())
        for _ in range(dice.randint(1, 6)):
            text[dice.randrange(len(text))] = dice.choice(b'{}[]",:0a')
        try:
            peer.say(
                text.decode(),
                media(2),
                {"event": "media", "media": {"track": "inbound", "timestamp": "9" * 12}},
            )
        except (OSError, websocket.WebSocketException):
            continue
        finally:
            peer.ws.close(timeout=0.2)
    eventually(lambda: metrics(exchange)["emotion_sessions"] == 0, "nothing is left")


def test_the_signature_is_twilios() -> None:
    """The value was computed with OpenSSL: printf URL | openssl dgst -sha1 -hmac SECRET -binary | base64."""
    url, good = "wss://example.com/v1/twilio", "ccJICYO7KLiZoW8QqJxo8M1ytBM="
    require_signature("12345", url, good)
    for secret, at, given in (("12346", url, good), ("12345", url + "?", good), ("12345", url, "")):
        with pytest.raises(ClientError):
            require_signature(secret, at, given)


def test_without_the_accounts_signature_nobody_gets_in() -> None:
    with running(model__name="fake", doors__twilio_auth_token="12345") as server:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            Peer(server)
        assert refused.value.status_code == 401
        url = f"wss://127.0.0.1:{server.port}/v1/twilio"
        signed = base64.b64encode(hmac.new(b"12345", url.encode(), hashlib.sha1).digest()).decode()
        peer = Peer(server, **{"X-Twilio-Signature": signed})
        peer.say(CONNECTED, start(), media(0), {"event": "stop"})
        assert peer.ended_with() == 1000
        no_traceback(server.log())


def test_only_the_customer_is_heard_where_the_policy_says_so() -> None:
    with running(model__name="fake", policy__watch="customer") as server:
        one, two = Peer(server), Peer(server)
        one.say(start())
        assert one.ended_with() == 1008, "one track may hold both"
        two.say(start(tracks=["inbound", "outbound"]))
        eventually(lambda: metrics(server)["emotion_channels"] == 1, "one of the two is scored")
        two.say({"event": "stop"})
        assert two.ended_with() == 1000
        no_traceback(server.log())


def test_a_call_ends_with_the_server(tmp_path: Path) -> None:
    with running(model__name="fake", files__outputs=tmp_path) as server:
        peer = Peer(server)
        peer.say(CONNECTED, start(), *(media(n) for n in range(10)))
        eventually(lambda: metrics(server)["emotion_sessions"] == 1, "the call is there")
        assert server.stop() == 0
        assert peer.ended_with() == 1001
        no_traceback(server.log())
