"""A session is its connection's: nobody else can speak into it, end it or hear it, but its owner may come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Payload, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, held, metrics, no_traceback, running

Connect = Callable[..., Client]


def code(answer: Payload) -> str:
    assert answer["ok"] is False, answer
    return str(answer["error"]["code"])


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def forgetful(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that waits a second for a client to come back."""
    mode = request.param
    with running(model__name="fake", server__async_mode=mode, limits__resume_s=1, **ROOMY) as server:
        yield server
        no_traceback(server.log())


def broken_off(client: Client, server: Server) -> None:
    """Break the connection, and wait until the server has noticed."""
    before = connections(server)
    client.kill()
    eventually(lambda: connections(server) < before, "the server notices that the connection broke")


def connections(server: Server) -> int:
    return int(metrics(server)["emotion_connections"])


def scored_frames(server: Server) -> float:
    return sum(n for name, n in metrics(server).items() if name.startswith("emotion_frames_total"))


def test_after_a_take_over_audio_without_a_start_is_refused(server: Server, connect: Connect) -> None:
    """A session of the defaults would read its mu-law as PCM16, and say that all is well."""
    first, second = connect(server), connect(server)
    opened = first.start(encoding="mulaw", sample_rate=8000)
    assert second.start(resume_token=opened["resume_token"])["resumed"]
    told = first.wait_for("error")
    assert told["code"] == "NOT_YOUR_SESSION" and told["session_id"] == opened["session_id"]
    assert not second.of("error")
    assert code(first.call("audio_stream", {"chunk": b"\xff" * 800})) == "NOT_YOUR_SESSION"
    first.start(encoding="mulaw", sample_rate=8000)
    assert first.call("audio_stream", {"chunk": b"\xff" * 800})["received_ms"] == 100


