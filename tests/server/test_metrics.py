"""The operator's books: what /metrics says adds up with what was sent and told."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, eventually
from tests.server.conftest import EVENTLET_FIRST, ROOMY, engine_of, held, metrics, no_traceback, running

Connect = Callable[..., Client]

NAMES = {
    "emotion_connections": "gauge",
    "emotion_connections_cut": "counter",
    "emotion_door_connections": "counter",
    "emotion_utterance_known_seconds": "histogram",
    "emotion_utterance_arousal": "histogram",
    "emotion_utterance_valence": "histogram",
    "emotion_uncertain_utterances": "counter",
    "emotion_sockets": "gauge",
    "emotion_sessions": "gauge",
    "emotion_desks": "gauge",
    "emotion_audio_seconds": "counter",
    "emotion_speech_seconds": "counter",
    "emotion_silence_seconds": "counter",
    "emotion_frames": "counter",
    "emotion_frame_latency_seconds": "histogram",
    "emotion_queue_seconds": "histogram",
    "emotion_inference_seconds": "histogram",
    "emotion_batch_windows": "histogram",
    "emotion_file_results": "counter",
    "emotion_file_recognition_seconds": "histogram",
    "emotion_load_level": "gauge",
    "emotion_lag_seconds": "gauge",
    "emotion_engine_busy_ratio": "gauge",
    "emotion_server_busy_ratio": "gauge",
    "emotion_requests": "counter",
    "emotion_errors": "counter",
    "emotion_lost_seconds": "counter",
    "emotion_results_dropped": "counter",
    "emotion_resumes": "counter",
    "emotion_channels": "gauge",
    "emotion_decoders": "gauge",
    "emotion_decoding_failures": "counter",
    "emotion_interruptions": "counter",
    "emotion_reactions": "counter",
    "emotion_reaction_seconds": "counter",
    "emotion_overlap_seconds": "counter",
    "emotion_alerts": "counter",
    "emotion_webhooks": "counter",
    "emotion_records": "counter",
    "emotion_files": "counter",
    "emotion_file_seconds": "counter",
    "emotion_files_running": "gauge",
    "emotion_files_receiving": "gauge",
    "emotion_log_lines_dropped": "counter",
    "emotion_engine_up": "gauge",
    "emotion_engine_restarts": "counter",
    "emotion_engine_fallbacks": "counter",
    "emotion_replica_up": "gauge",
    "emotion_replica_outstanding_windows": "gauge",
    "emotion_replica_restarts": "counter",
    "emotion_replica_windows": "counter",
    "emotion_replica_batches": "counter",
    "emotion_replica_busy_seconds": "counter",
    "emotion_queue_windows": "gauge",
    "emotion_connections_limit": "gauge",
    "emotion_sessions_limit": "gauge",
    "emotion_queue_limit": "gauge",
    "emotion_model_info": "gauge",
}
LABELS = {
    "emotion_door_connections_total": {"door"},
    "emotion_connections_cut_total": {"reason"},
    "emotion_decoding_failures_total": {"code"},
    "emotion_files_total": {"result"},
    "emotion_frames_total": {"emotion"},
    "emotion_file_results_total": {"emotion"},
    "emotion_requests_total": {"endpoint", "status"},
    "emotion_errors_total": {"code"},
    "emotion_lost_seconds_total": {"code"},
    "emotion_results_dropped_total": {"event"},
    "emotion_interruptions_total": {"channel"},
    "emotion_reactions_total": {"channel"},
    "emotion_reaction_seconds_total": {"channel"},
    "emotion_alerts_total": {"rule", "level"},
    "emotion_webhooks_total": {"target", "result"},
    "emotion_records_total": {"result"},
    "emotion_engine_fallbacks_total": {"remedy"},
    "emotion_replica_up": {"replica"},
    "emotion_replica_outstanding_windows": {"replica"},
    "emotion_replica_restarts_total": {"replica"},
    "emotion_replica_windows_total": {"replica"},
    "emotion_replica_batches_total": {"replica"},
    "emotion_replica_busy_seconds_total": {"replica"},
    "emotion_model_info": {"model", "device", "dtype"},
    "emotion_gpu_utilisation_ratio": {"gpu"},
    "emotion_gpu_memory_bytes": {"gpu"},
    "emotion_gpu_memory_total_bytes": {"gpu"},
}
CODES = {
    "BAD_REQUEST",
    "BAD_AUDIO",
    "UNSUPPORTED_ENCODING",
    "CHUNK_TOO_LARGE",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_YOUR_SESSION",
    "CLOSED",
    "UNKNOWN_HOST",
    "CROSS_SITE",
    "TOO_MANY_SESSIONS",
    "RATE_LIMITED",
    "QUOTA_EXCEEDED",
    "NOT_READY",
    "OVERLOADED",
    "INFERENCE_TIMEOUT",
    "INFERENCE_FAILED",
    "FILE_TOO_LARGE",
    "UNSUPPORTED_MEDIA",
    "NO_AUDIO",
    "BUSY",
    "NO_ROOM",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "INTERNAL",
}


@pytest.fixture(scope="module", params=EVENTLET_FIRST)
def fresh(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(
        model__name="fake", server__async_mode=request.param, engine__deadline_ms=500, **ROOMY
    ) as server:
        yield server
        no_traceback(server.log())


class since:
    """Changes of the metrics: `since(server)["emotion_audio_seconds_total"]`."""

    def __init__(self, server: Server) -> None:
        self._server, self._before = server, metrics(server)

    def __getitem__(self, name: str) -> float:
        return metrics(self._server).get(name, 0) - self._before.get(name, 0)

    def total(self, prefix: str) -> float:
        now = metrics(self._server)
        return sum(now[name] - self._before.get(name, 0) for name in now if name.startswith(prefix))


def test_only_names_and_labels_of_the_contract_are_exported(
    fresh: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(fresh)
    client.speak(demo_pcm[:64_000])
    client.call("no-such-event")
    client.stop()
    text = fresh.get("/metrics")[1]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    helped = set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    gpu = {name for name in kinds if name.startswith("emotion_gpu")}
    assert {name.removesuffix("_total"): kind for name, kind in kinds.items() if name not in gpu} == NAMES
    assert helped == set(kinds)
    for line in metrics(fresh):
        name, _, labels = line.partition("{")
        used = set(re.findall(r'(\w+)="', labels))
        assert used == ({"le"} if name.endswith("_bucket") else LABELS.get(name, set())), line
    assert set(re.findall(r'emotion_errors_total\{code="(\w+)"\}', text)) == CODES
    buckets = re.findall(r'emotion_frame_latency_seconds_bucket\{le="([^"]+)"\}', text)
    assert (float(buckets[0]), float(buckets[-2]), buckets[-1]) == (0.001, 5.0, "+Inf")


def test_counters_add_up_with_what_was_sent_and_told(
    fresh: Server, connect: Connect, demo_pcm: bytes
) -> None:
    clients = [connect(fresh) for _ in range(3)]
    grown = since(fresh)
    lengths = (11, 7, 4)
    ids = [client.start()["session_id"] for client in clients]
    for client, seconds in zip(clients, lengths, strict=True):
        client.speak(demo_pcm[: seconds * 32_000], cut=9_998)
    assert metrics(fresh)["emotion_sessions"] == 3 and metrics(fresh)["emotion_connections"] >= 3
    summaries = [client.stop() for client in clients]
    books = [ledger.of_client(c.heard, i) for c, i in zip(clients, ids, strict=True)]
    results = [result for client in clients for result in client.of("emotion_result")]

    assert grown["emotion_audio_seconds_total"] == pytest.approx(sum(lengths))
    assert grown["emotion_speech_seconds_total"] == pytest.approx(
        sum(s["speech_ms"] for s in summaries) / 1000
    )
    both = grown["emotion_speech_seconds_total"] + grown["emotion_silence_seconds_total"]
    assert both == pytest.approx(sum(lengths), abs=0.2 * len(clients)), "up to a pre-roll for each"
    assert grown.total("emotion_frames_total") == sum(len(book.scored) for book in books)
    told = [utterance for summary in summaries for utterance in summary["utterances"]]
    for name in ("arousal", "valence"):
        assert grown[f"emotion_utterance_{name}_count"] == len(told) > 0
        assert grown[f'emotion_utterance_{name}_bucket{{le="0.1"}}'] == sum(u[name] <= 0.1 for u in told)
    assert grown["emotion_uncertain_utterances_total"] == sum(u["uncertain"] for u in told)
    for emotion in ("angry", "neutral"):
        told = sum(result["frame_emotions"].count(emotion) for result in results)
        assert grown[f'emotion_frames_total{{emotion="{emotion}"}}'] == told
    assert grown["emotion_frame_latency_seconds_count"] == len(results)
    assert grown["emotion_queue_seconds_count"] == len(results)
    assert grown["emotion_batch_windows_sum"] == len(results)
    assert grown["emotion_inference_seconds_count"] == grown["emotion_batch_windows_count"]
    told_s = sum(result["latency_ms"] for result in results) / 1000
    assert grown["emotion_frame_latency_seconds_sum"] == pytest.approx(told_s, abs=1e-4 * len(results))
    assert grown.total("emotion_lost") == grown.total("emotion_errors") == 0


def test_batches_of_files_are_counted_like_those_of_sessions(fresh: Server, demo_wav: Path) -> None:
    grown = since(fresh)
    upload = {"audio_file": (demo_wav.name, demo_wav.read_bytes())}
    answer = requests.post(fresh.url + "/api/v1/emotion/recognize", files=upload, timeout=60)
    assert answer.ok, answer.text
    (score,) = [step for step in answer.json()["steps"] if step["step"] == "score"]
    n_windows = int(re.search(r"in (\d+) windows", score["detail"])[1])  # type: ignore[index]
    assert grown["emotion_batch_windows_sum"] == n_windows > 5
    assert grown["emotion_inference_seconds_count"] == grown["emotion_batch_windows_count"]


def test_files_are_counted_by_their_emotion_and_timed_by_how_they_end(fresh: Server, demo_wav: Path) -> None:
    grown = since(fresh)
    began = time.monotonic()
    told = []
    for data in (demo_wav.read_bytes(), demo_wav.read_bytes(), b"no recording"):
        upload = {"audio_file": ("a.wav", data)}
        told.append(requests.post(fresh.url + "/api/v1/emotion/recognize", files=upload, timeout=60).json())
    spent_s = time.monotonic() - began
    *found, refused = told
    assert refused["error"]["code"] == "UNSUPPORTED_MEDIA"
    assert grown[f'emotion_file_results_total{{emotion="{found[0]["emotion"]}"}}'] == 2
    assert grown.total("emotion_file_results_total") == 2
    assert grown["emotion_file_recognition_seconds_count"] == 2
    assert 0 < grown["emotion_file_recognition_seconds_sum"] < spent_s
    assert grown['emotion_file_recognition_seconds_bucket{le="+Inf"}'] == 2
    assert grown["emotion_file_seconds_total"] == pytest.approx(sum(one["duration_s"] for one in found))


def test_losses_are_counted_by_their_reason(fresh: Server, connect: Connect, demo_pcm: bytes) -> None:
    client, grown = connect(fresh), since(fresh)
    with held(fresh):
        client.speak(demo_pcm[: 3 * 32_000])
        client.wait_for("lost")
    summary = client.stop()
    assert summary["lost_ms"] > 0
    lost = grown['emotion_lost_seconds_total{code="INFERENCE_TIMEOUT"}']
    assert lost == pytest.approx(summary["lost_ms"] / 1000)
    assert grown.total("emotion_lost") == pytest.approx(lost)


def test_errors_are_counted_by_their_code(fresh: Server, connect: Connect) -> None:
    client, grown = connect(fresh), since(fresh)
    client.start()
    for event, payload, code in [
        ("start", {"encoding": "opus"}, "UNSUPPORTED_ENCODING"),
        ("audio_stream", {"chunk": "!"}, "BAD_AUDIO"),
        ("audio_stream", {"chunk": "!"}, "BAD_AUDIO"),
        ("audio_stream", {"chunk": b"\0" * 1_000_001}, "CHUNK_TOO_LARGE"),
        ("stop", {"session_id": "somebody-elses"}, "NOT_YOUR_SESSION"),
        ("flush", [], "BAD_REQUEST"),
        ("hello", {}, "BAD_REQUEST"),
    ]:
        assert client.call(event, payload)["error"]["code"] == code
    expected = {"UNSUPPORTED_ENCODING": 1, "BAD_AUDIO": 2, "CHUNK_TOO_LARGE": 1, "NOT_YOUR_SESSION": 1}
    expected["BAD_REQUEST"] = 2
    for code, n in expected.items():
        assert grown[f'emotion_errors_total{{code="{code}"}}'] == n, code
    assert grown.total("emotion_errors_total") == sum(expected.values())


def test_requests_are_counted_by_route_and_strangers_paths_are_one(fresh: Server) -> None:
    grown = since(fresh)
    for path in ("/healthz", "/healthz", "/api/v1/status", "/no/such/path", "/another?x=1", "/%00"):
        fresh.get(path)
    assert grown['emotion_requests_total{endpoint="/healthz",status="200"}'] == 2
    assert grown['emotion_requests_total{endpoint="/api/v1/status",status="200"}'] == 1
    assert grown['emotion_requests_total{endpoint="other",status="404"}'] == 3


def test_connections_and_sessions_are_back_to_none_when_everybody_has_left(
    fresh: Server, connect: Connect
) -> None:
    eventually(lambda: metrics(fresh)["emotion_connections"] == 0, "nobody is left from before")
    before = metrics(fresh)["emotion_sessions"]
    polite, silent, broken = connect(fresh), connect(fresh), connect(fresh)
    polite.start()
    polite.stop()
    token = broken.start()["resume_token"]
    assert metrics(fresh)["emotion_connections"] == 3
    polite.close()
    silent.close()
    broken.kill()
    eventually(lambda: metrics(fresh)["emotion_connections"] == 0, "no connections")
    assert metrics(fresh)["emotion_sessions"] == before + 1, "one may come back"
    again = connect(fresh)
    assert again.start(resume_token=token)["resumed"]
    again.stop()
    assert metrics(fresh)["emotion_sessions"] == before


def test_a_dead_engine_shows_and_its_restart_is_counted(fresh: Server) -> None:
    grown = since(fresh)
    assert metrics(fresh)["emotion_engine_up"] == 1
    engine_of(fresh).kill()
    shows: dict[str, bool] = {}  # it may be back within half a second: each look counts

    def looked() -> bool:
        shows["metric"] = shows.get("metric", False) or metrics(fresh)["emotion_engine_up"] == 0
        shows["readyz"] = shows.get("readyz", False) or fresh.get("/readyz")[0] == 503
        assert fresh.get("/healthz")[0] == 200
        return any(shows.values())

    eventually(looked, "it shows")
    eventually(lambda: fresh.get("/readyz")[0] == 200, "it is back")
    assert metrics(fresh)["emotion_engine_up"] == 1
    assert grown["emotion_engine_restarts_total"] == 1
    fresh.get("/metrics")
    assert grown["emotion_engine_restarts_total"] == 1, "scraping does not count it again"
