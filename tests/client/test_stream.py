"""Live streams of the Python client, with threads and with asyncio, against a real server."""

from __future__ import annotations

import array
import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emotion_stream_client import (
    AsyncEmotionClient,
    EmotionClient,
    EmotionError,
    Event,
    Opened,
    Refused,
    Result,
    Skipped,
    Speech,
    State,
    Summary,
    Utterance,
    Waiting,
)
from emotion_stream_client.connection import Address

from tests.client.conftest import RATE, ledger
from tests.client.proxy import Proxy
from tests.conftest import Server, free_port
from tests.server.clients import Client, eventually
from tests.server.conftest import ROOMY, running
from tests.server.decoding.recorded import recorded
from tests.server.ledger import Ledger, same


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(EmotionError) as refused:
        call()
    return refused.value.code


def opened(client: EmotionClient, **options: Any) -> None:
    with client.stream(connect_timeout_s=2, **options):
        pass


def test_it_tells_what_a_plain_client_is_told(
    client: EmotionClient, speech: np.ndarray, plain: Ledger
) -> None:
    with client.stream() as stream:
        assert stream.session["model"] == "compact"
        for chunk in np.array_split(speech, 70):
            stream.send(chunk)
        stream.flush()
        assert stream.buffered_ms == 0
        summary = stream.stop()
    events = list(stream)
    same(ledger(events), plain)
    assert summary.reason == "stop" and summary.audio_ms == 1000 * len(speech) / RATE
    assert summary.frames == len(plain.scored) and summary.lost_ms == 0
    told = [event for event in events if isinstance(event, Utterance)]
    assert [e.raw for e in told] == [e.raw for e in summary.utterances] and told
    assert [type(e) for e in events if isinstance(e, Opened | Summary)] == [Opened, Summary]
    assert any(isinstance(e, Speech) for e in events)
    result = next(e for e in events if isinstance(e, Result))
    assert result.step_ms == 10 and len(result.frame_scores[0]) == 9 and 0 < result.latency_ms < 10_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "int16", "float32", "float64", "floats", "pcm_f32le", "stereo"])
def test_audio_in_any_form_scores_the_same(client: EmotionClient, speech: np.ndarray, kind: str) -> None:
    speech = speech[: 3 * RATE]
    floats = speech.astype(np.float32) / 32768
    stereo = np.stack([floats, floats], axis=1)
    forms: dict[str, Any] = {
        "bytes": speech.tobytes(),
        "int16": speech,
        "float32": floats,
        "float64": floats.astype(np.float64),
        "floats": array.array("f", floats),
        "pcm_f32le": floats,
        "stereo": stereo,
    }
    options: dict[str, Any] = {"encoding": "pcm_f32le"} if kind == "pcm_f32le" else {}
    if kind == "stereo":
        options["channels"] = 2
    with client.stream(**options) as stream:
        stream.send(forms[kind])
        summary = stream.stop()
    with client.stream() as other:
        other.send(speech)
        expected = other.stop()
    if kind == "stereo":  # both sides say the same
        assert summary.frames == 2 * expected.frames
        assert {each.channel for each in summary.utterances} == {"agent", "customer"}
    else:
        assert summary.share == expected.share and summary.frames == expected.frames > 0
        assert [u.scores for u in summary.utterances] == [u.scores for u in expected.utterances]


def test_frame_results_name_and_tags_are_passed_through(client: EmotionClient, speech: np.ndarray) -> None:
    with client.stream(frame_results=True, name="call 7", tags={"queue": "returns"}) as stream:
        stream.send(speech[: 2 * RATE])
        summary = stream.stop()
    assert sum(event.kind == "frame_result" for event in stream) == summary.frames > 0


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_comes_twice_when_the_network_breaks(
    proxy: Proxy, speech: np.ndarray, plain: Ledger
) -> None:
    """Also while audio is under way, and while nobody can connect."""
    with EmotionClient(proxy.url) as client, client.stream() as stream:
        chunks = np.array_split(speech, 140)  # of 50 ms
        for i, chunk in enumerate(chunks):
            stream.send(chunk)
            if i in (40, 45, 100):
                proxy.away = i == 100
                proxy.cut()
                threading.Timer(0.7, setattr, (proxy, "away", False)).start()
            time.sleep(0.012)  # four times as fast as it was spoken
        summary = stream.stop()
        events = list(stream)
    same(ledger(events), plain)
    assert summary.audio_ms == 1000 * len(speech) / RATE
    opens = [event for event in events if isinstance(event, Opened)]
    assert len(opens) >= 3 and [o.resumed for o in opens] == [False] + [True] * (len(opens) - 1)
    assert not any(o.replaced for o in opens)
    states = [event.state for event in events if isinstance(event, State)]
    assert states[0] == "online" and "offline" in states


