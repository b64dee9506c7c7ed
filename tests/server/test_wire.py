"""Payloads in: read, or refused with a code. Payloads out: what the contract says, in its order and digits."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import wire
from server.errors import CODES, ClientError
from stream.types import (
    AMBIGUOUS,
    LABELS,
    FrameScores,
    FramesScored,
    Lost,
    SpeechEnded,
    SpeechStarted,
    UtteranceScored,
    softmax,
)

LARGEST = 1000

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "session_id",
        "encoding",
        "sample_rate",
        "channels",
        "frame_results",
        "resume_token",
        "name",
        "tags",
        "chunk",
        "seq",
        "x",
    ]
)
nearly_right = st.dictionaries(
    fields,
    anything | st.sampled_from(["wav", "pcm_s16le", "mulaw", "an-id", "AAAA", 8000, 16_000, 1, 2, True]),
    max_size=5,
)


@given(anything | nearly_right)
def test_any_payload_is_read_or_refused_with_a_code(payload: Any) -> None:
    for parse in (
        wire.parse_start,
        lambda p: wire.parse_audio(p).data(LARGEST),
        wire.parse_session_id,
    ):
        try:
            parse(payload)
        except ClientError as refused:
            assert refused.code in CODES and 0 < len(refused.message) < 400


def test_nothing_given_means_the_defaults() -> None:
    for payload in (None, {}, dict.fromkeys(("session_id", "encoding", "sample_rate", "channels"))):
        request = wire.parse_start(payload)
        assert (request.format.encoding, request.format.sample_rate, request.format.channels) == (
            "pcm_s16le",
            16_000,
            1,
        )
        assert request.session_id is None and not request.frame_results and request.resume_token is None


@given(st.binary(max_size=LARGEST))
def test_base64_and_bytes_give_the_same_chunk(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert wire.parse_audio({"chunk": text}).data(LARGEST) == data
    assert wire.parse_audio({"chunk": data}).data(LARGEST) == data


@given(st.integers(LARGEST - 4, LARGEST + 4))
def test_the_limit_is_exact_whichever_way_the_chunk_comes(size: int) -> None:
    for chunk in (b"\0" * size, base64.b64encode(b"\0" * size).decode()):
        if size <= LARGEST:
            assert len(wire.parse_audio({"chunk": chunk}).data(LARGEST)) == size
        else:
            with pytest.raises(ClientError) as refused:
                wire.parse_audio({"chunk": chunk}).data(LARGEST)
            assert refused.value.code == "CHUNK_TOO_LARGE"


@given(st.text(max_size=70))
def test_ids_are_plain_names(name: str) -> None:
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
    good = 0 < len(name) <= 64 and set(name) <= set(plain) and set(name) - set("-_.")
    if good:
        assert wire.parse_session_id({"session_id": name}) == name
    else:
        with pytest.raises(ClientError):
            wire.parse_session_id({"session_id": name})


def rows(n: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 3, (n, len(LABELS))).astype(np.float32)
    return softmax(logits)


@given(st.integers(1, 100), st.integers(0, 10**6), st.integers(0, 1000))
def test_results_are_rows_in_the_order_of_the_labels(n: int, first: int, seed: int) -> None:
    probs = rows(n, seed)
    scores = FrameScores(np.log(probs), np.ones(n, np.float32), None)
    name, payload = wire.to_wire("s", FramesScored(first, scores, probs, probs[-1]), "fake")
    payload = json.loads(wire.Json.dumps(payload))
    assert name == "emotion_result" and payload["start_ms"] == 10 * first
    np.testing.assert_allclose(payload["frame_scores"], probs, atol=6e-7)
    assert payload["frame_emotions"] == [LABELS[i] for i in np.round(probs, 6).argmax(axis=1)]
    assert payload["frame_confidences"] == [max(row) for row in payload["frame_scores"]]
    assert list(payload["scores"]) == list(LABELS)
    assert payload["scores"][payload["emotion"]] == payload["confidence"]
    assert len(str(payload["confidence"])) <= 8, "six digits, not seventeen"
    lead = np.diff(np.sort(list(payload["scores"].values())))[-1]
    assert payload["ambiguous"] == (lead < AMBIGUOUS)


def test_a_narrow_lead_is_said_to_be_ambiguous() -> None:
    row = np.zeros(len(LABELS), np.float32)
    row[[0, 3]] = 0.52, 0.48
    assert wire.scores(row)["ambiguous"] is True
    row[[0, 3]] = 0.8, 0.2
    assert wire.scores(row)["ambiguous"] is False


def test_what_meets_in_frames_meets_in_milliseconds() -> None:
    """A span's end is its next one's start: neighbours neither overlap nor leave a gap."""
    assert wire.to_wire("s", SpeechStarted(7), "m") == (
        "speech",
        {"session_id": "s", "state": "start", "at_ms": 70},
    )
    assert wire.to_wire("s", SpeechEnded(20), "m")[1]["at_ms"] == 200
    lost = wire.to_wire("s", Lost(7, 13, "OVERLOADED"), "m")
    assert lost == ("lost", {"session_id": "s", "start_ms": 70, "end_ms": 200, "code": "OVERLOADED"})
    name, said = wire.to_wire("s", UtteranceScored(7, 20, 13, rows(1)[0]), "m")
    assert (name, said["start_ms"], said["end_ms"], said["duration_s"]) == ("utterance_result", 70, 200, 0.13)


def test_json_is_compact_utf8_and_knows_arrays() -> None:
    text = wire.Json.dumps({"a": np.float32([0.1, 0.5]), "名": "开心"}, separators=(",", ":"))
    assert text == '{"a":[0.1,0.5],"名":"开心"}'
    assert wire.Json.loads(text)["名"] == "开心"
