"""No cell of a CSV file is run by the spreadsheet that opens it, and ordinary cells are as they were."""

from __future__ import annotations

import csv
from pathlib import Path

import orjson
import pytest

from server.records import session_record
from server.spreadsheet import cell
from tools import output

FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(A1)", "  =1", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠1")


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize(
    "value", ["a.wav", "a-b=c.wav", "1", "开心", "", "'=1", "a\n=1", "calls/-1.wav", -1, -0.5, 0, None, True]
)
def test_everything_else_is_as_it_was(value: object) -> None:
    assert cell(value) is value


def test_the_tables_of_the_tools_and_of_records_are_guarded(tmp_path: Path) -> None:
    table = output.table(["file", "score"], [["=HYPERLINK(1)", -0.5], ["a.wav", 1]])
    assert table == "file,score\n'=HYPERLINK(1),-0.5\na.wav,1\n"
    facts = iter([orjson.dumps({"rule": "=1+1", "at_ms": -10, "message": "Strong anger"})])
    session_record._table(tmp_path / "t.csv", ["rule", "at_ms", "message"], facts)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == ["'=1+1", "-10", "Strong anger"]
