"""A session goes on in another worker: its own is killed, or its client's new connection just lands there."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from tests.conftest import ROOMY, Server
from tests.server import ledger
from tests.server.clients import Client, Event, eventually
from tests.server.conftest import metrics, no_traceback, running
from tests.server.workers.conftest import workers_of

Connect = Callable[..., Client]
CHUNK = 3200  # bytes: 100 ms


def holder(server: Server, client: Client) -> psutil.Process:
    """The worker that has the client's connection."""
    local = client._io.eio.ws.sock.getsockname()[1]
    for worker in workers_of(server):
        if any(c.raddr and c.raddr.port == local for c in worker.net_connections("tcp")):
            return worker
    raise AssertionError("no worker has this connection")


def received(heard: list[Event], session_id: str) -> int:
    return sum(p.get("session_id") == session_id and name != "error" for name, p in heard)


def elsewhere(server: Server, connect: Connect, process: psutil.Process) -> Client:
    """A client whose connection another worker has than `process`."""
    for _ in range(50):
        client = connect(server)
        if holder(server, client) != process:
            return client
    raise AssertionError("all connections went to one worker")


def speak(client: Client, audio: bytes, first: int) -> int:
    """Numbered chunks; the number of the next."""
    for at in range(0, len(audio), CHUNK):
        answer = client.call("audio_stream", {"chunk": audio[at : at + CHUNK], "seq": first})
        assert answer["ok"], answer
        first += 1
    return first


def test_a_session_whose_worker_was_killed_goes_on_in_another(connect: Connect, demo_pcm: bytes) -> None:
    audio = demo_pcm[: 100 * CHUNK]
    with running(model__name="fake", server__workers=2, **ROOMY) as server:
        client = connect(server)
        started = client.start(name="Ada")
        speak(client, audio[: 40 * CHUNK], 0)
        client.wait_for("emotion_result", lambda p: p["start_ms"] + 10 * len(p["frame_scores"]) > 3000)
        holder(server, client).kill()
        heard = list(client.heard)
        got = received(heard, started["session_id"])
        again = connect(server)
        resumed = again.start(resume_token=started["resume_token"], received=got)
        assert resumed["resumed"] and resumed["session_id"] == started["session_id"]
        assert resumed["next_seq"] == 40
        speak(again, audio[40 * CHUNK :], 40)
        summary = again.stop()
        book = ledger.of_client([*heard, *again.heard], started["session_id"])
        book.balance()
        assert book.scored and set(book.lost.values()) <= {"NOT_READY"}
        assert len(book.lost) < 100, "more than what was under way"
        assert summary["audio_ms"] == 10_000
        assert summary["frames"] == len(book.scored) and summary["lost_ms"] == 10 * len(book.lost)
        assert summary["speech_ms"] == 10 * len(book.speech)
        told = [p for n, p in [*heard, *again.heard] if n == "utterance_result"]
        assert summary["utterances"] == told
        assert eventually(lambda: len(workers_of(server)) == 2, "it is replaced")
        no_traceback(server.log())


def test_a_connection_that_comes_back_to_another_worker_loses_nothing(
    two: Server, connect: Connect, demo_pcm: bytes
) -> None:
    audio = demo_pcm[: 100 * CHUNK]
    before = metrics(two)["emotion_resumes_total"]
    client = connect(two)
    started = client.start()
    speak(client, audio[: 45 * CHUNK], 0)
    process = holder(two, client)
    client.close()
    heard = list(client.heard)
    got = received(heard, started["session_id"])
    again = elsewhere(two, connect, process)
    resumed = again.start(resume_token=started["resume_token"], received=got)
    assert resumed["resumed"] and resumed["next_seq"] == 45
    speak(again, audio[45 * CHUNK :], 45)
    summary = again.stop()
    book = ledger.of_client([*heard, *again.heard], started["session_id"])
    book.balance()
    assert book.scored and not book.lost
    assert summary["frames"] == len(book.scored) and summary["audio_ms"] == 10_000
    assert metrics(two)["emotion_resumes_total"] == before + 1


def test_a_wrong_token_is_nobodys_in_any_worker(two: Server, connect: Connect) -> None:
    started = connect(two).start()
    for _ in range(4):
        answer = connect(two).start(resume_token=started["resume_token"][:-1] + "!")
        assert not answer["resumed"] and answer["session_id"] != started["session_id"]


