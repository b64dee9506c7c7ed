"""A desk on any worker shows the sessions of all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.conftest import Server
from tests.server.clients import Client, Payload, eventually

Connect = Callable[..., Client]


def about(session_id: str, **like: object) -> Callable[[Payload], bool]:
    """Whether a payload is about this session, or a card in it is, with these values."""

    def fits(payload: Payload) -> bool:
        cards = payload.get("sessions", [payload])
        return any(c["session_id"] == session_id and like.items() <= c.items() for c in cards)

    return fits


def utterances(desk: Client, session_id: str) -> list[Payload]:
    return [x for p in desk.of("session", session_id) for x in p.get("utterances", ())]


def test_every_desk_sees_every_session(two: Server, connect: Connect, demo_pcm: bytes) -> None:
    speakers = [connect(two) for _ in range(6)]
    ids = {client.start(name=f"caller {n}")["session_id"] for n, client in enumerate(speakers)}
    desks = [connect(two, namespace="/monitor") for _ in range(4)]
    for desk in desks:
        listed = desk.call("list")["sessions"]
        assert ids <= {summary["session_id"] for summary in listed}
        assert desk.call("subscribe")["ok"]
        whole = desk.wait_for("summaries", lambda p: p["whole"])
        assert ids <= {summary["session_id"] for summary in whole["sessions"]}
        for session_id in list(ids)[:2]:
            assert desk.call("open", {"session_id": session_id})["ok"]
            desk.wait_for("session", about(session_id, whole=True))
    for client in speakers:
        client.speak(demo_pcm[:192_000])
        assert client.stop()["frames"]
    for desk in desks:
        for session_id in ids:
            desk.wait_for("summaries", about(session_id, state="ended"))
        for session_id in list(ids)[:2]:
            told = eventually(partial(utterances, desk, session_id), "its utterances")
            assert len({x["n"] for x in told}) == len(told), "each once"
            assert any(
                line["rows"] for p in desk.of("session", session_id) for line in p["timelines"].values()
            )
    for desk in desks:
        desk.close()
