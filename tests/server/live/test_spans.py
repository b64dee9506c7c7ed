"""`span`: the scores of any stretch, live by all ways in, recorded over REST, and by both clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from emotion_stream_client import EmotionClient, EmotionError

from stream.types import LABELS
from tests.conftest import Server
from tests.server.clients import Client, Payload, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, metrics, no_traceback, running
from tests.server.doors.plain import PlainClient

Connect = Callable[..., Client]
CLOSE = 3e-5  # two bytes, and six decimals


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It keeps records."""
    root = tmp_path_factory.mktemp("kept")
    kept = {"recording__sessions": "true", "files__outputs": root}
    with running(model__name="fake", server__async_mode=request.param, **kept, **ROOMY) as server:
        yield server
        no_traceback(server.log())


def frames(client: Client, session_id: str, channel: str | None = None) -> dict[int, list[float]]:
    """By milliseconds, as they were told."""
    return {
        result["start_ms"] + 10 * i: row
        for result in client.of("emotion_result", session_id)
        if result.get("channel") == channel
        for i, row in enumerate(result["frame_scores"])
    }


def check(answer: Payload, told: dict[int, list[float]], begin_ms: int, end_ms: int) -> None:
    wanted = [row for ms, row in told.items() if begin_ms <= ms < end_ms]
    assert answer["frames"] == len(wanted) > 0
    mean = np.mean(wanted, axis=0)
    np.testing.assert_allclose(list(answer["scores"].values()), mean, atol=CLOSE)
    assert answer["emotion"] == LABELS[int(mean.argmax())]


@pytest.mark.parametrize("kind", [Client, PlainClient])
def test_any_stretch_is_the_mean_of_the_frames_that_were_told(
    server: Server, demo_pcm: bytes, kind: type[Client]
) -> None:
    client = kind(server.url)
    name = client.start()["session_id"]
    client.speak(demo_pcm[: 8 * 32_000])
    assert client.call("flush")["ok"]
    client.call("flush")
    told = frames(client, name)
    for begin_ms, end_ms in ((0, 7_900), (1_234, 4_321), (min(told), min(told) + 1)):
        answer = client.call("span", {"begin_ms": begin_ms, "end_ms": end_ms})
        check(answer, told, begin_ms, end_ms)
        assert answer["complete"] and answer["session_id"] == name
    silent = client.call("span", {"begin_ms": 0, "end_ms": 10})
    assert silent["frames"] == 0 and "scores" not in silent
    later = client.call("span", {"begin_ms": 7_000, "end_ms": 60_000})
    assert not later["complete"]
    known = metrics(server)["emotion_utterance_known_seconds_count"]
    assert known >= len(client.of("utterance_result", name)) > 0
    client.close()


def test_labels_are_present_from_their_thresholds_on(
    server: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(server)
    client.start()
    client.speak(demo_pcm[: 6 * 32_000])
    client.call("flush")
    whole: dict[str, Any] = {"begin_ms": 0, "end_ms": 6_000}
    scores = client.call("span", whole)["scores"]
    best = max(scores, key=scores.get)
    assert client.call("span", whole)["present"] == [name for name, p in scores.items() if p >= 0.25]
    everything = client.call("span", {**whole, "present": dict.fromkeys(LABELS, 0)})["present"]
    assert everything == list(LABELS)
    assert best not in client.call("span", {**whole, "present": {best: scores[best] + 0.01}})["present"]


def test_channels_are_asked_one_by_one(server: Server, connect: Connect, demo_pcm: bytes) -> None:
    client = connect(server)
    name = client.start(channels=2)["session_id"]
    mono = np.frombuffer(demo_pcm[: 6 * 32_000], "<i2")
    both = np.stack([mono, np.roll(mono, 16_000)], axis=1).tobytes()
    client.speak(both, cut=64_000)
    client.call("flush")
    client.call("flush")
    for channel in ("agent", "customer"):
        answer = client.call("span", {"begin_ms": 0, "end_ms": 6_000, "channel": channel})
        check(answer, frames(client, name, channel), 0, 6_000)
        assert answer["channel"] == channel
    for wrong in ({}, {"channel": "nobody"}):
        answer = client.call("span", {"begin_ms": 0, "end_ms": 10, **wrong})
        assert answer["error"]["code"] == "BAD_REQUEST" and "agent, customer" in answer["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"begin_ms": 5},
        {"begin_ms": 5, "end_ms": 5},
        {"begin_ms": -1, "end_ms": 5},
        {"begin_ms": 0, "end_ms": 1 << 60},
        {"begin_ms": 0, "end_ms": 1.5},
        {"begin_ms": True, "end_ms": 5},
        {"begin_ms": 0, "end_ms": 5, "channel": "agent"},
        {"begin_ms": 0, "end_ms": 5, "present": {"rage": 0.5}},
        {"begin_ms": 0, "end_ms": 5, "present": {"angry": 2}},
        {"begin_ms": 0, "end_ms": 5, "present": {"angry": "0.5"}},
        {"begin_ms": 0, "end_ms": 5, "present": ["angry"]},
        {"begin_ms": 0, "end_ms": 5, "begin": 3},
    ],
)
def test_what_is_no_span_is_a_bad_request(server: Server, connect: Connect, fields: dict[str, Any]) -> None:
    client = connect(server)
    client.start()
    assert client.call("span", fields)["error"]["code"] == "BAD_REQUEST"


