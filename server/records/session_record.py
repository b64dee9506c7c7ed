"""The files of a recorded session: a journal while it goes on, JSON and CSV once it is over.

The journal has one line per fact, `kind {json}`. Whatever ends a process, its whole lines are left, and become the
same files later, marked as not complete. Nothing here waits for anything but the disk.
"""

from __future__ import annotations

import csv
import os
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson

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
SAID_ONCE = (
    "granularity",
    "timestamp",
    "timestamp_utc",
    "model",
)  # of utterances: the same for all, or of no use here
WAV_HEADER = 44
BREATH = 200  # lines after which others get a turn


def line(kind: str, fact: JsonDict) -> bytes:
    return kind.encode() + b" " + orjson.dumps(fact) + b"\n"


def audio_name(channel: str | None) -> str:
    return "audio.wav" if channel is None else f"audio_{channel}.wav"


def write_audio(path: Path, start: int, samples: Floats) -> None:
    """Put samples at their place in a WAV whose header is written by `finish`; what is left out is silence."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(WAV_HEADER + 2 * start)
        file.write(to_pcm16(samples))


def finish(folder: Path, breathe: Callable[[], None]) -> JsonDict:
    """Make a journal into the files of a record; what session.json then says. Raises OSError, ValueError.

    A journal without the session's end was cut off, and may end within a line: the record is not `complete`.
    """
    journal = folder / JOURNAL
    _cut_to_lines(journal)
    head: JsonDict = {}
    for fact in _facts(journal, "opened", breathe):
        head.update(orjson.loads(fact))
    if not head:
        raise ValueError(f"{folder.name} holds nothing")
    head["complete"] = False
    for fact in _facts(journal, "closed", breathe):
        head.update(orjson.loads(fact), complete=True)
    written = datetime.fromtimestamp(journal.stat().st_mtime, UTC)
    head.setdefault("ended_utc", written.isoformat(timespec="milliseconds"))
    (folder / HEAD).write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2) + b"\n")
    with (folder / RECORD).open("wb") as record:
        record.write(orjson.dumps(head)[:-1])
        for kind in LISTS:
            record.write(b',\n"' + kind.encode() + b'": [')
            for i, fact in enumerate(_facts(journal, kind, breathe)):
                record.write((b",\n" if i else b"\n") + fact)
            record.write(b"]")
        record.write(b"}\n")
    when, scores = ["start_ms", "end_ms", "channel"], ["emotion", "confidence", *LABELS]
    _table(folder / TIMELINE, [*when, "frames", *scores], _facts(journal, "timeline", breathe))
    _table(folder / UTTERANCES, [*when, *scores], _facts(journal, "utterances", breathe))
    columns = ["at_ms", "rule", "level", "state", "channel", "message", "message_zh"]
    _table(folder / ALERTS, columns, _facts(journal, "alerts", breathe))
    for name in AUDIO:
        if (folder / name).exists():
            _write_header(folder / name)
    journal.unlink()
    return head


def _facts(journal: Path, kind: str, breathe: Callable[[], None]) -> Iterator[bytes]:
    mark = kind.encode() + b" "
    with journal.open("rb") as lines:
        for number, text in enumerate(lines):
            if number % BREATH == BREATH - 1:
                breathe()
            if text.startswith(mark):
                yield text[len(mark) : -1]


def _table(path: Path, columns: list[str], facts: Iterator[bytes]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for fact in facts:
            values = orjson.loads(fact)
            values.update(values.pop("scores", {}))
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