def test_after_its_own_stop_audio_without_a_start_opens_a_session(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.start()
    client.stop()
    assert client.call("audio_stream", {"chunk": b"\0" * 3_200})["received_ms"] == 100


@pytest.mark.parametrize("event", ["audio_stream", "flush", "stop"])
def test_naming_a_strangers_session_is_refused(
    server: Server, connect: Connect, demo_pcm: bytes, event: str
) -> None:
    owner, thief = connect(server), connect(server)
    session_id = owner.start()["session_id"]
    thief.start()
    owner.speak(demo_pcm[:64_000])
    heard = len(thief.heard)
    claim = {"session_id": session_id, **({"chunk": demo_pcm[:3200]} if event == "audio_stream" else {})}
    assert code(thief.call(event, claim)) == "NOT_YOUR_SESSION"
    assert owner.stop()["audio_ms"] == 2000, "the owner's session is as it was"
    assert [name for name, _ in thief.heard[heard:]] == ["error"], "and the thief heard nothing of it"


def test_a_strangers_session_and_none_at_all_get_the_same_answer(server: Server, connect: Connect) -> None:
    owner, thief = connect(server), connect(server)
    owner.start(session_id="interview-7")
    answers = [thief.call("stop", {"session_id": name}) for name in ("interview-7", "never-existed")]
    assert answers[0] == answers[1]


def test_starting_with_an_open_id_is_refused(server: Server, connect: Connect) -> None:
    owner, thief = connect(server), connect(server)
    owner.start(session_id="desk.4")
    assert code(thief.call("start", {"session_id": "desk.4"})) == "NOT_YOUR_SESSION"
    assert code(owner.call("start", {"session_id": "desk.4"})) == "NOT_YOUR_SESSION"
    owner.stop()
    assert thief.start(session_id="desk.4")["ok"], "once it is closed the id is free"


def test_results_go_to_the_owner_alone(server: Server, connect: Connect, demo_pcm: bytes) -> None:
    owner, other = connect(server), connect(server)
    other.start()
    session_id = owner.start()["session_id"]
    owner.speak(demo_pcm[:96_000])
    owner.stop()
    other.call("flush")
    assert owner.of("emotion_result", session_id) and not other.of("emotion_result")


def test_a_client_that_comes_back_goes_on_where_it_was(
    forgetful: Server, connect: Connect, demo_pcm: bytes
) -> None:
    """What was said while it was away is delivered; together it is the stream that never broke."""
    first, whole = connect(forgetful), connect(forgetful)
    opened = first.start()
    for number, at in enumerate(range(0, 3 * 32_000, 9_600)):
        first.speak(demo_pcm[at : min(at + 9_600, 3 * 32_000)], seq=number)
    first.wait_for("emotion_result", lambda p: p["start_ms"] + 10 * len(p["frame_scores"]) > 2_800)
    broken_off(first, forgetful)
    second = connect(forgetful)
    got = sum(payload.get("session_id") == opened["session_id"] for _, payload in first.heard)
    resumed = second.start(resume_token=opened["resume_token"], received=got)  # some were under way
    assert resumed["resumed"] and resumed["session_id"] == opened["session_id"]
    assert resumed["next_seq"] == 10
    assert resumed["resume_token"]
    again = second.call("audio_stream", {"chunk": demo_pcm[:9_600], "seq": 9})
    assert again["ok"] and again["duplicate"] and again["received_ms"] == 3000
    second.speak(demo_pcm[3 * 32_000 : 6 * 32_000], cut=96_000, seq=10)
    assert second.stop()["audio_ms"] == 6000

    whole_id = whole.start()["session_id"]
    whole.speak(demo_pcm[: 6 * 32_000])
    whole.stop()
    heard = first.heard + second.heard
    ledger.same(ledger.of_client(heard, opened["session_id"]), ledger.of_client(whole.heard, whole_id))


def test_results_of_the_time_away_are_delivered_on_return(
    forgetful: Server, connect: Connect, demo_pcm: bytes
) -> None:
    before = scored_frames(forgetful)
    first, second = connect(forgetful), connect(forgetful)
    opened = first.start()
    with held(forgetful):
        first.speak(demo_pcm[: 5 * 32_000])
        broken_off(first, forgetful)
    eventually(lambda: scored_frames(forgetful) > before + 400, "the speech is scored while nobody listens")
    assert not first.of("emotion_result")
    second.start(resume_token=opened["resume_token"])
    second.stop()
    book = ledger.of_client(first.heard + second.heard, opened["session_id"])
    book.balance()
    assert len(book.scored) > 400


def test_a_connection_that_is_still_open_can_be_taken_over_with_the_token(
    forgetful: Server, connect: Connect, demo_pcm: bytes
) -> None:
    """A phone changes networks: the old connection has not been missed yet."""
    old, new = connect(forgetful), connect(forgetful)
    opened = old.start()
    old.speak(demo_pcm[:64_000])
    assert new.start(resume_token=opened["resume_token"])["resumed"]
    claim = {"session_id": opened["session_id"], "chunk": demo_pcm[:3200]}
    assert code(old.call("audio_stream", claim)) == "NOT_YOUR_SESSION"
    old.close()
    new.speak(demo_pcm[64_000:128_000])
    assert new.stop()["audio_ms"] == 4000


def test_a_wrong_token_does_not_open_the_door(forgetful: Server, connect: Connect) -> None:
    owner, thief = connect(forgetful), connect(forgetful)
    opened = owner.start()
    wrong = opened["resume_token"][:-1] + ("A" if opened["resume_token"][-1] != "A" else "B")
    claim = {"session_id": opened["session_id"], "resume_token": wrong}
    assert code(thief.call("start", claim)) == "NOT_YOUR_SESSION"
    broken_off(owner, forgetful)
    assert code(thief.call("start", claim)) == "NOT_YOUR_SESSION"
    fresh = thief.start(resume_token=wrong)
    assert not fresh["resumed"] and fresh["session_id"] != opened["session_id"]


@pytest.mark.slow
def test_after_resume_s_the_session_is_gone_and_a_new_one_opens(
    forgetful: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(forgetful)
    opened = client.start()
    client.speak(demo_pcm[:64_000])
    broken_off(client, forgetful)
    eventually(
        lambda: f"session={opened['session_id']} reason=disconnect" in forgetful.log(), "it is given up"
    )
    late = connect(forgetful).start(session_id=opened["session_id"], resume_token=opened["resume_token"])
    assert not late["resumed"] and late["next_seq"] == 0


def test_numbered_chunks_are_taken_once_and_in_order(server: Server, connect: Connect) -> None:
    client, second = connect(server), b"\0" * 32_000
    client.start()
    assert client.call("audio_stream", {"chunk": second, "seq": 0})["received_ms"] == 1000
    assert client.call("audio_stream", {"chunk": second, "seq": 0})["duplicate"]
    ahead = client.call("audio_stream", {"chunk": second, "seq": 5})
    assert code(ahead) == "BAD_REQUEST" and ahead["next_seq"] == 1
    assert client.call("audio_stream", {"chunk": second, "seq": 1})["received_ms"] == 2000
    assert client.stop()["audio_ms"] == 2000