def test_an_id_is_one_sessions_in_all_workers(two: Server, connect: Connect) -> None:
    first = connect(two)
    first.start(session_id="call-1")
    others = [connect(two) for _ in range(4)]
    for other in others:
        answer = other.call("start", {"session_id": "call-1"})
        assert not answer["ok"] and answer["error"]["code"] == "NOT_YOUR_SESSION"
    first.stop()
    assert others[0].start(session_id="call-1")["ok"]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(("encoding", "channels"), [("pcm_s16le", 2), ("mulaw", 1)])
def test_both_channels_and_other_encodings_go_on(
    connect: Connect, demo_pcm: bytes, killed: bool, encoding: str, channels: int
) -> None:
    """Chunks of odd lengths: the bytes of an incomplete sample go along."""
    samples = np.frombuffer(demo_pcm, "<i2")[:160_000]
    audio = np.repeat(samples, 2).tobytes()
    if encoding == "mulaw":
        spelled = io.BytesIO()
        soundfile.write(spelled, samples, 16_000, format="RAW", subtype="ULAW")
        audio = spelled.getvalue()
    cuts = [audio[at : at + 5001] for at in range(0, len(audio), 5001)]
    half = len(cuts) // 2
    with running(model__name="fake", server__workers=2, **ROOMY) as server:
        client = connect(server)
        started = client.start(encoding=encoding, channels=channels, session_id="call", frame_results=True)
        for seq, chunk in enumerate(cuts[:half]):
            assert client.call("audio_stream", {"chunk": chunk, "seq": seq})["ok"]
        process = holder(server, client)
        if killed:
            process.kill()
        else:
            client.close()
        heard = list(client.heard)
        got = received(heard, "call")
        again = connect(server) if killed else elsewhere(server, connect, process)
        resumed = again.start(resume_token=started["resume_token"], received=got, session_id="call")
        assert resumed["resumed"] and resumed["next_seq"] == half and resumed["session_id"] == "call"
        for seq, chunk in enumerate(cuts[half:], half):
            assert again.call("audio_stream", {"chunk": chunk, "seq": seq})["ok"]
        summary = again.stop()
        assert summary["audio_ms"] == 10_000 and "incomplete_bytes" not in summary
        names = ("agent", "customer") if channels == 2 else (None,)
        books = [ledger.of_client([*heard, *again.heard], "call", name) for name in names]
        for book in books:
            book.balance()
            assert book.scored and (killed or not book.lost)
        assert summary["frames"] == sum(len(book.scored) for book in books)
        assert summary["lost_ms"] == 10 * sum(len(book.lost) for book in books)
        no_traceback(server.log())


@pytest.mark.parametrize("killed", [False, True])
def test_what_cannot_go_on_elsewhere_begins_anew(connect: Connect, demo_wav: Path, killed: bool) -> None:
    """A WAV whose header only the other worker has read; its name is free for the new session."""
    audio = demo_wav.read_bytes()
    with running(model__name="fake", server__workers=2, **ROOMY) as server:
        client = connect(server)
        started = client.start(session_id="call")
        assert client.call("audio_stream", {"chunk": audio[:64_000], "seq": 0})["ok"]
        process = holder(server, client)
        if killed:
            process.kill()
        else:
            client.close()
        again = connect(server) if killed else elsewhere(server, connect, process)
        answer = again.start(resume_token=started["resume_token"], received=0, session_id="call")
        assert not answer["resumed"] and answer["session_id"] == "call" and answer["next_seq"] == 0
        again.speak(audio[:64_000])
        assert again.stop()["audio_ms"] > 1900
        no_traceback(server.log())


def test_long_sessions_leave_short_trails(connect: Connect, demo_pcm: bytes) -> None:
    """A trail is written anew now and then, and still tells all of it."""
    with running(model__name="fake", server__workers=2, **ROOMY) as server:
        client = connect(server)
        started = client.start(frame_results=True)
        speak(client, demo_pcm[: 300 * CHUNK], 0)
        client.call("flush")
        heard = list(client.heard)
        got = received(heard, started["session_id"])
        assert got > 1000, "more than a trail keeps"
        holder(server, client).kill()
        again = connect(server)
        assert again.start(resume_token=started["resume_token"], received=got)["resumed"]
        summary = again.stop()
        book = ledger.of_client([*heard, *again.heard], started["session_id"])
        book.balance()
        assert not book.lost and summary["frames"] == len(book.scored)
        assert summary["utterances"] == [p for n, p in heard if n == "utterance_result"]