@pytest.mark.slow
def test_a_connection_that_breaks_while_stopping_still_gives_the_summary(
    proxy: Proxy, speech: np.ndarray
) -> None:
    with EmotionClient(proxy.url) as client, client.stream() as stream:
        stream.send(speech[: 2 * RATE])
        threading.Timer(0.1, proxy.cut).start()
        assert stream.stop().audio_ms == 2000


@pytest.mark.slow
def test_a_server_that_restarts_gets_the_rest_in_a_new_session(speech: np.ndarray) -> None:
    with running(**ROOMY) as server, EmotionClient(server.url) as client, client.stream() as stream:
        stream.send(speech[: 2 * RATE])
        stream.flush()
        server.restart()
        stream.send(speech[2 * RATE : 5 * RATE])
        stream.stop()
        events = list(stream)
    opens = [event for event in events if isinstance(event, Opened)]
    assert [o.replaced for o in opens] == [False, True] and opens[1].origin_ms == 2000
    summaries = [event for event in events if isinstance(event, Summary)]
    assert [s.audio_ms for s in summaries] == [2000, 3000]
    assert [s.reason for s in summaries] == ["shutdown", "stop"]


@pytest.mark.slow
def test_a_pace_that_the_server_does_not_like_is_slowed_down(speech: np.ndarray, plain: Ledger) -> None:
    with (
        running(limits__max_ahead_s=2, limits__max_chunk_s=1, limits__refill_rate=3) as server,
        EmotionClient(server.url) as client,
    ):
        with client.stream() as stream:
            stream.send(speech)
            summary = stream.stop()
        events = list(stream)
    same(ledger(events), plain)
    assert [e.code for e in events if isinstance(e, Waiting)][:1] == ["RATE_LIMITED"]
    assert summary.audio_ms == 1000 * len(speech) / RATE


@pytest.mark.slow
def test_errors_have_the_contracts_codes(server: Server, client: EmotionClient) -> None:
    assert code_of(lambda: opened(client, sampel_rate=8000)) == "BAD_REQUEST"
    assert code_of(lambda: opened(client, sample_rate=1000)) == "UNSUPPORTED_ENCODING"
    assert code_of(lambda: opened(client, encoding="opus")) == "UNSUPPORTED_ENCODING"
    with client.stream(session_id="mine"):
        assert code_of(lambda: opened(client, session_id="mine")) == "NOT_YOUR_SESSION"
    with EmotionClient(f"http://127.0.0.1:{free_port()}") as nobody:
        started = time.monotonic()
        assert code_of(lambda: opened(nobody)) == "DISCONNECTED"
        assert time.monotonic() - started > 1.5
    with client.stream() as stream:
        stream.stop()
        assert code_of(lambda: stream.send(b"\0\0")) == "CLOSED"
        assert code_of(stream.stop) == "CLOSED"
    with pytest.raises(TypeError), client.stream() as stream:
        stream.send("text")
    assert eventually(lambda: client.status()["sessions"] == 0, "all sessions are closed")


@pytest.mark.slow
def test_a_token_opens_a_server_that_asks_for_one() -> None:
    with running(model__name="fake", server__token="sesame") as server:
        with EmotionClient(server.url) as client:
            assert code_of(lambda: opened(client)) == "UNAUTHORIZED"
            assert code_of(client.status) == "UNAUTHORIZED"
        with EmotionClient(server.url, "sesame") as client, client.stream() as stream:
            assert client.status()["sessions"] == 1 and stream.session
        assert "sesame" not in repr(client)


@pytest.mark.slow
def test_a_refusal_ends_those_who_wait_for_events() -> None:
    """A server that does not come back: nobody hangs."""
    with running(model__name="fake") as server, EmotionClient(server.url) as client:
        stream = client.stream(connect_timeout_s=1)
        stream.__enter__()
        server.stop()
        assert code_of(lambda: list(stream)) == "DISCONNECTED"
        assert code_of(lambda: stream.send(b"\0\0")) == "DISCONNECTED"
        stream.close()


