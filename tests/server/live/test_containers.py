"""Audio in containers on the socket: scored as its samples are, or refused with a code; nobody else notices."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, children_of, metrics, no_traceback, running
from tests.server.decoding.recorded import KINDS, UNREADABLE, decoded, recorded, video_alone
from tests.server.ledger import Ledger
from tests.server.live.test_scores import streamed

Connect = Callable[..., Client]

STREAMED = [kind for kind in KINDS if kind not in UNREADABLE]
SAME = 0.02  # of a probability: what two decoders of one recording may differ


@pytest.fixture(scope="module")
def speech(demo_samples: np.ndarray) -> np.ndarray:
    return demo_samples[: 6 * 16_000]


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def fake(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this module's own: its processes are counted and killed."""
    with running(model__name="fake", server__async_mode=request.param, **ROOMY) as server:
        yield server
        no_traceback(server.log().replace("code=INTERNAL", ""))


def pcm16(samples: np.ndarray) -> bytes:
    return bytes(np.rint(samples * 32767).astype("<i2").tobytes())


def say(client: Client, data: bytes, seed: int = 0, longest: int = 5000, **fields: object) -> set[str]:
    """Send it in pieces, again what may be sent again; the codes of what was refused for good."""
    dice, codes = random.Random(seed), set()
    while data:
        n = dice.randint(1, longest)
        answer = client.call("audio_stream", {"chunk": data[:n], **fields})
        if not answer["ok"] and answer["error"]["retryable"]:
            time.sleep(0.05)
            continue
        if not answer["ok"]:
            codes.add(answer["error"]["code"])
        data = data[n:]
    return codes


def said(client: Client, data: bytes, seed: int = 0, **start: object) -> Ledger:
    """One session from start to stop; its books, which balance."""
    session = client.start(**start)["session_id"]
    assert not say(client, data, seed, session_id=session)
    client.stop(session_id=session)
    book = ledger.of_client(client.heard, session)
    book.balance()
    return book


def decoders_of(server: Server) -> list[psutil.Process]:
    return [d for forker in children_of(server, "server.decoding.forker") for d in forker.children()]


def _of(session_id: str) -> Callable[[dict[str, object]], bool]:
    return lambda error: error.get("session_id") == session_id


def refusals(client: Client, session_id: str) -> list[str]:
    return [error["code"] for error in client.of("error", session_id)]


@pytest.mark.parametrize("kind", STREAMED)
def test_it_scores_as_its_samples_do(
    compact: Server, connect: Connect, speech: np.ndarray, kind: str
) -> None:
    data = recorded(speech, kind)
    samples = decoded(data).astype("<f4").tobytes()
    wanted = streamed(connect(compact), samples, encoding="pcm_f32le")
    found = said(connect(compact), data, seed=1)
    assert found.speech == wanted.speech
    assert np.abs(found.rows() - wanted.rows()).max() < SAME


def test_the_default_is_auto_and_needs_no_start(fake: Server, connect: Connect, speech: np.ndarray) -> None:
    data, client = recorded(speech, "webm"), connect(fake)
    client.speak(data, 3000)
    assert client.stop()["audio_ms"] == 6000
    assert client.of("emotion_result") and not client.of("error")


@pytest.mark.parametrize("kind", ["webm", "ogg", "flac", "mp3", "aac", "mp4"])
def test_a_container_may_be_declared_and_then_is_all_that_is_read(
    fake: Server, connect: Connect, speech: np.ndarray, kind: str
) -> None:
    data, client = recorded(speech, kind), connect(fake)
    assert streamed(client, data, 3000, encoding=kind).scored
    name = client.start(encoding=kind)["session_id"]
    for _ in range(20):
        client.send("audio_stream", {"chunk": pcm16(speech[:3200]), "session_id": name})
    assert client.stop(session_id=name)["speech_ms"] == 0, "raw samples are no container"
    assert set(refusals(client, name)) == {"BAD_AUDIO"}


