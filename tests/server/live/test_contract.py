"""Every ack and event has exactly the fields, types and order that docs/protocol.md promises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.conftest import Server
from tests.server import ledger
from tests.server.clients import Client, Payload

Connect = Callable[..., Client]

LABELS = ["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown"]
NUMBER = (int, float)
VERDICT = {
    "emotion": str,
    "confidence": NUMBER,
    "ambiguous": bool,
    "uncertain": bool,
    "second": (str, type(None)),
    "arousal": NUMBER,
    "valence": NUMBER,
    "scores": dict,
}
SHAPES: dict[str, dict[str, Any]] = {
    "start": {
        "ok": bool,
        "session_id": str,
        "resume_token": str,
        "resumed": bool,
        "next_seq": int,
        "model": str,
        "prior": str,
        "model_fingerprint": str,
        "labels": list,
        "frame_ms": int,
        "step_ms": int,
        "hop_ms": int,
        "lookahead_ms": int,
    },
    "emotion_result": {
        "session_id": str,
        "granularity": str,
        "start_ms": int,
        "frame_ms": int,
        "step_ms": int,
        "frame_scores": list,
        "frame_emotions": list,
        "frame_confidences": list,
        "queue_ms": NUMBER,
        "infer_ms": NUMBER,
        "latency_ms": NUMBER,
        **VERDICT,
    },
    "frame_result": {"session_id": str, "timestamp": int, **VERDICT},
    "speech": {"session_id": str, "state": str, "at_ms": int},
    "utterance_result": {
        "session_id": str,
        "start_ms": int,
        "end_ms": int,
        "granularity": str,
        "timestamp": str,
        "timestamp_utc": str,
        "model": str,
        "duration_s": NUMBER,
        **VERDICT,
    },
    "alert": {
        "session_id": str,
        "rule": str,
        "level": str,
        "state": str,
        "at_ms": int,
        "message": str,
        "message_zh": str,
    },
    "session_summary": {
        "session_id": str,
        "reason": str,
        "audio_ms": int,
        "speech_ms": int,
        "lost_ms": int,
        "frames": int,
        "share": dict,
        "arousal": NUMBER,
        "valence": NUMBER,
        "utterances": list,
    },
    "error": {"code": str, "message": str, "retryable": bool},
}


def shaped(name: str, payload: Payload) -> None:
    shape = SHAPES[name]
    assert set(payload) == set(shape), f"{name}: {set(payload) ^ set(shape)}"
    for field, kind in shape.items():
        value = payload[field]
        assert isinstance(value, kind), f"{name}.{field}: {value!r}"
        assert kind is bool or not isinstance(value, bool), f"{name}.{field}: {value!r}"


def verdict(payload: Payload) -> None:
    """`scores` in the order of the labels, one in sum; `emotion` and `confidence` are the largest of them."""
    assert list(payload["scores"]) == LABELS
    assert sum(payload["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert payload["confidence"] == payload["scores"][payload["emotion"]] == max(payload["scores"].values())


@pytest.fixture(scope="module")
def told(_fake: Server, demo_pcm: bytes) -> Iterator[tuple[Client, Payload, Payload]]:
    """A client that spoke for 11 s, with a result per frame; the answers to its start and stop."""
    client = Client(_fake.url)
    opened = client.start(frame_results=True)
    client.speak(demo_pcm[: 11 * 32_000])
    yield client, opened, client.stop()
    client.close()


def test_events_have_exactly_their_fields(told: tuple[Client, Payload, Payload]) -> None:
    client, opened, _ = told
    shaped("start", opened)
    for name, payload in client.heard:
        shaped(name, payload)
        assert payload["session_id"] == opened["session_id"]
    assert {name for name, _ in client.heard} == set(SHAPES) - {"start", "error"}


def test_start_says_what_is_coming(told: tuple[Client, Payload, Payload]) -> None:
    _, opened, _ = told
    assert opened["labels"] == LABELS
    assert (opened["frame_ms"], opened["step_ms"], opened["hop_ms"]) == (25, 10, 100)
    assert opened["ok"] and not opened["resumed"] and opened["next_seq"] == 0
    assert opened["model"] == "fake" and opened["lookahead_ms"] == 0
    assert len(opened["resume_token"]) >= 32


def test_results_are_rows_of_probabilities_on_the_grid(told: tuple[Client, Payload, Payload]) -> None:
    client, _, _ = told
    for result in client.of("emotion_result"):
        rows = result["frame_scores"]
        assert len(rows) == len(result["frame_emotions"]) == len(result["frame_confidences"]) > 0
        for row, emotion, confidence in zip(
            rows, result["frame_emotions"], result["frame_confidences"], strict=True
        ):
            assert len(row) == 9 and all(0 <= p <= 1 for p in row)
            assert sum(row) == pytest.approx(1, abs=1e-5)
            assert emotion == LABELS[row.index(max(row))] and confidence == max(row)
        verdict(result)
        assert result["granularity"] == "frame" and result["start_ms"] % 10 == 0
        assert (result["frame_ms"], result["step_ms"]) == (25, 10)
        assert result["queue_ms"] >= 0 and result["infer_ms"] >= 0
        assert result["latency_ms"] + 0.02 >= result["infer_ms"]


def test_frame_results_repeat_the_results_frame_by_frame(told: tuple[Client, Payload, Payload]) -> None:
    client, opened, _ = told
    book = ledger.of_client(client.heard, opened["session_id"])
    singles = client.of("frame_result")
    assert [single["timestamp"] // 10 for single in singles] == sorted(book.scored)
    for single, row in zip(singles, book.rows().tolist(), strict=True):
        verdict(single)
        assert list(single["scores"].values()) == pytest.approx(row, abs=1e-6)


def test_frame_results_come_only_when_asked_for(server: Server, connect: Connect, demo_pcm: bytes) -> None:
    client = connect(server)
    client.start()  # without one it is taken for a client of the guides, which expects them
    client.speak(demo_pcm[:96_000])
    client.stop()
    assert client.of("emotion_result") and not client.of("frame_result")


def test_speech_starts_and_ends_in_turns_around_its_utterances(
    told: tuple[Client, Payload, Payload],
) -> None:
    client, opened, _ = told
    edges = client.of("speech")
    assert [edge["state"] for edge in edges] == ["start", "end"] * (len(edges) // 2)
    assert all(a["at_ms"] <= b["at_ms"] for a, b in pairwise(edges))
    spans = [(a["at_ms"], b["at_ms"]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    assert spans == [(u["start_ms"], u["end_ms"]) for u in client.of("utterance_result")]
    ledger.of_client(client.heard, opened["session_id"]).balance()


def test_utterances_carry_the_fields_of_result_json(told: tuple[Client, Payload, Payload]) -> None:
    client, _, _ = told
    for said in client.of("utterance_result"):
        verdict(said)
        assert said["granularity"] == "utterance" and said["model"] == "fake"
        assert said["duration_s"] == pytest.approx((said["end_ms"] - said["start_ms"]) / 1000)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", said["timestamp"])
        assert datetime.fromisoformat(said["timestamp_utc"]).tzinfo is not None


def test_the_summary_adds_up(told: tuple[Client, Payload, Payload]) -> None:
    client, opened, answer = told
    (summary,) = client.of("session_summary")
    assert {"ok": True, **summary} == answer
    book = ledger.of_client(client.heard, opened["session_id"])
    assert summary["reason"] == "stop" and summary["audio_ms"] == 11_000
    assert summary["speech_ms"] == 10 * len(book.speech) == 10 * summary["frames"]
    assert summary["lost_ms"] == 0 and summary["frames"] == len(book.scored)
    assert summary["utterances"] == client.of("utterance_result")
    seen = Counter(emotion for result in client.of("emotion_result") for emotion in result["frame_emotions"])
    assert list(summary["share"]) == LABELS
    assert summary["share"] == {x: pytest.approx(seen[x] / len(book.scored), abs=1e-6) for x in LABELS}


def test_audio_without_a_start_opens_a_session_with_the_defaults(
    server: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(server)
    assert client.call("audio_stream", {"chunk": demo_pcm[:32_001]}) == {"ok": True, "received_ms": 1000}
    assert client.call("audio_stream", {"chunk": demo_pcm[32_001:64_000]})["received_ms"] == 2000
    assert client.call("flush").keys() == {"ok", "session_id"}
    assert client.stop()["audio_ms"] == 2000


def test_flush_answers_when_everything_has_been_scored_and_the_stream_goes_on(
    server: Server, connect: Connect, demo_pcm: bytes
) -> None:
    client = connect(server)
    session_id = client.start()["session_id"]
    for at in range(0, 4 * 32_000, 32_000):
        client.speak(demo_pcm[at : at + 32_000])
        assert client.call("flush", {"session_id": session_id}) == {"ok": True, "session_id": session_id}
        client.wait_for("emotion_result")
        ledger.of_client(client.heard, session_id).balance()
    assert len(ledger.of_client(client.heard, session_id).scored) > 300


def test_bytes_left_over_at_the_end_are_mentioned(server: Server, connect: Connect) -> None:
    client = connect(server)
    client.call("audio_stream", {"chunk": b"\0" * 321})
    assert client.stop()["incomplete_bytes"] == 1


def test_an_error_comes_as_the_ack_and_as_an_event(server: Server, connect: Connect) -> None:
    client = connect(server)
    answer = client.call("start", {"encoding": "opus"})
    shaped("error", answer["error"])
    assert answer == {"ok": False, "error": client.wait_for("error")}
    assert answer["error"]["code"] == "UNSUPPORTED_ENCODING" and "pcm_s16le" in answer["error"]["message"]


@pytest.mark.slow
def test_polling_hears_what_websockets_hear(server: Server, connect: Connect, demo_pcm: bytes) -> None:
    client = connect(server, transport="polling")
    session_id = client.start()["session_id"]
    client.speak(demo_pcm[: 3 * 32_000])
    client.stop()
    book = ledger.of_client(client.heard, session_id)
    book.balance()
    assert len(book.scored) > 200
