"""Two channels: two timelines, each with every promise of a session by itself."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.models.fake import FakeModel
from stream.types import EmotionModel
from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Payload, cuttings
from tests.server.conftest import EVENTLET_FIRST, ROOMY, held, metrics, no_traceback, running
from tests.server.ledger import Ledger
from tests.server.live.test_scores import from_file

Connect = Callable[..., Client]
PEOPLE = ("agent", "customer")


@pytest.fixture(scope="module")
def call(demo_samples: np.ndarray) -> np.ndarray:
    """Seven seconds (n, 2) in which both speak, at different times and loudness: 16-bit samples."""
    n = 7 * 16_000
    left, right = demo_samples[:n], 0.4 * demo_samples[5 * 16_000 : 5 * 16_000 + n]
    return np.asarray(np.rint(np.stack([left, right], axis=1) * 32767), "<i2")


def books(client: Client, session_id: str) -> dict[str, Ledger]:
    found = {name: ledger.of_client(client.heard, session_id, name) for name in PEOPLE}
    for book in found.values():
        book.balance()
    return found


def expected(call: np.ndarray, model: EmotionModel) -> dict[str, Ledger]:
    """What each channel gives as a recording of its own."""
    floats = call.astype(np.float32) / 32768
    return {name: from_file(np.ascontiguousarray(floats[:, i]), model) for i, name in enumerate(PEOPLE)}


def told(client: Client, audio: bytes, cut: int | list[int], **start: object) -> tuple[str, Payload]:
    session_id = client.start(channels=2, **start)["session_id"]
    client.speak(audio, cut, session_id=session_id)
    return session_id, client.stop(session_id=session_id)


def test_each_channel_equals_a_recording_of_its_own(
    compact: Server, connect: Connect, call: np.ndarray, model: EmotionModel
) -> None:
    client = connect(compact)
    session_id, summary = told(client, call.tobytes(), 6_401)
    found, wanted = books(client, session_id), expected(call, model)
    for name in PEOPLE:
        ledger.same(found[name], wanted[name])
        of_channel = summary["channels"][name]
        assert of_channel["frames"] == len(found[name].scored)
        assert of_channel["speech_ms"] == 10 * len(found[name].speech)
        assert sum(of_channel["share"].values()) == pytest.approx(1, abs=1e-4)
        said = [u for u in summary["utterances"] if u["channel"] == name]
        assert [(u["start_ms"], u["end_ms"]) for u in said] == [
            (10 * start, 10 * end) for start, end in wanted[name].spans if end is not None
        ]
    for field in ("speech_ms", "lost_ms", "frames"):
        assert summary[field] == sum(summary["channels"][name][field] for name in PEOPLE)
    assert summary["audio_ms"] == 7_000, "the call's length, not that of both together"
    assert all("channel" in p for n, p in client.heard if n not in ("session_summary", "alert", "dynamics"))


@pytest.mark.slow
def test_any_cutting_gives_the_same(server: Server, connect: Connect, call: np.ndarray) -> None:
    wanted = expected(call, FakeModel())
    client = connect(server)
    for sizes in cuttings(call.nbytes, 3, 40_000):
        session_id, _ = told(client, call.tobytes(), sizes)
        for name, book in books(client, session_id).items():
            ledger.same(book, wanted[name])


def test_a_stereo_wav_and_stereo_mulaw(server: Server, connect: Connect, call: np.ndarray) -> None:
    client = connect(server)
    wav = io.BytesIO()
    soundfile.write(wav, call, 16_000, "PCM_16", format="WAV")
    raw = io.BytesIO()
    soundfile.write(raw, call, 16_000, format="RAW", subtype="ULAW")
    for file, start in ((wav, {"encoding": "wav"}), (wav, {}), (raw, {"encoding": "mulaw"})):
        session_id, _ = told(client, file.getvalue(), 3_001, **start)
        file.seek(0)
        if file is raw:
            how = {"samplerate": 16_000, "channels": 2, "format": "RAW", "subtype": "ULAW"}
            heard, _ = soundfile.read(file, dtype="float32", **how)
            model = FakeModel()
            lines = [from_file(np.ascontiguousarray(heard[:, i]), model) for i in (0, 1)]
        else:
            lines = list(expected(call, FakeModel()).values())
        for book, line in zip(books(client, session_id).values(), lines, strict=True):
            ledger.same(book, line)


def test_a_wav_of_one_channel_is_refused_with_words(server: Server, connect: Connect, demo_wav: Path) -> None:
    client = connect(server)
    client.start(channels=2)
    answer = client.call("audio_stream", {"chunk": demo_wav.read_bytes()[:20_000]})
    assert answer["error"]["code"] == "UNSUPPORTED_ENCODING" and "two channels" in answer["error"]["message"]


def test_a_stereo_wav_in_a_session_of_one_channel_is_still_mixed(
    server: Server, connect: Connect, call: np.ndarray
) -> None:
    client = connect(server)
    wav = io.BytesIO()
    soundfile.write(wav, call, 16_000, "PCM_16", format="WAV")
    session_id = client.start()["session_id"]
    client.speak(wav.getvalue())
    summary = client.stop()
    mixed = (call.astype(np.float32) / 32768).mean(axis=1, dtype=np.float32)
    ledger.same(ledger.of_client(client.heard, session_id), from_file(mixed, FakeModel()))
    assert "channels" not in summary
    assert not any("channel" in p for _, p in client.heard)


def test_start_says_who_is_where_and_what_is_left_over_is_told(
    server: Server, connect: Connect, call: np.ndarray
) -> None:
    client = connect(server)
    opened = client.start(channels=2)
    assert (opened["channels"], opened["watch"]) == (["agent", "customer"], "both")
    client.speak(call.tobytes()[: 4 * 8_000 + 3])
    assert client.stop()["incomplete_bytes"] == 3
    assert "channels" not in client.start()


def test_frame_results_carry_their_channel(server: Server, connect: Connect, call: np.ndarray) -> None:
    client = connect(server)
    session_id, summary = told(client, call.tobytes(), 32_000, frame_results=True)
    frames = client.of("frame_result", session_id)
    for name in PEOPLE:
        assert sum(f["channel"] == name for f in frames) == summary["channels"][name]["frames"]


def test_flush_and_resume_keep_both(server: Server, connect: Connect, call: np.ndarray) -> None:
    """Cut by a flush, the books still balance; a second connection goes on where the first broke off."""
    client = connect(server)
    opened = client.start(channels=2)
    session_id = opened["session_id"]
    audio = call.tobytes()
    for seq, at in enumerate(range(0, len(audio) // 2, 16_000)):
        client.call("audio_stream", {"chunk": audio[at : min(at + 16_000, len(audio) // 2)], "seq": seq})
    assert client.call("flush")["ok"]
    halfway = books(client, session_id)  # balance: all that was speech has been scored
    client.kill()
    again = connect(server)
    resumed = again.start(resume_token=opened["resume_token"])
    assert resumed["resumed"] and resumed["channels"] == ["agent", "customer"]
    again.call("audio_stream", {"chunk": audio[len(audio) // 2 :], "seq": resumed["next_seq"]})
    summary = again.stop()
    for name in PEOPLE:
        rest = ledger.of_client(again.heard, session_id, name)
        rest.balance()
        assert summary["channels"][name]["frames"] == len(halfway[name].scored) + len(rest.scored)


@pytest.mark.slow
def test_both_channels_count_as_audio(connect: Connect, call: np.ndarray) -> None:
    with running(model__name="fake", **ROOMY) as server:
        client = connect(server)
        told(client, call.tobytes(), 32_000)
        counted = metrics(server)
        assert counted["emotion_audio_seconds_total"] == pytest.approx(14)
        assert counted["emotion_audio_seconds_total"] == pytest.approx(
            counted["emotion_speech_seconds_total"] + counted["emotion_silence_seconds_total"], abs=0.3
        ), "but for pre-rolls, which are counted as silence before they turn out to be speech"
        client.start(channels=2)
        assert (metrics(server)["emotion_sessions"], metrics(server)["emotion_channels"]) == (1, 2)


@pytest.mark.slow
def test_a_session_of_two_channels_takes_two_places(connect: Connect) -> None:
    with running(model__name="fake", limits__max_sessions=3) as server:
        client = connect(server)
        client.start(channels=2)
        answer = client.call("start", {"channels": 2})
        assert answer["error"]["code"] == "TOO_MANY_SESSIONS"
        client.start()


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def tight(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that loses things: it gives up after 0.5 s, and holds three windows."""
    with running(
        model__name="fake",
        server__async_mode=request.param,
        engine__deadline_ms=500,
        engine__max_queue=3,
        limits__max_chunk_s=10,
        stream__ring_s=13,
    ) as server:
        yield server
        no_traceback(server.log())


@pytest.mark.slow
def test_what_is_lost_is_lost_on_its_channel(tight: Server, connect: Connect, call: np.ndarray) -> None:
    audio, dice = call.tobytes(), random.Random(3)
    clients = [connect(tight) for _ in range(3)]
    ids = [client.start(channels=2)["session_id"] for client in clients]
    lost = 0
    with held(tight):
        for client in clients:
            client.speak(audio[: len(audio) // 3], dice.randint(3_000, 30_000))
        clients[0].wait_for("lost")
    for client, session_id in zip(clients, ids, strict=True):
        client.speak(audio[len(audio) // 3 :], 16_000)
        summary = client.stop()
        for name, book in books(client, session_id).items():
            assert summary["channels"][name]["lost_ms"] == 10 * len(book.lost)
            assert summary["channels"][name]["frames"] == len(book.scored)
            lost += len(book.lost)
    assert lost