@pytest.mark.parametrize("encoding", ["pcm_s16le", "mulaw", "pcm_f32le"])
@pytest.mark.parametrize("kind", STREAMED)
def test_where_samples_were_declared_it_is_refused_with_advice(
    fake: Server, connect: Connect, speech: np.ndarray, kind: str, encoding: str
) -> None:
    data, client = recorded(speech, kind), connect(fake)
    client.start(encoding=encoding)
    answers = [client.call("audio_stream", {"chunk": data[at : at + 9000]}) for at in (0, 9000, 18_000)]
    assert [answer["error"]["code"] for answer in answers] == ["UNSUPPORTED_ENCODING"] * 3
    assert "encoding: auto" in answers[0]["error"]["message"]
    assert client.call("audio_stream", {"chunk": data[:3]})["ok"] is False
    assert client.stop()["audio_ms"] == 0


def test_a_session_is_resumed_in_the_midst_of_a_container(
    fake: Server, connect: Connect, speech: np.ndarray
) -> None:
    data, client = recorded(speech, "webm"), connect(fake)
    started = client.start()
    pieces = [data[at : at + 3000] for at in range(0, len(data), 3000)]
    half = len(pieces) // 2
    for seq, piece in enumerate(pieces[:half]):
        client.call("audio_stream", {"chunk": piece, "seq": seq})
    client.kill()
    again = connect(fake)
    eventually(lambda: "session disconnected" in fake.log(), "the server has noticed")
    taken_up = again.start(resume_token=started["resume_token"])
    assert taken_up["resumed"] and taken_up["next_seq"] == half
    for seq, piece in enumerate(pieces[half - 1 :], half - 1):
        assert again.call("audio_stream", {"chunk": piece, "seq": seq})["ok"]
    assert again.stop()["audio_ms"] == 6000
    assert not again.of("error")


@pytest.mark.parametrize(("first", "second"), [("webm", "webm"), ("webm", "ogg"), ("flac", "mp4")])
def test_a_recorder_may_begin_again(
    fake: Server, connect: Connect, speech: np.ndarray, first: str, second: str
) -> None:
    """A new header at the start of a chunk: nothing of what came before it is lost."""
    client = connect(fake)
    session = client.start()["session_id"]
    one, two = recorded(speech, first), recorded(speech, second)
    for data in (one[:-500], two):
        client.speak(data, 3000, session_id=session)
    summary = client.stop()
    assert 11_500 < summary["audio_ms"] <= 12_000 + 100 and not client.of("error")


def test_after_what_is_broken_another_container_may_begin(
    fake: Server, connect: Connect, speech: np.ndarray
) -> None:
    data, client = recorded(speech, "webm"), connect(fake)
    session = client.start()["session_id"]
    client.call("audio_stream", {"chunk": data[:8] + b"webm" + b"\x55" * 20_000})
    told = client.wait_for("error", lambda error: error.get("session_id") == session)
    assert told["code"] == "BAD_AUDIO" and not told["retryable"]
    refused = client.call("audio_stream", {"chunk": bytes(3000)})
    assert refused["error"]["code"] == "BAD_AUDIO", "and is not taken for samples"
    client.speak(data, 3000)
    assert client.stop()["audio_ms"] >= 6000


def test_a_flush_waits_for_what_is_being_decoded(fake: Server, connect: Connect, speech: np.ndarray) -> None:
    data, client = recorded(speech, "webm"), connect(fake)
    client.start()
    client.send("audio_stream", {"chunk": data[:-4000]})
    assert client.call("flush")["ok"]
    received = client.call("audio_stream", {"chunk": data[-4000:]})["received_ms"]
    assert received > 5000, "so many had been decoded before the flush was answered"
    client.stop()


