"""Two servers with a Redis are one service: sessions move, limits and desks are those of both."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
import socketio

from tests.conftest import ROOMY, Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.cluster.conftest import PASSWORD, Redis, lost, service, together
from tests.server.conftest import metrics
from tests.server.workers.test_desk import about
from tests.server.workers.test_resuming import received, speak
from tests.server.workers.test_workers import code

Connect = Callable[..., Client]
CHUNK = 3200  # bytes: 100 ms
HOW = ("closed", "killed")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", HOW)
def test_a_session_goes_on_in_the_other_server(
    store: Redis, connect: Connect, demo_pcm: bytes, how: str, workers: int
) -> None:
    audio = demo_pcm[: 100 * CHUNK]
    with service(store, server__workers=workers, **ROOMY) as (first, second):
        client = connect(first)
        started = client.start(name="Ada", session_id="call")
        speak(client, audio[: 45 * CHUNK], 0)
        # Of the 4.5 s that were sent less than one second may still be under way.
        client.wait_for("emotion_result", lambda p: p["start_ms"] + 10 * len(p["frame_scores"]) > 3500)
        if how == "killed":
            lost(first)
        else:
            client.close()
        heard = list(client.heard)
        got = received(heard, "call")
        again = connect(second)
        resumed = again.start(resume_token=started["resume_token"], received=got)
        assert resumed["resumed"] and resumed["session_id"] == "call"
        assert resumed["next_seq"] == 45
        speak(again, audio[45 * CHUNK :], 45)
        summary = again.stop()
        book = ledger.of_client([*heard, *again.heard], "call")
        book.balance()
        assert book.scored and set(book.lost.values()) <= {"NOT_READY"}
        assert len(book.lost) < 100 if how == "killed" else not book.lost
        assert summary["audio_ms"] == 10_000 and summary["frames"] == len(book.scored)
        told = [p for n, p in [*heard, *again.heard] if n == "utterance_result"]
        assert summary["utterances"] == told
        assert metrics(second)["emotion_resumes_total"] == 1
        left = [key for key in store.names if ":member" not in key]
        assert not left, "the session has ended"


def test_a_wrong_token_is_nobodys(pair: list[Server], connect: Connect) -> None:
    started = connect(pair[0]).start()
    answer = connect(pair[1]).start(resume_token=started["resume_token"][:-1] + "!")
    assert not answer["resumed"] and answer["session_id"] != started["session_id"]


def test_an_id_is_one_sessions_in_both(pair: list[Server], connect: Connect) -> None:
    first, other = connect(pair[0]), connect(pair[1])
    first.start(session_id="call-1")
    assert code(other.call("start", {"session_id": "call-1"})) == "NOT_YOUR_SESSION"
    first.stop()
    assert other.start(session_id="call-1")["ok"]


def test_what_cannot_go_on_elsewhere_begins_anew(
    pair: list[Server], connect: Connect, demo_wav: object
) -> None:
    """A WAV whose header only the other server has read; its name is free for the new session."""
    audio = demo_wav.read_bytes()  # type: ignore[attr-defined]
    client = connect(pair[0])
    started = client.start(session_id="wav")
    assert client.call("audio_stream", {"chunk": audio[:64_000], "seq": 0})["ok"]
    client.close()
    again = connect(pair[1])
    answer = again.start(resume_token=started["resume_token"], received=0, session_id="wav")
    assert not answer["resumed"] and answer["session_id"] == "wav" and answer["next_seq"] == 0
    again.speak(audio[:64_000])
    assert again.stop()["audio_ms"] > 1900


def test_a_desk_on_each_sees_the_sessions_of_both(
    pair: list[Server], connect: Connect, demo_pcm: bytes
) -> None:
    speakers = [connect(server) for server in pair for _ in range(2)]
    ids = [client.start(name=f"caller {n}")["session_id"] for n, client in enumerate(speakers)]
    desks = [connect(server, namespace="/monitor") for server in pair]
    for desk in desks:
        assert set(ids) <= {summary["session_id"] for summary in desk.call("list")["sessions"]}
        assert desk.call("subscribe")["ok"]
        desk.wait_for("summaries", lambda p: p["whole"] and len(p["sessions"]) >= len(ids))
        for session_id in (ids[0], ids[-1]):
            assert desk.call("open", {"session_id": session_id})["ok"]
            desk.wait_for("session", about(session_id, whole=True))
    for client in speakers:
        client.speak(demo_pcm[:192_000])
        assert client.stop()["frames"]
    for desk in desks:
        for session_id in ids:
            desk.wait_for("summaries", about(session_id, state="ended"))
        for session_id in (ids[0], ids[-1]):
            desk.wait_for("session", lambda p, i=session_id: p["session_id"] == i and p.get("utterances"))  # type: ignore[misc]


def may_watch(connect: Connect, server: Server) -> bool:
    try:
        return bool(connect(server, namespace="/monitor"))
    except socketio.exceptions.ConnectionError:
        return False


def test_limits_hold_for_both_together(store: Redis, connect: Connect) -> None:
    with service(store, limits__max_sessions=3, monitor__max_desks=1) as servers:
        clients = [connect(servers[n % 2]) for n in range(6)]
        answers = [client.call("start", {}) for client in clients]
        assert sum(answer["ok"] for answer in answers) == 3
        assert {code(answer) for answer in answers if not answer["ok"]} == {"TOO_MANY_SESSIONS"}

        def open_in_all(server: Server) -> int:
            return int(json.loads(server.get("/api/v1/status")[1])["service"]["sessions"])

        for server in servers:
            eventually(lambda s=server: open_in_all(s) == 3, "it knows of all")  # type: ignore[misc]
        desk = connect(servers[0], namespace="/monitor")
        with pytest.raises(socketio.exceptions.ConnectionError, match="/monitor"):
            connect(servers[1], namespace="/monitor")
        desk.close()
        eventually(lambda: may_watch(connect, servers[1]), "the place is free")
        clients[0].stop()
        refused = next(c for c, answer in zip(clients, answers, strict=True) if not answer["ok"])
        assert eventually(lambda: refused.call("start", {})["ok"], "the place is free")
        lost(servers[0])
        late = connect(servers[1])
        assert eventually(
            lambda: late.call("start", {})["ok"], "what a dead server had is free soon after", 30
        )


def test_an_address_has_so_many_connections_to_both_together(store: Redis) -> None:
    with service(store, limits__sockets_per_peer=8) as (first, second):
        assert second.get("/api/v1/status")[0] == 200
        held = [socket.create_connection(("127.0.0.1", first.port), 10) for _ in range(8)]
        eventually(lambda: second.get("/api/v1/status")[0] == 503, "the other one knows of them")
        for one in held:
            one.close()
        eventually(lambda: second.get("/api/v1/status")[0] == 200, "they are gone")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_redis_goes_and_comes_back(store: Redis, connect: Connect, demo_pcm: bytes, how: str) -> None:
    """Its sessions live on meanwhile, new ones are taken, and afterwards all are found again."""
    audio = demo_pcm[: 150 * CHUNK]
    with service(store, **ROOMY) as servers:
        client = connect(servers[0])
        started = client.start()
        seq = speak(client, audio[: 40 * CHUNK], 0)
        if how == "killed":
            store.stop()
        else:
            store.pause()
        seq = speak(client, audio[40 * CHUNK : 80 * CHUNK], seq)
        for server in servers:
            eventually(lambda s=server: metrics(s)["emotion_redis_up"] == 0, "it has noticed")  # type: ignore[misc]
            status, said = server.get("/readyz")
            assert status == 200 and "alone" in said
            assert json.loads(server.get("/api/v1/status")[1])["service"]["redis"] is False
            fresh = connect(server)
            assert fresh.start()["ok"]
            fresh.speak(demo_pcm[:64_000])
            assert fresh.stop()["frames"]
        if how == "killed":
            store.start()
        else:
            store.go_on()
        together(servers)
        eventually(lambda: servers[0].get("/readyz") == (200, "ready\n"), "it is one of several again")
        seq = speak(client, audio[80 * CHUNK : 100 * CHUNK], seq)
        client.close()
        heard = list(client.heard)
        again = connect(servers[1])
        got = received(heard, started["session_id"])
        resumed = again.start(resume_token=started["resume_token"], received=got)
        assert resumed["resumed"] and resumed["next_seq"] == seq
        speak(again, audio[100 * CHUNK :], seq)
        assert again.stop()["audio_ms"] == 15_000
        book = ledger.of_client([*heard, *again.heard], started["session_id"])
        book.balance()
        assert book.scored and not book.lost
        for server in servers:
            told = server.log()
            assert told.count("this server goes on alone") == 1 and "Redis answers" in told
            assert PASSWORD not in told
