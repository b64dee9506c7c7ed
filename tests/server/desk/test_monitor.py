"""The namespace /monitor, from outside: real server, real Socket.IO clients, real speech."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import socketio
import websocket

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Raw, eventually
from tests.server.conftest import EVENTLET_FIRST, MODES, ROOMY, metrics, no_traceback, running
from tests.server.live.test_admission import code

Connect = Callable[..., Client]
Open = Callable[..., Raw]

SECOND = 32_000  # bytes of speech
NAMESPACE = "/monitor"


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def desked(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Ended sessions leave the desk after a second; three desks, two sessions open on each."""
    limits = {"monitor__ended_ttl_s": 1, "monitor__max_desks": 8, "monitor__max_open": 2}
    with running(model__name="fake", server__async_mode=request.param, **limits, **ROOMY) as server:
        yield server
        no_traceback(server.log())


@pytest.fixture
def desk(connect: Connect, desked: Server) -> Callable[..., Client]:
    """Desks of the server, subscribed unless told otherwise. The board is empty when it begins."""

    def one(subscribe: bool = True, **options: Any) -> Client:
        client = connect(desked, namespace=NAMESPACE, **options)
        if subscribe:
            assert client.call("subscribe")["ok"]
        return client

    lister = one(subscribe=False)

    def is_empty() -> bool:
        if lister.call("list")["sessions"]:
            time.sleep(0.2)
            return False
        return True

    eventually(is_empty, "the board is empty")
    lister.close()
    return one


def refusal(server: Server, auth: Any = None) -> Any:
    """What a desk that is not let in gets to hear."""
    said: list[Any] = []
    client = socketio.Client(reconnection=False)
    client.on("connect_error", said.append, namespace=NAMESPACE)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(
            server.url, auth=auth, transports=["websocket"], namespaces=[NAMESPACE], wait_timeout=10
        )
    client.disconnect()
    return said[0]


def summaries(desk: Client) -> dict[str, Any]:
    """Every session as the desk knows it, from all it was told."""
    known: dict[str, Any] = {}
    for news in desk.of("summaries"):
        if news["whole"]:
            known = {}
        for change in news["sessions"]:
            session = known.setdefault(change["session_id"], {})
            if "started_utc" in change:
                session.clear()
            session.update({k: v for k, v in change.items() if k != "timelines"})
            voices = session.setdefault("timelines", {})
            for name, voice in change.get("timelines", {}).items():
                voices[name] = {**voices.get(name, {}), **voice}
        for session_id in news["gone"]:
            known.pop(session_id, None)
    return known


def session_of(desk: Client, session_id: str) -> dict[str, Any]:
    """A session as the desk sees it once it does."""
    found: dict[str, Any] = eventually(lambda: summaries(desk).get(session_id), "the desk sees the session")
    return found


# -- what a desk sees ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_session_appears_is_told_of_ends_and_vanishes(
    desked: Server, desk: Callable[..., Client], connect: Connect, demo_pcm: bytes
) -> None:
    watcher, speaker = desk(), connect(desked)
    begun = speaker.start(name="Anna Bauer", tags={"queue": "Billing", "language": "de"})
    session_id = begun["session_id"]
    card = session_of(watcher, session_id)
    assert (card["name"], card["tags"], card["state"]) == (
        "Anna Bauer",
        {"queue": "Billing", "language": "de"},
        "live",
    )
    speaker.speak(demo_pcm[: 6 * SECOND], cut=6_400)
    summary = speaker.stop()
    eventually(lambda: summaries(watcher)[session_id]["state"] == "ended", "it is shown as ended")
    card = summaries(watcher)[session_id]
    told = speaker.of("emotion_result")[-1]
    voice = card["timelines"]["mono"]
    assert (voice["emotion"], voice["confidence"]) == (told["emotion"], round(told["confidence"], 2))
    assert (card["reason"], card["utterances"]) == ("stop", len(summary["utterances"]))
    assert voice["spark"]["points"] and not voice["speaking"]
    eventually(lambda: session_id not in summaries(watcher), "it vanishes")


@pytest.mark.slow
def test_list_gives_everything_once(
    desked: Server, desk: Callable[..., Client], connect: Connect, demo_pcm: bytes
) -> None:
    watcher, speaker = desk(subscribe=False), connect(desked)
    ids = {speaker.start()["session_id"] for _ in range(3)}
    speaker.speak(demo_pcm[: 2 * SECOND])
    answer = watcher.call("list")
    assert {session["session_id"] for session in answer["sessions"]} == ids
    assert answer["every_ms"] == 500 and len(answer["labels"]) == 9
    time.sleep(0.7)
    assert not watcher.heard, "who has not subscribed is told nothing"
    for session_id in ids:
        speaker.stop(session_id=session_id)