def test_two_channels_and_one_in_their_place(fake: Server, connect: Connect, speech: np.ndarray) -> None:
    both = np.stack([speech, np.zeros_like(speech)], axis=1)
    client = connect(fake)
    session = client.start(channels=2)["session_id"]
    client.speak(recorded(both, "flac", "stereo"), 3000)
    channels = client.stop()["channels"]
    assert channels["agent"]["speech_ms"] > 2000 and channels["customer"]["speech_ms"] == 0
    mono = client.start(channels=2)["session_id"]
    for _ in range(2):
        client.send("audio_stream", {"chunk": recorded(speech, "flac")[:20_000], "session_id": mono})
    client.wait_for("error", lambda error: error.get("session_id") == mono)
    assert refusals(client, mono)[0] == "UNSUPPORTED_ENCODING" and not refusals(client, session)


@pytest.mark.parametrize(
    ("what", "words"),
    [("file", "send it as a file"), ("video", "no audio track"), ("encrypted", "encrypted")],
)
def test_what_needs_seeking_shows_pictures_or_is_encrypted_is_unsupported(
    fake: Server, connect: Connect, speech: np.ndarray, what: str, words: str
) -> None:
    if what == "video":
        data = video_alone()
    else:
        data = recorded(np.tile(speech, 4), "mp4 as a file" if what == "file" else what)
    client = connect(fake)
    session = client.start()["session_id"]
    client.call("audio_stream", {"chunk": data})
    assert client.stop()["audio_ms"] == 0
    (told,) = client.of("error", session)
    assert told["code"] == "UNSUPPORTED_ENCODING" and words in told["message"]


def test_decoders_that_are_killed_and_stopped_are_told_and_neighbors_do_not_notice(
    fake: Server, connect: Connect, speech: np.ndarray
) -> None:
    data = recorded(speech, "webm")
    alone = streamed(connect(fake), pcm16(speech), 3200)
    together = streamed(connect(fake), data, 3000)
    eventually(lambda: not decoders_of(fake), "those of earlier sessions are gone")
    clients = [connect(fake) for _ in range(4)]
    sessions = [client.start()["session_id"] for client in clients[:3]]
    processes = []
    for client in clients[:3]:
        client.call("audio_stream", {"chunk": data[:6000]})
        client.call("flush")
        processes.append(next(p for p in decoders_of(fake) if p not in processes))
    processes[0].kill()
    processes[1].suspend()
    for client in clients[:2]:
        client.send("audio_stream", {"chunk": data[6000:12_000]})
    with ThreadPoolExecutor() as pool:
        beside = pool.submit(streamed, clients[3], pcm16(speech), 3200)
        for client, session in zip(clients[:2], sessions[:2], strict=True):
            told = client.wait_for("error", _of(session))
            assert told["code"] == "INTERNAL"
        ledger.same(beside.result(), alone)
    eventually(lambda: not any(p.is_running() for p in processes[:2]), "and both are gone")
    clients[2].speak(data[6000:], 3000)
    clients[2].stop()
    book = ledger.of_client(clients[2].heard, sessions[2])
    assert book.speech and set(book.scored) | set(together.scored) == set(together.scored)


