"""Results of a folder as one table: a row per utterance, and one for each recording in which nobody speaks."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from server.spreadsheet import cell
from server.wire import ALSO, also
from stream.types import LABELS
from tools.analyze.journal import Entry, shown
from tools.output import whole_file

HEADER = (
    "file",
    "start_s",
    "end_s",
    "emotion",
    "confidence",
    *LABELS,
    "model",
    "taught",
    "taught_confidence",
    "model_fingerprint",
    *ALSO,
    "prior",
)
_NUMBERS = frozenset(
    {
        "start_s",
        "end_s",
        "confidence",
        "taught_confidence",
        "ambiguous",
        "uncertain",
        "arousal",
        "valence",
        *LABELS,
    }
)
_BATCH = 4096  # rows of a Parquet file written at a time

Row = tuple[str | float | None, ...]


class NoParquet(RuntimeError):
    """pyarrow is not installed; the text says how to get it."""


def check(kind: str) -> None:
    """Raises NoParquet, before hours of work."""
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise NoParquet(
                "--table parquet needs pyarrow, which is not installed: .venv/bin/python -m pip install pyarrow"
            ) from None


def rows(entry: Entry) -> Iterator[Row]:
    result, file = entry.result, shown(entry.file)
    for said in result["utterances"]:
        taught = said.get("taught", {})
        yield (
            file,
            said["start_ms"] / 1000,
            said["end_ms"] / 1000,
            said["emotion"],
            said["confidence"],
            *(said["scores"][label] for label in LABELS),
            result["model"],
            taught.get("label"),
            taught.get("confidence"),
            result.get("model_fingerprint"),
            *also(said),
            result.get("prior"),
        )
    if not result["utterances"]:
        scores = (result["scores"][label] for label in LABELS)
        yield (
            file,
            None,
            None,
            result["emotion"],
            result["confidence"],
            *scores,
            result["model"],
            None,
            None,
            result.get("model_fingerprint"),
            *also(result),
            result.get("prior"),
        )


def write(entries: Iterable[Entry], out: Path, kind: str) -> Path:
    """`results.csv` or `results.parquet` in `out`, whole or not at all."""
    path = out / f"results.{kind}"
    told = (row for entry in entries for row in rows(entry))
    with whole_file(path) as draft:
        if kind == "parquet":
            _parquet(told, draft)
        else:
            with draft.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(HEADER)
                writer.writerows(map(cell, row) for row in told)
    return path


def _parquet(told: Iterator[Row], path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    schema = arrow.schema(
        [(name, arrow.float64() if name in _NUMBERS else arrow.string()) for name in HEADER]
    )
    with parquet.ParquetWriter(path, schema) as writer:
        held: list[Row] = []

        def put() -> None:
            columns = list(zip(*held, strict=True)) if held else [()] * len(HEADER)
            arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            held.clear()

        for row in told:
            held.append(row)
            if len(held) >= _BATCH:
                put()
        put()