@pytest.mark.slow
def test_a_full_buffer_blocks_or_says_no(proxy: Proxy, speech: np.ndarray) -> None:
    with EmotionClient(proxy.url) as client, client.stream(buffer_s=2) as stream:
        proxy.frozen = True
        assert [stream.send(speech[:RATE], wait=False) for _ in range(3)] == [True, True, False]
        assert stream.buffered_ms == 2000
        waits = threading.Thread(target=stream.send, args=(speech[RATE : 2 * RATE],))
        waits.start()
        time.sleep(0.2)
        assert waits.is_alive()
        proxy.frozen = False
        proxy.cut()
        waits.join(15)
        assert not waits.is_alive()
        assert stream.stop().audio_ms == 3000


@pytest.mark.slow
def test_events_that_nobody_takes_are_bounded_and_the_gap_is_named(
    client: EmotionClient, speech: np.ndarray
) -> None:
    with client.stream(frame_results=True, max_events=50) as stream:
        stream.send(speech)
        summary = stream.stop()
        events = list(stream)
    assert len(events) <= 51 and isinstance(events[0], Skipped) and events[0].events > 300
    assert [e.raw for e in events if isinstance(e, Utterance)] == [u.raw for u in summary.utterances]
    assert isinstance(events[-1], Summary)


@pytest.mark.slow
def test_three_threads_may_share_a_stream(client: EmotionClient, speech: np.ndarray, plain: Ledger) -> None:
    events: list[Event] = []
    with client.stream() as stream:
        takes = threading.Thread(target=lambda: events.extend(stream))
        sends = threading.Thread(target=lambda: [stream.send(c) for c in np.array_split(speech, 70)])
        takes.start()
        sends.start()
        stream.flush()  # whatever has been given by now
        sends.join(30)
        stream.stop()
    takes.join(5)
    same(ledger(events), plain)


def test_a_client_leaves_no_thread_behind(server: Server) -> None:
    before = threading.active_count()
    for _ in range(3):
        with EmotionClient(server.url) as client, client.stream():
            assert threading.active_count() > before
    assert eventually(lambda: threading.active_count() == before, "all threads have ended")


def test_an_exception_in_the_block_ends_the_session_at_once(server: Server, client: EmotionClient) -> None:
    with pytest.raises(ZeroDivisionError), client.stream(session_id="doomed") as stream:
        stream.send(bytes(32000))
        1 / 0  # noqa: B018
    assert eventually(lambda: "session=doomed reason=stop" in server.log(), "closed", 3)


@pytest.mark.slow
def test_with_asyncio(server: Server, speech: np.ndarray, plain: Ledger) -> None:
    async def listen() -> list[Event]:
        events: list[Event] = []

        async def take() -> None:
            async for event in stream:
                events.append(event)

        async with AsyncEmotionClient(server.url) as client, client.stream() as stream:
            taking = asyncio.create_task(take())
            for chunk in np.array_split(speech, 70):
                await stream.send(chunk)
            await stream.flush()
            assert (await stream.stop()).lost_ms == 0
            await taking
        return events

    same(ledger(asyncio.run(listen())), plain)


@pytest.mark.slow
def test_results_alone_and_what_has_come_so_far(client: EmotionClient, speech: np.ndarray) -> None:
    with client.stream() as stream:
        stream.send(speech)
        first = next(stream.utterances())
        assert first.emotion in stream.session["labels"]
        stream.flush()
        assert {type(event) for event in stream.poll()} >= {Result, Speech}
        assert stream.poll() == []
        stream.stop()
        assert list(stream.results()) == []


@pytest.mark.parametrize(
    "when", ["opening", "sending", *(pytest.param(w, marks=pytest.mark.slow) for w in ("taking", "stopping"))]
)
def test_cancellation_leaves_nothing_behind(
    server: Server, proxy: Proxy, speech: np.ndarray, when: str
) -> None:
    async def work(client: AsyncEmotionClient) -> None:
        async with client.stream(buffer_s=1, connect_timeout_s=90, session_id=f"canceled-{when}") as stream:
            if when == "taking":
                async for _ in stream:
                    pass
            if when == "stopping":
                proxy.frozen = True
                await stream.stop()
            while True:
                await stream.send(speech)

    async def cancel() -> None:
        proxy.frozen = when == "opening"
        async with AsyncEmotionClient(proxy.url) as client:
            task = asyncio.create_task(work(client))
            await asyncio.sleep(0.5)
            assert not task.done()
            task.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - began < 60, "it has not waited for the server"
        # Only aiohttp's own closing of sockets may need another turn of the loop.
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(cancel())
    if when in ("sending", "taking"):
        said = f"session=canceled-{when} reason=stop"
        assert eventually(lambda: said in server.log(), "the server was told")


