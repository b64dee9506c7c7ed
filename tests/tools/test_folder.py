"""Reading a folder of results: all that is good, and every broken thing by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from stream.types import LABELS
from tests.tools.conftest import Make, result, scores
from tools import folder
from tools.analyze.journal import Entry, Journal, Stamp
from tools.vectors import vectors


def test_all_results_at_any_depth_and_hidden_ones_not(make: Make) -> None:
    top = make(3)
    (top / "outputs_0001").rename(top / "deep")
    (top / ".outputs_9").mkdir()
    (top / ".outputs_9" / "result.json").write_text("half")
    read = folder.read(top)
    assert [r.name for r in read.records] == ["deep", "outputs_0000", "outputs_0002"]
    assert not read.broken
    first = read.records[1]
    assert (first.emotion, first.confidence, first.utterances) == ("angry", pytest.approx(0.6), 1)
    assert first.scored.tzinfo is not None


BAD = {
    "not JSON": "{",
    "expected an object": "[1]",
    "no text in 'model'": json.dumps(result(0, model=None)),
    "no length of time": json.dumps(result(0, duration_s=-1)),
    "no date and time": json.dumps(result(0, timestamp_utc="yesterday")),
    "does not say its time zone": json.dumps(result(0, timestamp_utc="2026-03-02T08:00:00")),
    "nine labels": json.dumps(result(0, scores={"angry": 1})),
    "not probabilities": json.dumps(result(0, scores=dict.fromkeys(LABELS, 0.9))),
    "rows of nine numbers": json.dumps(result(0, scores=dict.fromkeys(LABELS, "0.1"))),
}


def test_a_recordings_own_name_stands_before_that_of_its_folder(make: Make) -> None:
    top = make(3, file_name="call 17.mp3")
    (top / "outputs_0001").rename(top / "call 17.mp3")  # as `analyze --each` names folders
    assert [r.name for r in folder.read(top).records] == [
        *("call 17.mp3", "call 17.mp3 (outputs_0000)", "call 17.mp3 (outputs_0002)")
    ]


@pytest.mark.parametrize("why", BAD)
def test_a_broken_result_is_listed_and_the_others_stay(why: str, make: Make) -> None:
    top = make(2)
    (top / "outputs_0000" / "result.json").write_text(BAD[why])
    read = folder.read(top)
    assert [r.name for r in read.records] == ["outputs_0001"]
    ((name, said),) = [(b.name, b.why) for b in read.broken]
    assert name == "outputs_0000" and why in said


def test_a_result_per_frame_gives_the_mean_of_its_logits(tmp_path: Path) -> None:
    told = result(0, granularity="frame")
    for name in ("emotion", "confidence", "scores"):
        del told[name]
    told["frame_scores"] = [scores(3, 0.9), scores(3, 0.9), scores(0, 0.9)]
    (tmp_path / "result.json").write_text(json.dumps(told))
    (record,) = folder.read(tmp_path).records
    assert record.emotion == "happy"
    logits = np.log(told["frame_scores"]).mean(axis=0)
    np.testing.assert_allclose(record.scores, np.exp(logits) / np.exp(logits).sum(), atol=1e-6)


def test_names_that_no_terminal_should_see_are_escaped(tmp_path: Path) -> None:
    home = tmp_path / os.fsdecode(b"a\nb\xff\x1b[2J")
    home.mkdir()
    (home / "result.json").write_text(json.dumps(result(0)))
    (record,) = folder.read(tmp_path).records
    assert record.name == "a\\nb\\xff\\x1b[2J"


def test_the_journal_of_analyze_is_read_and_half_a_line_is_not(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for name in ("a.wav", "b.wav", "a.wav"):
            journal.add(Entry(name, Stamp(1, 2, "x"), result(3, recorded_utc="2026-01-01T00:00:00+00:00")))
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"file": "c.wav", "si')
    (tmp_path / "files" / "a.wav").mkdir(parents=True)
    np.save(tmp_path / "files" / "a.wav" / "embedding.npy", np.ones(4, np.float32))
    (tmp_path / "files" / "a.wav" / "result.json").write_text(json.dumps(result(3)))
    read = folder.read(tmp_path)
    assert [(r.name, r.embedding is not None) for r in read.records] == [("a.wav", True), ("b.wav", False)]
    assert read.records[0].recorded is not None
    assert vectors(tmp_path).without == 1


def test_a_recorded_session_has_the_scores_of_its_utterances_by_their_length(tmp_path: Path) -> None:
    said = [
        {"start_ms": 0, "end_ms": 3000, "scores": dict(zip(LABELS, scores(6), strict=True))},
        {"start_ms": 4000, "end_ms": 5000, "scores": dict(zip(LABELS, scores(0), strict=True))},
    ]
    told = {
        "session_id": "x",
        "started_utc": "2026-03-02T08:00:00+00:00",
        "audio_ms": 9000,
        "utterances": said,
    }
    (tmp_path / "record.json").write_text(json.dumps({**told, "model": "compact"}))
    (record,) = folder.read(tmp_path).records
    assert (record.emotion, record.duration_s, record.utterances) == ("sad", 9.0, 2)
    assert record.scores[6] == pytest.approx(0.75 * 0.6 + 0.25 * 0.05)


def test_embeddings_of_two_models_are_never_mixed(make: Make) -> None:
    top = make(3)
    make(2, "results/more", model="other")
    with pytest.raises(ValueError, match="compact, other"):
        vectors(top)
    assert len(vectors(top, "other").rows) == 2
    np.save(top / "outputs_0001" / "embedding.npy", np.ones(3, np.float32))
    held = vectors(top, "compact")
    assert len(held.rows) == 2 and "3 numbers" in held.broken[0].why