@pytest.mark.slow
def test_summaries_come_at_most_twice_a_second_and_five_desks_get_the_same(
    desked: Server, desk: Callable[..., Client], connect: Connect, demo_pcm: bytes
) -> None:
    speaker = connect(desked)
    session_id = speaker.start()["session_id"]
    desks = [desk() for _ in range(5)]
    for each in desks:
        each.wait_for("summaries")
    began = time.monotonic()
    speaker.speak(demo_pcm[: 3 * SECOND], cut=3_200, pace=1)
    took = time.monotonic() - began
    eventually(lambda: len({len(each.heard) for each in desks}) == 1, "all have what there is")
    streams = [[json.dumps(p, sort_keys=True) for _, p in each.heard if not p["whole"]] for each in desks]
    shortest = min(len(stream) for stream in streams)
    assert shortest >= 4
    assert len({tuple(stream[-shortest:]) for stream in streams}) == 1
    for each in desks:
        about = [at for at, (_, p) in zip(each.heard_at, each.heard, strict=True) if at >= began]
        assert len(about) <= 2 * took + 2
        apart = [b - a for a, b in itertools.pairwise(about)]
        assert sorted(apart)[len(apart) // 2] > 0.4
    speaker.stop(session_id=session_id)


@pytest.mark.slow
def test_a_desk_may_choose_its_sessions(
    desked: Server, desk: Callable[..., Client], connect: Connect, demo_pcm: bytes
) -> None:
    speaker = connect(desked)
    mine, other = speaker.start()["session_id"], speaker.start()["session_id"]
    watcher = desk(subscribe=False)
    assert code(watcher.call("subscribe", {"session_id": "nobody"})) == "NOT_FOUND"
    assert watcher.call("subscribe", {"session_id": mine})["ok"]
    for session_id in (mine, other):
        speaker.speak(demo_pcm[:SECOND], session_id=session_id)
    session_of(watcher, mine)
    eventually(lambda: summaries(watcher)[mine]["timelines"]["mono"]["emotion"], "it hears of its own")
    assert set(summaries(watcher)) == {mine}
    assert watcher.call("unsubscribe", {"session_id": mine})["ok"]
    time.sleep(0.6)
    before = len(watcher.heard)
    speaker.speak(demo_pcm[SECOND : 2 * SECOND], session_id=mine)
    time.sleep(0.8)
    assert len(watcher.heard) == before
    for session_id in (mine, other):
        speaker.stop(session_id=session_id)


@pytest.mark.slow
def test_an_opened_session_comes_whole_and_then_by_and_by(
    desked: Server, desk: Callable[..., Client], connect: Connect, demo_pcm: bytes
) -> None:
    """What was pieced together in the end is what the owner was told."""
    watcher, speaker = desk(subscribe=False), connect(desked)
    session_id = speaker.start(name="Anna")["session_id"]
    speaker.speak(demo_pcm[: 6 * SECOND], cut=6_400)
    assert watcher.call("open", {"session_id": session_id})["ok"]
    first = watcher.wait_for("session")
    assert first["whole"] and first["summary"]["name"] == "Anna"
    speaker.speak(demo_pcm[6 * SECOND : 12 * SECOND], cut=6_400)
    summary = speaker.stop()
    ended = lambda p: p.get("summary", {}).get("state") == "ended"  # noqa: E731
    watcher.wait_for("session", ended)
    rows: list[Any] = []
    utterances: dict[int, Any] = {}
    for news in watcher.of("session"):
        assert news["session_id"] == session_id
        utterances.update({u["n"]: u for u in news["utterances"]})
        if part := news["timelines"].get("mono"):
            rows[part["from"] :] = part["rows"]
    book = ledger.of_client(speaker.heard, session_id)
    assert [(u["start_ms"], u["end_ms"], u["emotion"]) for _, u in sorted(utterances.items())] == [
        (u["start_ms"], u["end_ms"], u["emotion"]) for u in summary["utterances"]
    ]
    for number, row in enumerate(rows):
        scored = [book.scored[i] for i in range(50 * number, 50 * (number + 1)) if i in book.scored]
        assert (row is None) == (not scored)
        if row:
            means = [100 * sum(column) / len(scored) for column in zip(*scored, strict=True)]
            assert row == pytest.approx(means, abs=0.51)
    assert watcher.call("close", {"session_id": session_id})["ok"]


def test_only_so_many_sessions_are_open_on_a_desk(
    desked: Server, desk: Callable[..., Client], connect: Connect
) -> None:
    watcher, speaker = desk(subscribe=False), connect(desked)
    ids = [speaker.start()["session_id"] for _ in range(3)]
    for session_id in [*ids[:2], ids[0]]:
        assert watcher.call("open", {"session_id": session_id})["ok"]
    assert code(watcher.call("open", {"session_id": ids[2]})) == "TOO_MANY_SESSIONS"
    assert watcher.call("close", {"session_id": ids[0]})["ok"]
    assert watcher.call("open", {"session_id": ids[2]})["ok"]
    for session_id in ids:
        speaker.stop(session_id=session_id)


def test_nothing_leaks_from_one_side_to_the_other(
    desked: Server, desk: Callable[..., Client], connect: Connect, demo_pcm: bytes
) -> None:
    """No events of sessions on the desk, none of the desk at sessions; no resume token anywhere."""
    watcher, speaker, silent = desk(), connect(desked), connect(desked)
    begun = speaker.start()
    watcher.call("open", {"session_id": begun["session_id"]})
    speaker.speak(demo_pcm[: 6 * SECOND])
    speaker.stop()
    ended = lambda p: p.get("summary", {}).get("state") == "ended"  # noqa: E731
    watcher.wait_for("session", ended)
    session_of(watcher, begun["session_id"])
    assert {name for name, _ in watcher.heard} == {"summaries", "session"}
    assert not {name for name, _ in speaker.heard} & {"summaries", "session"}
    assert not silent.heard
    assert begun["resume_token"] not in json.dumps([watcher.heard, watcher.call("list")])


# -- who may, and what not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "payload", "expected"),
    [
        ("start", {}, "BAD_REQUEST"),
        ("audio_stream", {"chunk": "AAAA"}, "BAD_REQUEST"),
        ("stop", None, "BAD_REQUEST"),
        ("connect", {}, "BAD_REQUEST"),
        ("*", {}, "BAD_REQUEST"),
        ("list", {"all": True}, "BAD_REQUEST"),
        ("subscribe", {"sesion_id": "x"}, "BAD_REQUEST"),
        ("subscribe", [], "BAD_REQUEST"),
        ("subscribe", {"session_id": 5}, "BAD_REQUEST"),
        ("open", {}, "BAD_REQUEST"),
        ("open", {"session_id": "../etc"}, "BAD_REQUEST"),
        ("open", {"session_id": "nobody"}, "NOT_FOUND"),
        ("open", ({"session_id": "a"}, 2), "BAD_REQUEST"),
        ("close", None, "BAD_REQUEST"),
        ("subscribe", {"session_id": b"bytes"}, "BAD_REQUEST"),
    ],
)
def test_what_is_not_in_the_protocol_is_refused(
    desked: Server, connect: Connect, event: str, payload: Any, expected: str
) -> None:
    client = connect(desked, namespace=NAMESPACE)
    before = metrics(desked)
    answer = client.call(event, payload)
    assert code(answer) == expected and answer["error"]["message"]
    name = f'emotion_errors_total{{code="{expected}"}}'
    assert metrics(desked)[name] == before[name] + 1
    assert client.call("list")["ok"], "it goes on"


