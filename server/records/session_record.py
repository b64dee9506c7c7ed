"""The files of a recorded session: a journal while it goes on, JSON and CSV once it is over.

The journal has one line per entry, `kind {json}`. Whatever ends a process, its whole lines are left, and become
the same files later, marked as not complete. Nothing here waits for anything but the disk.
"""

from __future__ import annotations

import csv
import os
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson

from server import wire
from server.spreadsheet import cell
from stream.pcm import to_pcm16
from stream.types import LABELS, SAMPLE_RATE, Floats, JsonDict

JOURNAL = "journal"
HEAD, RECORD = "session.json", "record.json"
TIMELINE, UTTERANCES, ALERTS = "timeline.csv", "utterances.csv", "alerts.csv"
AUDIO = ("audio.wav", "audio_agent.wav", "audio_customer.wav")
TYPES = {
    HEAD: "application/json",
    RECORD: "application/json",
    TIMELINE: "text/csv; charset=utf-8",
    UTTERANCES: "text/csv; charset=utf-8",
    ALERTS: "text/csv; charset=utf-8",
    **dict.fromkeys(AUDIO, "audio/wav"),
}
LISTS = ("timeline", "utterances", "alerts", "speech", "lost")  # kinds of which there are many
# Fields of utterances that are the same for all of them, or of no use here.
OMITTED = ("granularity", "timestamp", "timestamp_utc", "model")
WAV_HEADER = 44
YIELD_EVERY = 200  # lines after which others get a turn


def line(kind: str, entry: JsonDict) -> bytes:
    return kind.encode() + b" " + orjson.dumps(entry) + b"\n"


def audio_name(channel: str | None) -> str:
    return "audio.wav" if channel is None else f"audio_{channel}.wav"


def write_audio(path: Path, start: int, samples: Floats) -> None:
    """Put samples at their place in a WAV whose header is written by `finish`; what is left out is silence."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(WAV_HEADER + 2 * start)
        file.write(to_pcm16(samples))


def finish(folder: Path, cooperative_yield: Callable[[], None]) -> JsonDict:
    """Make a journal into the files of a record; what session.json then says. Raises OSError, ValueError.

    A journal without the session's end was cut off, and may end within a line: the record is not `complete`.
    """
    journal = folder / JOURNAL
    _cut_to_lines(journal)
    head: JsonDict = {}
    for entry in _entries(journal, "opened", cooperative_yield):
        head.update(orjson.loads(entry))
    if not head:
        raise ValueError(f"{folder.name} holds nothing")
    head["complete"] = False
    for entry in _entries(journal, "closed", cooperative_yield):
        head.update(orjson.loads(entry), complete=True)
    written = datetime.fromtimestamp(journal.stat().st_mtime, UTC)
    head.setdefault("ended_utc", written.isoformat(timespec="milliseconds"))
    (folder / HEAD).write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2) + b"\n")
    with (folder / RECORD).open("wb") as record:
        record.write(orjson.dumps(head)[:-1])
        for kind in LISTS:
            record.write(b',\n"' + kind.encode() + b'": [')
            for i, entry in enumerate(_entries(journal, kind, cooperative_yield)):
                record.write((b",\n" if i else b"\n") + entry)
            record.write(b"]")
        record.write(b"}\n")
    when, scores = ["start_ms", "end_ms", "channel"], ["emotion", "confidence", *LABELS, *wire.ALSO]
    _table(folder / TIMELINE, [*when, "frames", *scores], _entries(journal, "timeline", cooperative_yield))
    _table(folder / UTTERANCES, [*when, *scores], _entries(journal, "utterances", cooperative_yield))
    columns = ["at_ms", "rule", "level", "state", "channel", "message", "message_zh"]
    _table(folder / ALERTS, columns, _entries(journal, "alerts", cooperative_yield))
    for name in AUDIO:
        if (folder / name).exists():
            _write_header(folder / name)
    journal.unlink()
    return head


def _entries(journal: Path, kind: str, cooperative_yield: Callable[[], None]) -> Iterator[bytes]:
    mark = kind.encode() + b" "
    with journal.open("rb") as lines:
        for number, text in enumerate(lines):
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                cooperative_yield()
            if text.startswith(mark):
                yield text[len(mark) : -1]


def _table(path: Path, columns: list[str], entries: Iterator[bytes]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for entry in entries:
            values = orjson.loads(entry)
            values.update(values.pop("scores", {}))
            values.update(zip(wire.ALSO, wire.also(values), strict=True))
            table.writerow([cell(values.get(column, "")) for column in columns])


def _cut_to_lines(journal: Path) -> None:
    """Drop what was written of a last line."""
    with journal.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        back = min(end, 1 << 20)
        file.seek(end - back)
        file.truncate(end - back + file.read().rfind(b"\n") + 1)


def _write_header(path: Path) -> None:
    size = max(0, path.stat().st_size - WAV_HEADER)
    riff = struct.pack("<4sI4s", b"RIFF", WAV_HEADER - 8 + size, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    with path.open("r+b") as file:
        file.write(riff + fmt + struct.pack("<4sI", b"data", size))
