"""What the server says: as the contract has it, in its order and digits."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server import wire
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


def rows(n: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 3, (n, len(LABELS))).astype(np.float32)
    return softmax(logits)


@given(st.integers(1, 100), st.integers(0, 10**6), st.integers(0, 1000))
def test_results_are_rows_in_the_order_of_the_labels(n: int, first: int, seed: int) -> None:
    probs = rows(n, seed)
    scores = FrameScores(np.log(probs), np.ones(n, np.float32), None)
    name, payload = wire.to_wire("s", None, FramesScored(first, scores, probs, probs[-1]), "fake")
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


def test_what_is_less_sure_than_half_is_said_to_be_uncertain_and_what_else_is_present_is_named() -> None:
    row = np.zeros(len(LABELS), np.float32)
    row[[0, 3, 4]] = 0.49, 0.3, 0.21
    told = wire.scores(row)
    assert (told["emotion"], told["uncertain"], told["second"]) == ("angry", True, "happy")
    row[[0, 3, 4]] = 0.6, 0.2, 0.2
    told = wire.scores(row)
    assert (told["uncertain"], told["second"]) == (False, None)
    row[:] = 0
    row[4] = 1
    assert (wire.scores(row)["arousal"], wire.scores(row)["valence"]) == (0, 0)


def test_what_meets_in_frames_meets_in_milliseconds() -> None:
    """A span's end is its next one's start: neighbors neither overlap nor leave a gap."""
    assert wire.to_wire("s", None, SpeechStarted(7), "m") == (
        "speech",
        {"session_id": "s", "state": "start", "at_ms": 70},
    )
    assert wire.to_wire("s", None, SpeechEnded(20), "m")[1]["at_ms"] == 200
    lost = wire.to_wire("s", None, Lost(7, 13, "OVERLOADED"), "m")
    assert lost == ("lost", {"session_id": "s", "start_ms": 70, "end_ms": 200, "code": "OVERLOADED"})
    name, said = wire.to_wire("s", None, UtteranceScored(7, 20, 13, rows(1)[0]), "m")
    assert (name, said["start_ms"], said["end_ms"], said["duration_s"]) == ("utterance_result", 70, 200, 0.13)


def test_json_is_compact_utf8_and_knows_arrays() -> None:
    text = wire.Json.dumps({"a": np.array([0.1, 0.5], np.float32), "名": "开心"}, separators=(",", ":"))
    assert text == '{"a":[0.1,0.5],"名":"开心"}'
    assert wire.Json.loads(text)["名"] == "开心"
