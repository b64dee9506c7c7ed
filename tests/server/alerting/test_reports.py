"""Results for webhooks: what is sent of a session, whichever way it came in, and what is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from server.alerting.alerts import announce
from server.config import Config
from server.metrics import Metrics
from server.observers import Counters, SessionInfo, SessionSummary
from stream.types import LABELS, N_LABELS, UtteranceScored
from tests.conftest import Server
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, no_traceback, running
from tests.server.doors.plain import PlainClient
from tests.server.receivers import Receiver
from tests.server.workers.test_resuming import elsewhere, holder, speak

SECRET = "s3cret-of-the-receiver"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def reporting(hook: Receiver, *events: str, **settings: Any) -> running:
    webhooks = [{"name": "calls", "url": f"{hook.url}/in/hidden-key", "secret": SECRET, "events": events}]
    return running(alerts__webhooks=json.dumps(webhooks), **settings)


def said(hook: Receiver, session_id: str) -> list[dict[str, Any]]:
    """What came of a session, once its summary has."""
    mine = [post.json for post in hook.posts if post.json["session_id"] == session_id]
    eventually(
        lambda: any(p.json["session_id"] == session_id and p.json["event"] == "summary" for p in hook.posts),
        "the summary is posted",
    )
    mine = [post.json for post in hook.posts if post.json["session_id"] == session_id]
    assert [each["event"] for each in mine].count("summary") == 1 and mine[-1]["event"] == "summary"
    return mine


def both_channels(samples: np.ndarray) -> bytes:
    """Eight seconds in which the two speak one after the other."""
    pcm = np.rint(samples[2 * 16_000 : 10 * 16_000] * 32767).astype("<i2")
    quiet = np.zeros_like(pcm)
    left, right = pcm.copy(), pcm.copy()
    left[len(pcm) // 2 :] = quiet[: len(pcm) // 2]
    right[: len(pcm) // 2] = quiet[: len(pcm) // 2]
    return bytes(np.stack([left, right], axis=1).tobytes())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_results_are_posted_as_their_owner_hears_them_by_either_way_in(
    mode: str, hook: Receiver, demo_samples: np.ndarray
) -> None:
    """Alerts are not: nobody asked for them."""
    rule = [{"name": "always", "when": {"confidence": "any", "above": 0.01}}]
    settings = {"model__name": "fake", "server__async_mode": mode, "alerts__rules": json.dumps(rule), **ROOMY}
    audio = both_channels(demo_samples)
    with reporting(hook, "utterance", "turn", "summary", **settings) as server:
        for client in (Client(server.url), PlainClient(server.url)):
            session_id = client.start(channels=2, name="Ms Li", tags={"queue": "billing"})["session_id"]
            client.speak(audio)
            summary = client.stop()
            posts = said(hook, session_id)
            assert client.of("alert", session_id)
            assert {each["event"] for each in posts} == {"utterance", "turn", "summary"}
            told = client.of("utterance_result", session_id)
            utterances = [each for each in posts if each["event"] == "utterance"]
            assert len(utterances) == len(told) >= 2
            for mine, theirs in zip(utterances, told, strict=True):
                assert {key: mine[key] for key in theirs if "timestamp" not in key} == {
                    key: value for key, value in theirs.items() if "timestamp" not in key
                }
            for each in posts:
                assert (each["name"], each["tags"], each["source"]) == (
                    "Ms Li",
                    {"queue": "billing"},
                    "session",
                )
                assert each["url"].endswith(f"/desk#session/{session_id}")
            for key in ("reason", "audio_ms", "speech_ms", "frames", "share", "channels"):
                assert posts[-1][key] == summary[key]
            assert "utterances" not in posts[-1]
            turns = [each for each in posts if each["event"] == "turn"]
            assert sum(turn["utterances"] for turn in turns) == len(told)
            assert {turn["channel"] for turn in turns} == {"agent", "customer"}
            client.close()
        assert all("X-Emotion-Signature" in post.headers for post in hook.posts)
        assert SECRET not in server.log() and "hidden-key" not in server.log()
        no_traceback(server.log())


def test_only_what_was_asked_for_and_only_of_who_is_watched(hook: Receiver, demo_samples: np.ndarray) -> None:
    settings = {"model__name": "fake", "policy__watch": "customer", **ROOMY}
    with reporting(hook, "utterance", "turn", "summary", **settings) as server:
        client = Client(server.url)
        session_id = client.start(channels=2)["session_id"]
        client.speak(both_channels(demo_samples))
        client.stop()
        posts = said(hook, session_id)
        assert {each["event"] for each in posts} == {"utterance", "summary"}, (
            "nobody knows when the agent spoke"
        )
        assert {each.get("channel", "customer") for each in posts} == {"customer"}
        assert set(posts[-1]["channels"]) == {"customer"}
        client.close()
        no_traceback(server.log())


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_the_summary_of_a_session_that_the_servers_end_closes_still_arrives(
    mode: str, hook: Receiver, demo_pcm: bytes
) -> None:
    with reporting(hook, "summary", model__name="fake", server__async_mode=mode) as server:
        client = Client(server.url)
        session_id = client.start()["session_id"]
        client.speak(demo_pcm[: 3 * 32_000])
        assert server.stop() == 0
        (summary,) = said(hook, session_id)
        assert summary["reason"] == "shutdown" and summary["audio_ms"] == 3000
        client.close()


def test_a_receiver_that_does_not_answer_keeps_neither_a_session_nor_the_end_waiting(demo_pcm: bytes) -> None:
    stuck = Receiver(delay_s=600)
    with reporting(stuck, "utterance", "summary", model__name="fake", **ROOMY) as server:
        client = Client(server.url)
        client.start()
        client.speak(demo_pcm[: 8 * 32_000])
        assert client.stop()["frames"]
        client.close()
        eventually(lambda: stuck.posts, "it was told")
        ended = threading.Thread(target=server.stop)
        ended.start()
        ended.join(40)
        assert not ended.is_alive(), "two seconds are enough"
    stuck.close()


def test_a_session_that_goes_on_in_another_worker_has_one_summary(hook: Receiver, demo_pcm: bytes) -> None:
    clients: list[Client] = []

    def connect(server: Server) -> Client:
        clients.append(Client(server.url))
        return clients[-1]

    with reporting(hook, "summary", model__name="fake", server__workers=2, **ROOMY) as server:
        first = connect(server)
        started = first.start()
        speak(first, demo_pcm[:96_000], 0)
        again = elsewhere(server, connect, holder(server, first))
        assert again.start(resume_token=started["resume_token"])["resumed"]
        again.stop()
        (summary,) = said(hook, started["session_id"])
        assert summary["reason"] == "stop" and summary["audio_ms"] == 3000
        for client in clients:
            client.close()
        no_traceback(server.log())


def test_a_turn_lasts_until_the_other_is_heard(hook: Receiver) -> None:
    config = Config(alerts={"webhooks": [{"name": "calls", "url": hook.url, "events": ["turn"]}]})
    announcer = announce(config, Metrics())
    announcer.start()
    announcer.on_open(SessionInfo("s1", "2026-01-02T03:04:05.000+00:00", 0.0, channels=2))
    probs = np.eye(N_LABELS, dtype=np.float32)
    for channel, start, end, label in (
        ("agent", 0, 300, 0), ("agent", 400, 500, 1), ("customer", 600, 650, 2), ("agent", 700, 800, 3)
    ):  # fmt: skip
        announcer.on_event("s1", channel, UtteranceScored(start, end, end - start, probs[label]))
    announcer.on_close(
        SessionSummary("s1", "stop", 5.0, {"agent": Counters(0, 0, np.zeros(N_LABELS, int))}, ())
    )
    announcer.close(30)
    first, second, third = (post.json for post in hook.posts)
    assert (first["start_ms"], first["end_ms"], first["utterances"], first["channel"]) == (
        0,
        5000,
        2,
        "agent",
    )
    assert first["scores"] == dict(zip(LABELS, [0.75, 0.25, *[0.0] * 7], strict=True)), "by scored frames"
    assert (second["channel"], second["emotion"]) == ("customer", LABELS[2])
    assert (third["start_ms"], third["utterances"]) == (7000, 1)