def test_desks_events_mean_nothing_in_the_sessions_namespace(desked: Server, connect: Connect) -> None:
    for event in ("list", "subscribe", "open"):
        assert code(connect(desked).call(event, {})) == "BAD_REQUEST"


def test_a_desk_that_asks_too_often_is_told_so(desked: Server, connect: Connect) -> None:
    client = connect(desked, namespace=NAMESPACE)
    answers = [client.call("list") for _ in range(30)]
    assert code(answers[-1]) == "RATE_LIMITED"
    time.sleep(0.5)
    assert client.call("list")["ok"]


def test_desks_are_counted_and_limited(desked: Server, connect: Connect) -> None:
    eventually(lambda: metrics(desked)["emotion_desks"] == 0, "none from before")
    desks = [connect(desked, namespace=NAMESPACE) for _ in range(8)]
    assert metrics(desked)["emotion_desks"] == 8
    said = refusal(desked)
    assert said["data"]["code"] == "TOO_MANY_SESSIONS" and "monitor.max_desks" in said["message"]
    assert connect(desked).start()["ok"], "sessions are another matter"
    desks[0].kill()
    eventually(lambda: metrics(desked)["emotion_desks"] == 7, "one has gone")
    assert connect(desked, namespace=NAMESPACE).call("list")["ok"]


TOKENS = {"server__token": "for-callers", "monitor__token": "for-supervisors"}


