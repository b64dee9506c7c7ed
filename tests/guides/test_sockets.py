"""A Socket.IO client that sends chunks under a name of its own, and never a `start`."""

from __future__ import annotations

import base64
import io
import threading
import wave
from collections.abc import Iterator
from typing import Any

import pytest
import socketio

from stream.types import LABELS, JsonDict
from tests.conftest import Server
from tests.server.clients import eventually
from tests.server.conftest import held, metrics, running

HALF_SECOND = 16_000  # bytes


def wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(pcm)
    return file.getvalue()


class Listener:
    """Emits chunks and notes what comes back, without asking for any answer to them."""

    def __init__(self, url: str) -> None:
        self.results: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.lost: list[dict[str, Any]] = []
        self.summaries: list[dict[str, Any]] = []
        self.sio = socketio.Client(reconnection=False)
        self.sio.on("emotion_result", self.results.append)
        self.sio.on("frame_result", self.frames.append)
        self.sio.on("error", self.errors.append)
        self.sio.on("lost", self.lost.append)
        self.sio.on("session_summary", self.summaries.append)
        self.sio.connect(url)

    def say(self, pcm: bytes, session_id: str | None = "caller-1") -> None:
        """In WAV files of half a second, as base64."""
        named = {} if session_id is None else {"session_id": session_id}
        for at in range(0, len(pcm), HALF_SECOND):
            chunk = base64.b64encode(wav(pcm[at : at + HALF_SECOND])).decode()
            self.sio.emit("audio_stream", {"chunk": chunk, **named})

    def scored(self, session_id: str) -> set[int]:
        """When the frames begin that it has been told of in `results`."""
        of_it = [r for r in list(self.results) if r["session_id"] == session_id]
        return {frame["timestamp"] for result in of_it for frame in result["results"]}

    def hears_all(self, session_id: str, summary: JsonDict) -> None:
        """A stock client handles each message on a thread of its own: some come after the answer to `stop`."""
        assert summary["frames"] > 0
        eventually(lambda: len(self.scored(session_id)) == summary["frames"], "all frames are in results")

    def close(self) -> None:
        self.sio.disconnect()


@pytest.fixture
def listeners(compact: Server) -> Iterator[list[Listener]]:
    """Two of one server."""
    both = [Listener(compact.url), Listener(compact.url)]
    yield both
    for one in both:
        one.close()


def test_a_chunk_under_a_name_is_scored_without_a_start(listeners: list[Listener], demo_pcm: bytes) -> None:
    me, other = listeners
    me.say(demo_pcm[: 6 * 32_000])
    summary = me.sio.call("stop", {"session_id": "caller-1"}, timeout=60)
    assert summary["ok"] and summary["session_id"] == "caller-1" and summary["audio_ms"] == 6000
    me.hears_all("caller-1", summary)
    eventually(lambda: me.summaries, "the summary is told as an event as well")
    eventually(lambda: len(me.frames) == summary["frames"], "and each frame")
    assert me.summaries[0]["session_id"] == "caller-1"
    assert not me.errors and not other.results
    seen = set()
    for result in me.results:
        assert result["session_id"] == "caller-1"
        assert len(result["results"]) == len(result["frame_scores"])
        for index, frame in enumerate(result["results"]):
            assert frame["timestamp"] == result["start_ms"] + 10 * index
            assert frame["emotion"] == result["frame_emotions"][index]
            assert frame["confidence"] == max(frame["scores"].values())
            assert list(frame["scores"]) == list(LABELS)
            assert abs(sum(frame["scores"].values()) - 1) < 1e-4
            seen.add(frame["timestamp"])
    assert len(seen) == summary["frames"] > 200
    assert sorted(frame["timestamp"] for frame in me.frames) == sorted(seen), "and each as a frame_result"
    assert all(frame["session_id"] == "caller-1" for frame in me.frames)


def test_two_connections_with_one_name_are_two_sessions(
    listeners: list[Listener], compact: Server, demo_pcm: bytes
) -> None:
    before = len(compact.log())
    first, second = listeners
    first.say(demo_pcm[: 4 * 32_000])
    eventually(lambda: first.results, "the first is scored")
    second.say(demo_pcm[6 * 32_000 : 9 * 32_000])
    eventually(lambda: second.results, "the second is scored")
    told = [one.sio.call("stop", {"session_id": "caller-1"}, timeout=60) for one in (first, second)]
    assert [x["audio_ms"] for x in told] == [4000, 3000], "neither has heard the other's audio"
    assert [x["session_id"] for x in told] == 2 * ["caller-1"], "each hears the name that it gave"
    for one, said in zip((first, second), told, strict=True):
        one.hears_all("caller-1", said)
        assert not one.errors
    ids = [
        line.split("session=")[1].split()[0]
        for line in compact.log()[before:].splitlines()
        if "opened" in line
    ]
    assert len(set(ids)) == len(ids) == 2 and all(x.startswith("caller-1") for x in ids)


def test_one_connection_may_speak_under_several_names(listeners: list[Listener], demo_pcm: bytes) -> None:
    me = listeners[0]
    me.say(demo_pcm[: 2 * 32_000], "left")
    me.say(demo_pcm[: 3 * 32_000], "right")
    assert me.sio.call("stop", {"session_id": "left"}, timeout=60)["audio_ms"] == 2000
    assert me.sio.call("flush", {"session_id": "right"}, timeout=60) == {"ok": True, "session_id": "right"}
    assert me.sio.call("stop", {"session_id": "right"}, timeout=60)["audio_ms"] == 3000
    assert me.sio.call("stop", {"session_id": "right"}, timeout=60)["error"]["code"] == "NOT_YOUR_SESSION"


