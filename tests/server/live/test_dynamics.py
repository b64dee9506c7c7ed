"""How two people share a call: told live, in the summary and the record, at the desk and in the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from server import wire
from stream.dynamics import Dynamics
from stream.gate import GateConfig
from stream.types import SpeechEnded, SpeechStarted, frames_in
from tests.server.clients import Client, Payload, eventually
from tests.server.conftest import ROOMY, metrics, running
from tests.server.doors.plain import PlainClient

RATE = 16_000
PEOPLE = ("agent", "customer")
SECONDS = 14


@pytest.fixture(scope="module")
def call(demo_samples: np.ndarray) -> bytes:
    return a_call(demo_samples)


def a_call(demo_samples: np.ndarray) -> bytes:
    """Two channels, PCM16. The agent speaks for four seconds and is interrupted, answers; then nobody speaks."""
    audio = np.zeros((SECONDS * RATE, 2), np.float32)
    for side, begin_s, length_s in ((0, 1, 4), (1, 4, 3), (0, 8, 2)):
        audio[begin_s * RATE : (begin_s + length_s) * RATE, side] = demo_samples[RATE : (1 + length_s) * RATE]
    return np.asarray(np.rint(audio * 32767), "<i2").tobytes()


def of_speech(client: Client, session_id: str) -> Payload:
    """What the edges of speech that were told come to, taken together at the end."""
    whole = Dynamics(PEOPLE, GateConfig())
    for event in client.of("speech", session_id):
        frame = event["at_ms"] // 10
        edge = SpeechStarted(frame) if event["state"] == "start" else SpeechEnded(frame)
        whole.edge(event["channel"], edge)
    return wire.dynamics(whole.finish(frames_in(SECONDS * RATE)))


def speak(client: Client, call: bytes, cut: int) -> tuple[str, Payload]:
    session_id = client.start(channels=2)["session_id"]
    client.speak(call, cut, session_id=session_id)
    return session_id, client.stop(session_id=session_id)


@pytest.mark.parametrize("kind", [Client, PlainClient])
def test_the_summary_tells_what_the_speech_was(server: Any, call: bytes, kind: Callable[..., Client]) -> None:
    client = kind(server.url)
    before = metrics(server)
    session_id, summary = speak(client, call, 6_400)
    dynamics = summary["dynamics"]
    assert dynamics == of_speech(client, session_id)
    agent, customer = (dynamics["by_channel"][name] for name in PEOPLE)
    assert customer["interruptions"] == 1 and agent["interruptions"] == 0
    assert agent["reactions"] == 1 and 500 < agent["reaction_ms"] < 1500
    assert agent["share"] + customer["share"] == pytest.approx(1, abs=2e-3)
    assert dynamics["overlaps"] == 1 and dynamics["overlap_ms"] > 200
    assert dynamics["longest_silence_ms"] == dynamics["silence_ms"] > 3000
    live = client.of("dynamics", session_id)
    assert [event["at_ms"] for event in live] == sorted({event["at_ms"] for event in live}) != []
    assert max(event["by_channel"]["customer"]["interruptions"] for event in live) == 1, "before the end"
    now = metrics(server)

    def more(name: str) -> float:
        return now[name] - before.get(name, 0)

    assert more('emotion_interruptions_total{channel="customer"}') == 1
    assert more('emotion_reactions_total{channel="agent"}') == 1
    seconds = 'emotion_reaction_seconds_total{channel="agent"}'
    assert more(seconds) == pytest.approx(agent["reaction_ms"] / 1000)
    assert more("emotion_overlap_seconds_total") == pytest.approx(dynamics["overlap_ms"] / 1000)
    client.close()


def test_cutting_changes_nothing(server: Any, connect: Callable[..., Client], call: bytes) -> None:
    client = connect(server)
    found = [speak(client, call, cut)[1]["dynamics"] for cut in (4_001, 12_800, 25_600)]
    assert found[0] == found[1] == found[2]


def test_one_channel_has_none(server: Any, connect: Callable[..., Client], demo_pcm: bytes) -> None:
    client = connect(server)
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[:64_000], session_id=session_id)
    assert "dynamics" not in client.stop(session_id=session_id) and not client.of("dynamics", session_id)


def test_whoever_is_not_watched_leaves_no_dynamics(connect: Callable[..., Client], call: bytes) -> None:
    with running(model__name="fake", policy__watch="customer", **ROOMY) as server:
        client = connect(server)
        session_id, summary = speak(client, call, 6_400)
        assert "dynamics" not in summary and not client.of("dynamics", session_id)


RULES = [
    {"name": "dead_air", "when": {"silence_s": 2.5}, "message": "Nobody has spoken for {value} s"},
    {"name": "interrupted", "when": {"interruptions": 1}, "message": "{channel}: {value}"},
]


def test_rules_about_calls_are_told_once_it_is_so(connect: Callable[..., Client], call: bytes) -> None:
    with running(model__name="fake", alerts__rules=json.dumps(RULES), **ROOMY) as server:
        client = connect(server)
        session_id, summary = speak(client, call, 6_400)
        alerts = client.of("alert", session_id)
        assert [(a["rule"], a["state"], a.get("channel"), a["message"]) for a in alerts] == [
            ("interrupted", "raised", "customer", "customer: 1"),
            ("dead_air", "raised", None, "Nobody has spoken for 3 s"),
        ]
        silent_since = summary["dynamics"]["at_ms"] - summary["dynamics"]["silence_ms"]
        assert 2500 < alerts[1]["at_ms"] - silent_since <= 3000


def test_the_record_and_the_desk_tell_the_same(
    connect: Callable[..., Client], call: bytes, tmp_path: Path
) -> None:
    kept = {"recording__sessions": "true", "files__outputs": tmp_path}
    with running(model__name="fake", monitor__ended_ttl_s=60, **kept, **ROOMY) as server:
        client, desk = connect(server), connect(server, namespace="/monitor")
        session_id, summary = speak(client, call, 6_400)

        def recorded() -> Any:
            asked = requests.get(f"{server.url}/api/v1/sessions", timeout=10).json()
            return next((each for each in asked["sessions"] if each["session_id"] == session_id), None)

        assert eventually(recorded, "it is recorded")["dynamics"] == summary["dynamics"]

        def shown() -> Any:
            return next(card for card in desk.call("list")["sessions"] if card["session_id"] == session_id)

        assert shown()["dynamics"] == summary["dynamics"]