@pytest.mark.parametrize(
    ("set_tokens", "given", "expected"),
    [
        ({}, None, None),
        (("monitor__token",), None, "UNAUTHORIZED"),
        (("monitor__token",), "for-supervisors", None),
        (("server__token",), "for-callers", "CLOSED"),
        (("server__token",), None, "CLOSED"),
        (("server__token", "monitor__token"), "for-callers", "UNAUTHORIZED"),
        (("server__token", "monitor__token"), "for-supervisors", None),
        (("server__token", "monitor__token"), 5, "UNAUTHORIZED"),
    ],
)
@pytest.mark.slow
def test_the_desk_has_a_token_of_its_own(
    connect: Connect, set_tokens: tuple[str, ...], given: Any, expected: str | None
) -> None:
    with running(model__name="fake", **{name: TOKENS[name] for name in set_tokens}) as server:
        auth = {"token": given} if given is not None else None
        if expected is None:
            assert connect(server, namespace=NAMESPACE, auth=auth).call("list")["ok"]
        else:
            said = refusal(server, auth)
            assert said["data"]["code"] == expected
            assert not any(token in json.dumps(said) for token in TOKENS.values())
        assert server.get("/desk")[0] == 200, "the page itself holds nothing"


@pytest.mark.slow
def test_whoever_was_refused_is_not_listened_to(connect: Connect, raw: Open) -> None:
    with running(model__name="fake", monitor__token="for-supervisors") as server:
        stranger = raw(server, greet=False)
        stranger.send("40/monitor,", '42/monitor,1["subscribe"]', '42/monitor,2["list"]')
        assert "UNAUTHORIZED" in stranger.until("44")
        connect(server).start()
        stranger.ws.settimeout(1.2)
        with pytest.raises(Exception, match="timed out"):
            while stranger.read():
                pass
        header = {"Authorization": "Bearer for-supervisors"}
        assert connect(server, namespace=NAMESPACE, headers=header).call("list")["ok"]
        no_traceback(server.log())


# -- those that do not read ------------------------------------------------------------------------------


def stuck_desk(server: Server, raw: Open, *wishes: str) -> Raw:
    """A desk that has asked for a lot and reads nothing of it."""
    client = raw(server, greet=False, sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    client.send("40/monitor,")
    assert client.until("40/monitor")
    client.send(*wishes)
    return client


# Rings that are soon full, so that what grows afterwards is not theirs.
SHORT_RINGS: dict[str, Any] = {
    "limits__max_sessions": 60,
    "limits__max_sessions_per_connection": 20,
    "limits__max_chunk_s": 1,
    "limits__max_ahead_s": 2,
    "stream__ring_s": 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_desk_that_does_not_read_costs_nobody_anything(
    raw: Open, connect: Connect, demo_pcm: bytes, mode: str
) -> None:
    with running(model__name="fake", server__async_mode=mode, **SHORT_RINGS) as server:
        process = psutil.Process(server.process.pid)
        speakers = [connect(server) for _ in range(3)]
        ids = [speaker.start(name="x" * 80)["session_id"] for speaker in speakers for _ in range(20)]
        stuck = stuck_desk(
            server, raw, '42/monitor,["subscribe"]', f'42/monitor,["open",{{"session_id":"{ids[0]}"}}]'
        )
        reader = connect(server, namespace=NAMESPACE)
        reader.call("subscribe")

        def talk(speaker: Client, mine: list[str], seconds: int) -> None:
            for second in range(seconds):
                began = time.monotonic()
                for session_id in mine:
                    speaker.speak(demo_pcm[second * SECOND : (second + 1) * SECOND], session_id=session_id)
                time.sleep(max(0.0, began + 1 - time.monotonic()))

        def all_talk(seconds: int) -> None:
            threads = [
                threading.Thread(target=talk, args=(speaker, ids[20 * i : 20 * i + 20], seconds))
                for i, speaker in enumerate(speakers)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        all_talk(4)  # until every session's ring is full
        before = process.memory_info().rss
        all_talk(12)
        assert process.memory_info().rss - before < 30e6
        assert len(reader.of("summaries")) > 20, "who reads is told all the while"
        for speaker in speakers:
            assert not speaker.of("lost")
        stuck.close()
        no_traceback(server.log())


@pytest.mark.slow
def test_a_desk_that_asks_and_does_not_read_is_disconnected(
    desked: Server, raw: Open, connect: Connect
) -> None:
    speaker = connect(desked)
    for _ in range(20):
        speaker.start(name="x" * 80)
    client = stuck_desk(desked, raw)

    def nagged() -> bool:
        try:
            client.send('42/monitor,7["list"]')
        except (OSError, websocket.WebSocketException):
            return True
        time.sleep(0.01)
        return "does not read its answers" in desked.log()

    eventually(nagged, "it is disconnected")
    speaker.close()
