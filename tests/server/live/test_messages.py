"""Whatever a client sends as a message, it is told what is wrong with it, and nobody else notices."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import Server
from tests.server.clients import Client, base64_of

Connect = Callable[..., Client]

SECOND = b"\0" * 32_000
NOT_TEXT: list[Any] = [5, 1.5, True, ["a"], {"a": 1}, b"bytes"]
NOT_INTEGERS: list[Any] = ["16000", 16000.5, True, [1], {"a": 1}, b"1"]
NOT_BOOLEANS: list[Any] = ["true", 1, 0, [True], {}]


def refused(client: Client, event: str, payload: Any) -> str:
    """The code of the refusal, which comes as the ack and as an event."""
    before = len(client.of("error"))
    answer = client.call(event, payload)
    assert answer["ok"] is False, f"{event} {payload!r:.200} was taken: {answer}"
    assert client.of("error")[before:] == [answer["error"]]
    message = answer["error"]["message"]
    assert 10 < len(message) < 400, "a sentence, that does not repeat what was sent"
    return str(answer["error"]["code"])


@pytest.fixture
def client(server: Server, connect: Connect) -> Client:
    return connect(server)


def wrong_types() -> list[tuple[str, dict[str, Any]]]:
    cases: list[tuple[str, dict[str, Any]]] = []
    for event in ("start", "audio_stream", "flush", "stop"):
        chunk = {"chunk": base64_of(SECOND)} if event == "audio_stream" else {}
        cases += [(event, {"session_id": bad, **chunk}) for bad in NOT_TEXT]
    for field in ("encoding", "resume_token"):
        cases += [("start", {field: bad}) for bad in NOT_TEXT]
    for field in ("sample_rate", "channels"):
        cases += [("start", {field: bad}) for bad in NOT_INTEGERS]
    cases += [("start", {"frame_results": bad}) for bad in NOT_BOOLEANS]
    for field in ("sample_rate", "seq"):
        cases += [("audio_stream", {"chunk": base64_of(SECOND), field: bad}) for bad in NOT_INTEGERS]
    cases += [("audio_stream", {"chunk": bad}) for bad in (5, 1.5, True, ["a"], {"a": 1}, [b"x"], None)]
    return cases


def test_fields_of_the_wrong_type_are_bad_requests(client: Client) -> None:
    for event, payload in wrong_types():
        assert refused(client, event, payload) == "BAD_REQUEST", (event, payload)


NO_OBJECTS: tuple[Any, ...] = (
    *([], [1, 2], "text", "", 0, 5, 1.5, True, False),
    *(b"bytes", ({}, {}), ("a", "b", "c")),
)


def test_payloads_that_are_no_object_are_bad_requests(client: Client) -> None:
    for event in ("start", "audio_stream", "flush", "stop"):
        for payload in NO_OBJECTS:
            if event == "start" and payload == []:
                continue  # python-socketio sends it as no arguments at all
            assert refused(client, event, payload) == "BAD_REQUEST", (event, payload)


def test_no_payload_means_no_fields(client: Client) -> None:
    assert refused(client, "audio_stream", None) == "BAD_REQUEST"
    assert refused(client, "flush", None) == "BAD_REQUEST"
    assert refused(client, "stop", {}) == "BAD_REQUEST"
    assert client.call("start")["ok"]
    assert client.call("flush")["ok"]
    assert client.call("stop")["ok"]


def test_unknown_fields_are_refused_by_name(client: Client) -> None:
    for event in ("start", "audio_stream", "flush", "stop"):
        answer = client.call(
            event, {"chunk": SECOND, "sampel_rate": 8000} if event == "audio_stream" else {"x": 1}
        )
        assert answer["error"]["code"] == "BAD_REQUEST"
        assert ("sampel_rate" if event == "audio_stream" else "'x'") in answer["error"]["message"]
    assert refused(client, "start", {"y" * 1_000_000: 1}) == "BAD_REQUEST"


def test_unknown_events_are_refused_and_the_known_ones_named(client: Client) -> None:
    answer = client.call("audio", {"chunk": SECOND})
    assert answer["error"]["code"] == "BAD_REQUEST" and "audio_stream" in answer["error"]["message"]
    assert refused(client, "e" * 100_000, None) == "BAD_REQUEST"


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": "opus"},
        {"encoding": ""},
        {"encoding": "PCM_S16LE"},
        {"encoding": "x" * 1_000_000},
        {"sample_rate": 0},
        {"sample_rate": -16_000},
        {"sample_rate": 7_999},
        {"sample_rate": 192_001},
        {"sample_rate": 2**53},
        {"channels": 0},
        {"channels": 3},
        {"channels": -1},
    ],
    ids=lambda fields: "-".join(f"{k}={str(v)[:12]}" for k, v in fields.items()),
)
def test_audio_that_is_not_read_here_is_unsupported(client: Client, fields: dict[str, Any]) -> None:
    assert refused(client, "start", fields) == "UNSUPPORTED_ENCODING"
    if "sample_rate" in fields:
        small = {"chunk": b"\0\0", **fields}
        assert refused(client, "audio_stream", small) == "UNSUPPORTED_ENCODING"


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "ä", "\x00", "../etc", "a" * 65, "a" * 1_000_000, "💥", "\n"]
)
def test_ids_that_are_no_plain_names_are_refused(client: Client, name: str) -> None:
    assert refused(client, "start", {"session_id": name}) == "BAD_REQUEST"
    for event in ("audio_stream", "flush", "stop"):
        fields = {"chunk": SECOND} if event == "audio_stream" else {}
        assert refused(client, event, {"session_id": name, **fields}) in ("BAD_REQUEST", "NOT_YOUR_SESSION")


def test_an_enormous_resume_token_is_nobodys(client: Client) -> None:
    assert client.call("start", {"resume_token": "t" * 1_000_000})["resumed"] is False


@pytest.mark.parametrize("text", ["!", "AAA", "AA=A", "AAAA\n", "ä", "AAAA=A==", " AAAA", "-_-_", "💥💥💥💥"])
def test_text_that_is_not_base64_is_bad_audio(client: Client, text: str) -> None:
    assert refused(client, "audio_stream", {"chunk": text}) == "BAD_AUDIO"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_samples_that_are_no_numbers_are_bad_audio_and_leave_no_trace(client: Client, bad: float) -> None:
    client.start(encoding="pcm_f32le")
    good = np.zeros(16_000, "<f4").tobytes()
    assert client.call("audio_stream", {"chunk": good})["received_ms"] == 1000
    assert refused(client, "audio_stream", {"chunk": good[:-4] + struct.pack("<f", bad)}) == "BAD_AUDIO"
    assert client.call("audio_stream", {"chunk": good})["received_ms"] == 2000


def test_samples_far_too_loud_do_no_harm(client: Client) -> None:
    client.start(encoding="pcm_f32le")
    loud = np.array([3.4e38, -3.4e38, 1e-45, -0.0] * 8000, "<f4").tobytes()
    assert client.call("audio_stream", {"chunk": loud})["ok"]
    assert client.stop()["audio_ms"] == 2000


@pytest.mark.parametrize(
    "head",
    [
        b"not a wav at all",
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 16_000, 40_000, 3, 20),
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, 16_000, 0, 0, 16) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 1, 2, 2, 16) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 9, 16_000, 2, 18, 16) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVE" + (b"junk" + struct.pack("<I", 4) + b"\0" * 4) * 8000,
    ],
    ids=["text", "no-format", "short-format", "20-bit", "0-channels", "1-hz", "9-channels", "endless-header"],
)
def test_a_wav_header_that_makes_no_sense_is_refused(client: Client, head: bytes) -> None:
    client.start(encoding="wav")
    assert refused(client, "audio_stream", {"chunk": head + b"\0" * 64}) in (
        "BAD_AUDIO",
        "UNSUPPORTED_ENCODING",
    )
    assert client.stop()["audio_ms"] == 0


def test_a_header_in_pieces_does_not_smuggle_in_more_than_a_chunk_may_hold(client: Client) -> None:
    """The format is known only once the header is whole: 640 kB are 20 s of PCM16 and 80 s of 8 kHz u-law."""
    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 7, 1, 8_000, 8_000, 1, 8)
    client.start(encoding="wav")
    assert client.call("audio_stream", {"chunk": header})["received_ms"] == 0
    rest = b"data" + struct.pack("<I", 0) + b"\xff" * 640_000
    answer = client.call("audio_stream", {"chunk": rest, "sample_rate": 48_000})
    assert answer["error"]["code"] == "CHUNK_TOO_LARGE"
    assert client.call("audio_stream", {"chunk": rest[: 8 + 8_000]})["received_ms"] == 1000


def test_chunks_of_too_many_bytes_are_too_large(client: Client) -> None:
    client.start()
    for chunk in (b"\0" * 1_400_000, base64_of(b"\0" * 1_050_000), b"\0" * 1_000_001):
        assert refused(client, "audio_stream", {"chunk": chunk}) == "CHUNK_TOO_LARGE"
    assert client.stop()["audio_ms"] == 0


def test_chunks_of_too_many_seconds_are_too_large(client: Client) -> None:
    client.start(encoding="mulaw", sample_rate=8000)
    for chunk in (b"\xff" * 40_001, base64_of(b"\xff" * 40_001)):
        assert refused(client, "audio_stream", {"chunk": chunk}) == "CHUNK_TOO_LARGE"
    for chunk in (b"\xff" * 40_000, base64_of(b"\xff" * 40_000)):
        assert client.call("audio_stream", {"chunk": chunk})["ok"], "exactly as long as is allowed"


def test_the_largest_chunk_may_come_as_bytes_and_as_text(client: Client) -> None:
    client.start(encoding="pcm_f32le", sample_rate=48_000, channels=2)
    whole = b"\0" * 1_000_000  # 2.6 s
    assert client.call("audio_stream", {"chunk": whole})["ok"]
    assert client.call("audio_stream", {"chunk": base64_of(whole)})["ok"]


@pytest.mark.parametrize("chunk", [b"", "", b"\0"])
def test_chunks_without_a_whole_sample_are_fine(client: Client, chunk: bytes | str) -> None:
    assert client.call("audio_stream", {"chunk": chunk}) == {"ok": True, "received_ms": 0}


@pytest.mark.parametrize("seq", [-1, 2**63, -(2**63)])
def test_numbers_that_no_chunk_can_have_are_refused(client: Client, seq: int) -> None:
    assert refused(client, "audio_stream", {"chunk": SECOND, "seq": seq}) == "BAD_REQUEST"


def test_deep_payloads_are_refused(client: Client) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    for field in ("session_id", "encoding", "unknown"):
        assert refused(client, "start", {field: deep}) == "BAD_REQUEST"