def test_a_name_opens_nobody_elses_session(listeners: list[Listener], demo_pcm: bytes) -> None:
    owner, other = listeners
    opened = owner.sio.call("start", {"session_id": "interview"}, timeout=60)
    owner.say(demo_pcm[: 2 * 32_000], "interview")
    other.say(demo_pcm[: 1 * 32_000], "interview")
    assert other.sio.call("stop", {"session_id": "interview"}, timeout=60)["audio_ms"] == 1000
    for event in ("flush", "stop"):
        answer = other.sio.call(event, {"session_id": "interview"}, timeout=60)
        assert answer["error"]["code"] == "NOT_YOUR_SESSION"
    assert owner.sio.call("stop", {"session_id": "interview"}, timeout=60)["audio_ms"] == 2000
    assert opened["session_id"] == "interview"
    assert owner.results and not owner.frames, "who sends a start gets what it asks for there"
    assert all("results" not in result for result in owner.results)


def test_whoever_sends_a_start_has_to_name_its_session_rightly(listeners: list[Listener]) -> None:
    """A misspelt id must not open a session that reads mu-law as PCM16; nor must a start that was refused."""
    me, other = listeners
    me.sio.call("start", {"session_id": "mine", "encoding": "mulaw"}, timeout=60)
    refused = me.sio.call("audio_stream", {"chunk": b"\xff" * 800, "session_id": "mien"}, timeout=60)
    assert refused["error"]["code"] == "NOT_YOUR_SESSION"
    assert not other.sio.call("start", {"encoding": "g729"}, timeout=60)["ok"]
    refused = other.sio.call("audio_stream", {"chunk": b"\xff" * 800, "session_id": "mine"}, timeout=60)
    assert refused["error"]["code"] == "NOT_YOUR_SESSION"


def test_a_connection_that_comes_back_goes_on_under_its_name(
    compact: Server, listeners: list[Listener], demo_pcm: bytes
) -> None:
    """Without a resume_token it is a new session: the name proves nothing."""
    first, second = listeners
    first.say(demo_pcm[: 2 * 32_000], "caller-2")
    first.sio.call("flush", {"session_id": "caller-2"}, timeout=60)
    first.close()
    second.say(demo_pcm[: 1 * 32_000], "caller-2")
    assert second.sio.call("stop", {"session_id": "caller-2"}, timeout=60)["audio_ms"] == 1000
    assert not second.errors


@pytest.mark.slow
def test_a_pause_longer_than_the_server_waits_opens_the_name_anew(demo_pcm: bytes) -> None:
    """It has declared no encoding, so nothing can be misread."""
    with running(model__name="fake", limits__idle_timeout_s=1) as server:
        me = Listener(server.url)
        me.say(demo_pcm[:32_000])
        eventually(lambda: me.summaries, "the session is closed")
        assert me.summaries[0]["reason"] == "idle" and me.summaries[0]["session_id"] == "caller-1"
        answer = me.sio.call(
            "audio_stream", {"chunk": demo_pcm[:32_000], "session_id": "caller-1"}, timeout=60
        )
        assert answer == {"ok": True, "received_ms": 1000}
        me.close()


@pytest.mark.parametrize(("setting", "started", "told"), [("on", True, True), ("off", False, False)])
def test_the_operator_decides_who_is_told_so(
    demo_pcm: bytes, setting: str, started: bool, told: bool
) -> None:
    with running(model__name="fake", stream__legacy_events=setting) as server:
        me = Listener(server.url)
        if started:
            assert me.sio.call("start", {"session_id": "caller-1"}, timeout=60)["ok"]
        me.say(demo_pcm[: 3 * 32_000])
        me.sio.call("stop", {"session_id": "caller-1"}, timeout=60)
        assert me.results
        assert bool(me.frames) == told
        assert {"results" in result for result in me.results} == {told}
        me.close()


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """It waits a second for a window's scores."""
    with running(model__name="fake", engine__deadline_ms=1000) as server:
        yield server


@pytest.mark.parametrize("started", [False, True])
def test_a_window_over_its_deadline_of_a_second_is_told_as_lost_and_as_an_error(
    impatient: Server, demo_pcm: bytes, started: bool
) -> None:
    before = metrics(impatient)
    me = Listener(impatient.url)
    if started:
        me.sio.call("start", {"session_id": "caller-1"}, timeout=60)
    gone = threading.Event()

    def lost(said: JsonDict) -> None:
        me.lost.append(said)
        gone.set()

    me.sio.on("lost", lost)
    with held(impatient):
        me.say(demo_pcm[: 2 * 32_000])
        assert gone.wait(30), "nothing was lost"
    summary = me.sio.call("stop", {"session_id": "caller-1"}, timeout=60)
    assert me.lost and {said["code"] for said in me.lost} == {"INFERENCE_TIMEOUT"}
    assert len(me.errors) == (0 if started else len(me.lost)), "one each"
    for said, wrong in zip(me.lost, me.errors, strict=False):
        assert (wrong["code"], wrong["session_id"]) == ("INFERENCE_TIMEOUT", "caller-1")
        assert wrong["retryable"] and f"{said['start_ms']} to {said['end_ms']} ms" in wrong["message"]
    now = metrics(impatient)
    counted, lost_s = (
        now[name] - before.get(name, 0)
        for name in (
            'emotion_errors_total{code="INFERENCE_TIMEOUT"}',
            'emotion_lost_seconds_total{code="INFERENCE_TIMEOUT"}',
        )
    )
    assert counted == len(me.errors)
    assert lost_s == pytest.approx(summary["lost_ms"] / 1000)
    me.close()