@pytest.mark.slow
def test_ten_streams_of_one_client_do_not_mix(client: EmotionClient, speech: np.ndarray) -> None:
    piece = speech[: 2 * RATE]
    found: dict[int, Summary] = {}

    def one(i: int) -> None:
        with client.stream() as stream:
            stream.send(piece if i % 2 else np.zeros_like(piece))
            found[i] = stream.stop()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {i: s.frames > 0 for i, s in found.items()} == {i: bool(i % 2) for i in range(10)}


def test_an_event_of_tomorrow_is_passed_on(server: Server) -> None:
    from emotion_stream_client.events import event_of

    event = event_of("mood_forecast", {"session_id": "s", "tomorrow": "happy"})
    assert type(event) is Event and event.kind == "mood_forecast" and event.raw["tomorrow"] == "happy"
    less = event_of("speech", {"session_id": "s"})  # a field that this version needs is missing
    assert type(less) is Event and less.kind == "speech"
    more = event_of("speech", {"session_id": "s", "state": "start", "at_ms": 0, "loudness": 3})
    assert isinstance(more, Speech) and more.raw["loudness"] == 3


@pytest.mark.slow
def test_a_session_that_the_server_closed_for_its_silence_is_replaced_when_there_is_audio(
    speech: np.ndarray,
) -> None:
    with running(limits__idle_timeout_s=1) as server, EmotionClient(server.url) as client:
        with client.stream() as stream:
            stream.send(speech[:RATE])
            assert eventually(lambda: stream.summary, "closed for its silence", 5)
            time.sleep(1)
            assert stream.session == {} and client.status()["sessions"] == 0
            stream.flush()  # nothing is left of it
            stream.send(speech[RATE : 3 * RATE])
            assert stream.stop().audio_ms == 2000
        events = list(stream)
    assert [e.reason for e in events if isinstance(e, Summary)] == ["idle", "stop"]
    assert [(e.replaced, e.origin_ms) for e in events if isinstance(e, Opened)] == [(False, 0), (True, 1000)]


def test_closing_the_client_ends_its_streams_and_those_who_wait(server: Server) -> None:
    client = EmotionClient(server.url)
    stream = client.stream(session_id="left-open")
    stream.__enter__()
    waits = threading.Thread(target=lambda: list(stream))
    waits.start()
    client.close()
    waits.join(5)
    assert not waits.is_alive()
    assert code_of(lambda: stream.send(b"\0\0")) == "CLOSED"
    assert eventually(lambda: "session=left-open reason=stop" in server.log(), "the server was told")


def test_a_server_behind_a_path_is_found() -> None:
    address = Address("https://voice.example/emotion/", "t")
    assert (address.origin, address.socket_path) == ("https://voice.example", "emotion/socket.io")
    assert address.at("api/v1/status") == "https://voice.example/emotion/api/v1/status"
    assert Address("http://localhost:7860").socket_path == "socket.io"


def test_a_plain_client_and_this_one_share_a_server(server: Server, client: EmotionClient) -> None:
    other = Client(server.url)
    try:
        other.start(session_id="theirs")
        with client.stream() as stream:
            assert stream.session["session_id"] != "theirs"
        assert other.stop(session_id="theirs")["audio_ms"] == 0
    finally:
        other.close()


@pytest.mark.parametrize("broken", [False, True])
def test_a_container_is_scored_and_goes_on_after_a_broken_connection(
    proxy: Proxy, speech: np.ndarray, broken: bool
) -> None:
    data = recorded(speech / np.float32(32768), "webm")
    with EmotionClient(proxy.url) as client, client.stream(encoding="auto") as stream:
        for at in range(0, len(data), 3000):
            if broken and 0 <= at - len(data) // 2 < 3000:
                proxy.cut()
            stream.send(data[at : at + 3000])
        summary = stream.stop()
    events = list(stream)
    assert summary.audio_ms == 1000 * len(speech) / RATE and not any(isinstance(e, Refused) for e in events)
    assert any(isinstance(e, Utterance) for e in events)


def test_a_container_that_is_broken_is_told_as_refused(client: EmotionClient, speech: np.ndarray) -> None:
    data = recorded(speech / np.float32(32768), "webm")
    with client.stream(encoding="webm") as stream:
        stream.send(data[:8] + b"webm" + bytes(range(256)) * 20)
        refused = next(event for event in stream if isinstance(event, Refused))
        assert refused.code == "BAD_AUDIO"
        stream.send(data)  # its header begins another one
        assert stream.stop().audio_ms >= 1000 * len(speech) / RATE
