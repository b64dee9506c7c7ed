"""Emotions over time: bins in the zone that is said, silence counted apart."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from PIL import Image

from tests.tools.conftest import Make, result
from tools import folder, pictures, trend


def records(tmp_path: Path, *when: datetime, **fields: object) -> tuple[folder.Record, ...]:
    for i, at in enumerate(when):
        home = tmp_path / f"r{i}"
        home.mkdir()
        (home / "result.json").write_text(json.dumps(result((0, 3)[i % 2], at, **fields)))
    return folder.read(tmp_path).records


def test_days_are_those_of_the_zone(tmp_path: Path) -> None:
    late = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
    found = records(tmp_path, late, late + timedelta(hours=1))
    assert [b.recordings for b in trend.trend(found, "day", UTC).bins] == [1, 1]
    berlin = trend.trend(found, "day", ZoneInfo("Europe/Berlin"))
    assert [(f"{b.start:%F}", b.recordings) for b in berlin.bins] == [("2026-03-03", 2)]
    assert berlin.zone == "Europe/Berlin (CET)"
    (only,) = berlin.bins
    assert only.shares[0] == only.shares[3] == 0.5
    assert only.scores[0] == pytest.approx((0.6 + 0.05) / 2)
    assert only.confidence == pytest.approx(0.6)


def test_the_hour_that_comes_twice_is_two(tmp_path: Path) -> None:
    autumn = datetime(2026, 10, 25, 0, 10, tzinfo=UTC)
    found = records(tmp_path, autumn, autumn + timedelta(hours=1))
    made = trend.trend(found, "hour", ZoneInfo("Europe/Berlin"))
    assert [b.start.isoformat() for b in made.bins] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]


def test_recordings_without_speech_are_counted_apart(tmp_path: Path) -> None:
    found = records(tmp_path, datetime(2026, 3, 2, tzinfo=UTC), utterances=[])
    made = trend.trend(found, "day", UTC)
    (row,) = csv.DictReader(io.StringIO(trend.csv(made)))
    assert (row["start"], row["recordings"], row["without_speech"]) == ("2026-03-02", "0", "1")
    assert row["share_unknown"] == row["mean_confidence"] == ""
    assert pictures.png(trend.draw(made))[:4] == b"\x89PNG"


def test_what_does_not_say_when_it_was_recorded_is_left_out(tmp_path: Path) -> None:
    found = records(tmp_path, datetime(2026, 3, 2, tzinfo=UTC))
    made = trend.trend(found, "day", UTC, "recorded")
    assert (made.bins, made.untimed) == ((), 1)


def test_the_picture_has_the_colors_of_its_emotions(make: Make) -> None:
    made = trend.trend(folder.read(make(40)).records, "hour", UTC)
    image = Image.open(io.BytesIO(pictures.png(trend.draw(made)))).convert("RGB")
    held = {color for _, color in image.getcolors(1 << 20) or []}
    for label in ("angry", "happy", "neutral", "sad"):
        text = pictures.colors()[label]
        assert tuple(int(text[i : i + 2], 16) for i in (1, 3, 5)) in held, label