def test_a_strangers_session_cannot_be_asked(server: Server, connect: Connect) -> None:
    owner, thief = connect(server), connect(server)
    claim = {"session_id": owner.start()["session_id"], "begin_ms": 0, "end_ms": 10}
    thief.start()
    assert thief.call("span", claim)["error"]["code"] == "NOT_YOUR_SESSION"


def test_over_rest_live_and_recorded(recording: Server, connect: Connect, demo_pcm: bytes) -> None:
    client = connect(recording)
    name = client.start()["session_id"]
    client.speak(demo_pcm[: 8 * 32_000])
    client.call("flush")
    client.call("flush")
    told = frames(client, name)
    address = f"{recording.url}/api/v1/sessions"
    part: dict[str, str | int] = {"begin_ms": 1_000, "end_ms": 5_000, "present": "angry:0,sad:0"}
    live = requests.get(f"{address}/{name}/span", params=part, timeout=10).json()
    check(live, told, 1_000, 5_000)
    assert live["success"] and {"angry", "sad"} <= set(live["present"])
    client.stop()

    def kept() -> str | None:
        listed = requests.get(address, params={"session_id": name}, timeout=10).json()["sessions"]
        return listed[0]["id"] if listed else None

    record = eventually(kept, "it is kept")
    later = requests.get(f"{address}/{record}/span", params=part, timeout=10).json()
    check(later, told, 1_000, 5_000)  # on the grid of half seconds: the same frames
    assert later["session_id"] == name and later["complete"]
    for bad in (
        {},
        {"begin_ms": "x", "end_ms": "5"},
        {**part, "channel": "agent"},
        {**part, "present": "angry"},
    ):
        for where in (record, "no_such_session"):
            status = requests.get(f"{address}/{where}/span", params=bad, timeout=10).status_code
            assert status in (400, 404) and (status == 400 or where == "no_such_session")
    assert requests.get(f"{address}/../span", params=part, timeout=10).status_code == 404


def test_supervisors_alone_may_ask_over_rest(tmp_path: Path) -> None:
    with running(
        model__name="fake", server__token="a", monitor__token="b", files__outputs=tmp_path
    ) as server:
        address, part = f"{server.url}/api/v1/sessions/x/span", {"begin_ms": 0, "end_ms": 5}
        for token, status in (("a", 401), ("b", 404), ("", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert requests.get(address, params=part, headers=headers, timeout=10).status_code == status


def test_the_python_client_asks(server: Server, demo_pcm: bytes) -> None:
    with EmotionClient(server.url) as client, client.stream() as stream:
        stream.send(demo_pcm[: 6 * 32_000])
        stream.flush()
        span = stream.span(0, 5_900, present={"angry": 0.0})
        assert span.complete and span.frames > 100 and "angry" in span.present
        assert span.emotion == max(span.scores, key=span.scores.__getitem__)
        assert stream.span(0, 10).emotion is None
        with pytest.raises(EmotionError) as wrong:
            stream.span(10, 0)
        assert wrong.value.code == "BAD_REQUEST"
        stream.stop()
