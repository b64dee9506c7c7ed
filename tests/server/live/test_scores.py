"""How audio is cut, who else is served and whether it streams at all: none of it changes a score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from server import config
from stream import offline
from stream.types import EmotionModel, UtteranceScored
from tests.conftest import ROOT, Server
from tests.server import ledger
from tests.server.clients import Client, cuttings
from tests.server.conftest import metrics
from tests.server.ledger import Ledger

DTYPES = ("float32", "bfloat16")  # as the processor likes
STRETCH = slice(0, 3 * 32_000)  # bytes: some silence, then speech

Connect = Callable[..., Client]


def streamed(client: Client, audio: bytes, cut: int | list[int] = 32_000, **start: object) -> Ledger:
    """One session from start to stop; its books, which balance."""
    session_id = client.start(**start)["session_id"]
    client.speak(audio, cut, session_id=session_id)
    client.stop(session_id=session_id)
    book = ledger.of_client(client.heard, session_id)
    book.balance()
    return book


def from_file(samples: np.ndarray, model: EmotionModel) -> Ledger:
    """What `offline` says of the same samples, with the settings the server runs with."""
    settings = config.load(ROOT / "config.yaml").stream_config(model.spec)
    return ledger.of_events(offline.run([samples], model, settings))


@pytest.fixture(scope="module")
def file_book(demo_samples: np.ndarray, model: EmotionModel) -> Ledger:
    return from_file(demo_samples, model)


def test_streaming_equals_the_file(
    compact: Server, connect: Connect, demo_pcm: bytes, file_book: Ledger
) -> None:
    ledger.same(streamed(connect(compact), demo_pcm, cut=64_000), file_book)


def test_utterances_equal_the_files(
    compact: Server, connect: Connect, demo_pcm: bytes, demo_samples: np.ndarray, model: EmotionModel
) -> None:
    client = connect(compact)
    streamed(client, demo_pcm)
    settings = config.load(ROOT / "config.yaml").stream_config(model.spec)
    events = offline.run([demo_samples], model, settings)
    said = [e for e in events if isinstance(e, UtteranceScored)]
    heard = client.of("utterance_result")
    assert [(u["start_ms"], u["end_ms"]) for u in heard] == [(10 * e.start, 10 * e.end) for e in said]
    for one, other in zip(heard, said, strict=True):
        assert list(one["scores"].values()) == pytest.approx(other.probs.tolist(), abs=ledger.TOLERANCE)


@pytest.mark.slow
def test_twenty_random_cuttings_give_the_same_scores(
    compact: Server, connect: Connect, demo_pcm: bytes, demo_samples: np.ndarray, model: EmotionModel
) -> None:
    audio = demo_pcm[STRETCH]
    expected = from_file(demo_samples[: len(audio) // 2], model)
    for sizes in cuttings(len(audio), n=20, longest=64_000):
        client = connect(compact)
        ledger.same(streamed(client, audio, sizes), expected)
        client.close()


def test_one_byte_at_a_time_gives_the_same_scores(
    compact: Server, connect: Connect, demo_pcm: bytes, file_book: Ledger
) -> None:
    first = file_book.spans[0][0] * 320
    audio = demo_pcm[first : first + 6_400 + 2_400]
    client = connect(compact)
    ledger.same(streamed(client, audio, cut=1), streamed(client, audio, cut=len(audio)))


@pytest.mark.slow
def test_who_else_is_being_served_changes_nothing(compact: Server, connect: Connect, demo_pcm: bytes) -> None:
    stretches = [demo_pcm[at : at + 4 * 32_000] for at in range(0, 16 * 32_000, 64_000)]
    clients = [connect(compact) for _ in stretches]
    with ThreadPoolExecutor(len(clients)) as pool:
        together = list(pool.map(streamed, clients, stretches, [3200] * len(clients)))
    for stretch, book in zip(stretches, together, strict=True):
        ledger.same(book, streamed(clients[0], stretch))


def test_a_second_session_on_the_same_connection_begins_afresh(
    compact: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(compact)
    ledger.same(streamed(client, demo_pcm[STRETCH]), streamed(client, demo_pcm[STRETCH]))


def test_sessions_that_share_a_connection_do_not_mix(
    compact: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client, stretches = connect(compact), [demo_pcm[STRETCH], demo_pcm[6 * 32_000 : 9 * 32_000]]
    ids = [client.start()["session_id"] for _ in stretches]
    for at in range(0, len(stretches[0]), 9_999):
        for session_id, audio in zip(ids, stretches, strict=True):
            client.speak(audio[at : at + 9_999], session_id=session_id)
    for session_id, audio in zip(ids, stretches, strict=True):
        client.stop(session_id=session_id)
        ledger.same(ledger.of_client(client.heard, session_id), streamed(client, audio))


def test_the_stream_equals_the_file_whatever_the_mode(
    server: Server, connect: Connect, demo_pcm: bytes, demo_samples: np.ndarray
) -> None:
    from stream.models.fake import FakeModel

    sizes = next(cuttings(len(demo_pcm), n=1, longest=64_000, seed=7))
    ledger.same(streamed(connect(server), demo_pcm, sizes), from_file(demo_samples, FakeModel()))


def test_the_wav_file_itself_equals_its_samples(
    compact: Server, connect: Connect, demo_wav: Path, file_book: Ledger
) -> None:
    whole = demo_wav.read_bytes()
    assert soundfile.info(demo_wav).frames * 2 < len(whole)
    ledger.same(streamed(connect(compact), whole, cut=33_333, encoding="wav"), file_book)


@pytest.mark.slow
def test_the_command_line_says_what_the_socket_says(
    compact: Server, connect: Connect, demo_pcm: bytes, demo_wav: Path
) -> None:
    command = [sys.executable, "-m", "cli", "analyze", "--granularity", "frame", str(demo_wav)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    result = json.loads(said.stdout)
    book = streamed(connect(compact), demo_pcm, cut=64_000)
    assert [ms // 10 for ms in result["frame_start_ms"]] == sorted(book.scored)
    np.testing.assert_allclose(book.rows(), result["frame_scores"], rtol=0, atol=2 * ledger.TOLERANCE)


def test_the_model_in_use_is_named(compact: Server) -> None:
    found = metrics(compact)
    named = {f'emotion_model_info{{device="cpu",dtype="{dtype}",model="compact"}}' for dtype in DTYPES}
    assert [found[name] for name in named & found.keys()] == [1]
