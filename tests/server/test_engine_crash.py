"""The model process dies under load: no connection drops, every frame is scored afterwards or named as lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import MODES, engine_of, metrics, no_traceback, running
from tests.server.test_scores import from_file

Connect = Callable[..., Client]


def test_what_a_dead_model_held_is_scored_by_the_next(
    server: Server, connect: Connect, demo_pcm: bytes
) -> None:
    """The state of a session travels with its windows, so that not even the scores change."""
    from stream.models.fake import FakeModel

    client, engine = connect(server), engine_of(server)
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[: 2 * 32_000])
    engine.suspend()
    client.speak(demo_pcm[2 * 32_000 : 5 * 32_000], cut=9_600)
    engine.kill()
    client.speak(demo_pcm[5 * 32_000 : 8 * 32_000], cut=9_600)
    assert client.stop()["lost_ms"] == 0
    samples = ledger.np.frombuffer(demo_pcm[: 8 * 32_000], "<i2").astype("float32") / 32768
    ledger.same(ledger.of_client(client.heard, session_id), from_file(samples, FakeModel()))
    assert engine_of(server).pid != engine.pid


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_kill_minus_9_under_twenty_streams_drops_no_connection_and_loses_no_frame_in_silence(
    mode: str, connect: Connect, demo_pcm: bytes
) -> None:
    # The compact model takes seconds to load, of which most is the import of torch: what is measured here is the
    # supervision. Its restart with the compact model is below.
    with running(model__name="fake", server__async_mode=mode, engine__deadline_ms=60_000) as server:
        scored_again_after(server, connect, demo_pcm, streams=20)


@pytest.mark.slow
def test_the_embedded_model_is_back_within_seconds(connect: Connect, demo_pcm: bytes) -> None:
    with running(engine__deadline_ms=60_000) as server:
        scored_again_after(server, connect, demo_pcm, streams=6)


@pytest.mark.slow
def test_a_model_that_hangs_is_replaced(connect: Connect, demo_pcm: bytes) -> None:
    with running(model__name="fake", engine__hang_s=1.5) as server:
        client, engine = connect(server), engine_of(server)
        session_id = client.start()["session_id"]
        engine.suspend()
        client.speak(demo_pcm[: 3 * 32_000])
        client.wait_for("emotion_result")
        assert client.stop()["lost_ms"] == 0
        ledger.of_client(client.heard, session_id).balance()
        assert not engine.is_running() and engine_of(server).pid != engine.pid
        no_traceback(server.log())


def scored_again_after(server: Server, connect: Connect, audio: bytes, streams: int) -> None:
    """Real-time speech on `streams` connections; the engine is killed in its middle."""
    clients = [connect(server) for _ in range(streams)]
    ids = [client.start()["session_id"] for client in clients]
    with ThreadPoolExecutor(streams) as pool:
        speaking = [
            pool.submit(client.speak, audio[32_000 * (i % 4) :][: 9 * 32_000], 3_200, pace=1)
            for i, client in enumerate(clients)
        ]
        for client in clients:
            client.wait_for("emotion_result")
        killed = time.monotonic()
        engine_of(server).kill()
        for client in clients:
            eventually(
                lambda c=client: any(n == "emotion_result" for n, _ in since(c, killed + 0.3)), "results flow"
            )
        for done in speaking:
            done.result()
    for client, session_id in zip(clients, ids, strict=True):
        assert client.connected
        summary = client.stop(session_id=session_id)
        assert summary["audio_ms"] == 9_000
        book = ledger.of_client(client.heard, session_id)
        book.balance()
        assert summary["frames"] == len(book.scored) > 500
        assert not book.lost, "a restart takes less than a minute"
        assert not client.of("error")
    assert metrics(server)["emotion_engine_restarts_total"] == 1
    no_traceback(server.log())


def since(client: Client, moment: float) -> list[tuple[str, dict[str, object]]]:
    return [e for e, at in zip(list(client.heard), list(client.heard_at), strict=False) if at > moment]
