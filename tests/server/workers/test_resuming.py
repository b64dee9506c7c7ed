"""A session goes on in another worker: its own is killed, or its client's new connection just lands there."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from tests.conftest import ROOMY, Server
from tests.server import ledger
from tests.server.clients import Client, eventually
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


def received(client: Client, session_id: str) -> int:
    return sum(p.get("session_id") == session_id and name != "error" for name, p in client.heard)


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
        client.wait_for("emotion_result")
        holder(server, client).kill()
        got = received(client, started["session_id"])
        heard = list(client.heard)
        again = connect(server)
        resumed = again.start(resume_token=started["resume_token"], received=got)
        assert resumed["resumed"] and resumed["session_id"] == started["session_id"]
        assert resumed["next_seq"] == 40
        speak(again, audio[40 * CHUNK :], 40)
        summary = again.stop()
        book = ledger.of_client([*heard, *again.heard], started["session_id"])
        book.balance()
        assert book.scored and set(book.lost.values()) <= {"NOT_READY"}
        assert len(book.lost) < 200, "more than what was under way"
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
    got, heard = received(client, started["session_id"]), list(client.heard)
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