def damaged(whole: dict[str, bytes], seed: int) -> bytes:
    """Truncated, flipped, swapped, grown; or noise behind a true beginning."""
    dice = random.Random(seed)
    data = bytearray(whole[dice.choice(list(whole))])
    match seed % 8:
        case 0:
            return bytes(data[: dice.randint(1, len(data))])
        case 1:
            for _ in range(dice.randint(1, 200)):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        case 2:
            at, n = dice.randrange(len(data) // 2), dice.randint(1, 4000)
            data[at : at + n], data[-n:] = data[-n:], data[at : at + n]
        case 3:
            data[dice.randint(12, 600) :] = dice.randbytes(20_000)
        case 4:  # sizes that promise gigabytes
            at = dice.randrange(4, 400)
            data[at : at + 8] = b"\xff" * 8
        case 5:
            del data[: dice.randint(1, 5000)]
        case 6:
            other = whole[dice.choice(list(whole))]
            data[dice.randrange(len(data)) :] = other[dice.randrange(len(other)) :]
        case _:
            at = dice.randrange(len(data))
            data[at:at] = dice.randbytes(dice.randint(1, 3000))
    return bytes(data)


@pytest.mark.slow
def test_two_hundred_damaged_or_foreign_containers_harm_nobody(
    fake: Server, connect: Connect, speech: np.ndarray
) -> None:
    """Each is told with a code, or scored as what is left of it; a neighbor scores as if it were alone."""
    whole = {kind: recorded(speech, kind) for kind in KINDS}
    codes = {"BAD_AUDIO", "UNSUPPORTED_ENCODING"}
    alone = streamed(connect(fake), pcm16(speech), 3200)
    done: list[str] = []

    def one(seed: int) -> str:
        data, client = damaged(whole, seed), connect(fake)
        session = client.start()["session_id"]
        refused = say(client, data, seed, session_id=session)
        summary = client.stop(session_id=session)
        told = refused | set(refusals(client, session))
        client.close()
        assert told <= codes, told
        assert summary["audio_ms"] < 20_000
        return "told" if told else "scored"

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(one, seed) for seed in range(200)]
        neighbors = [pool.submit(streamed, connect(fake), pcm16(speech), 3200) for _ in range(3)]
        done = [job.result() for job in jobs]
        for neighbor in neighbors:
            ledger.same(neighbor.result(), alone)
    assert done.count("told") > 40 and done.count("scored") > 20, done
    ledger.same(streamed(connect(fake), pcm16(speech), 3200), alone)
    eventually(lambda: not decoders_of(fake), "no decoder is left")


@pytest.mark.slow
def test_after_a_hundred_sessions_nothing_is_left(fake: Server, connect: Connect, speech: np.ndarray) -> None:
    data, process = recorded(speech[:16_000], "webm"), psutil.Process(fake.process.pid)

    def session(leaves: bool) -> None:
        client = connect(fake)
        client.start()
        client.speak(data, 3000)
        if not leaves:
            client.stop()
        client.close()

    def some(n: int) -> None:
        for i in range(n):
            session(leaves=i % 10 == 0)

    def settled() -> bool:
        return metrics(fake)["emotion_sessions"] == metrics(fake)["emotion_decoders"] == 0

    some(10)
    eventually(settled, "all are over")
    files, threads = process.num_fds(), process.num_threads()
    some(100)
    eventually(settled, "all are over")
    eventually(lambda: process.num_fds() <= files + 2, "no descriptor is left")
    eventually(lambda: process.num_threads() <= threads + 2, "no thread either")
    assert not decoders_of(fake) and len(children_of(fake, "server.decoding.forker")) == 1


@pytest.mark.parametrize("mode", EVENTLET_FIRST)
def test_it_may_not_run_ahead_any_more_than_samples_may(
    connect: Connect, speech: np.ndarray, mode: str
) -> None:
    long = recorded(np.tile(speech, 12), "webm")
    settings = {"limits__max_ahead_s": 6, "limits__decoders": 1, "limits__refill_rate": 30}
    with running(model__name="fake", server__async_mode=mode, **settings) as server:
        client, refused = connect(server), 0
        client.start()
        began = time.monotonic()
        pieces = [long[at : at + 3000] for at in range(0, len(long), 3000)]
        for seq, piece in enumerate(pieces):
            while not (answer := client.call("audio_stream", {"chunk": piece, "seq": seq}))["ok"]:
                assert answer["error"]["code"] == "RATE_LIMITED" and answer["next_seq"] == seq
                refused += 1
                time.sleep(0.2)
            if not seq:
                client.call("flush")  # its decoder has started
        assert refused, "it was asked to wait"
        other = connect(server)
        other.start()
        full = other.call("audio_stream", {"chunk": long[:3000]})
        assert full["error"]["code"] == "TOO_MANY_SESSIONS" and full["error"]["retryable"]
        assert client.stop()["audio_ms"] == 72_000, "and nothing was lost"
        assert time.monotonic() - began > (72 - 6) / 30 - 1, "no faster than it may"
        eventually(
            lambda: other.call("audio_stream", {"chunk": long[:3000]})["ok"], "the place is free again"
        )
        other.stop()
