"""Log lines: one per event, on standard error, as text for people or as JSON for whoever collects them.

What an event is about goes into fields, not into the sentence: `log.info("session opened", extra={"session": …})`.
Text shows them as `session=…` behind the message, JSON as keys. Lines written while an HTTP request is served
carry its `request` id, which the answer carries too (`X-Request-ID`), and the `peer` that sent it. Audio and
scores are never logged.
"""

from __future__ import annotations

import atexit
import io
import logging
import re
import sys
import threading
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from server.log_writer import LineWriter, Spawn, spawn

Format = Literal["text", "json"]

REQUEST: ContextVar[str] = ContextVar("request", default="")  # the HTTP request that is being served
PEER: ContextVar[str] = ContextVar("peer", default="")  # the address that it came from

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


_writer: LineWriter | None = None


def configure(level: str, format: Format, spawn: Spawn = spawn) -> None:
    """Send every log line to standard error, and what others write there as lines of the same kind.

    To be called once, when a process starts. `spawn` starts a thread of the operating system.
    """
    global _writer
    formatter = _Json() if format == "json" else _Text()
    missing = _made("logs", logging.WARNING, "%d lines are missing here: whoever reads the log was too slow")

    def notice(n: int) -> bytes:
        # On the thread that writes: making a record there would take locks that are not for it.
        missing.args, missing.created = (n,), time.time()
        return _line(formatter.format(missing))

    _writer = LineWriter(notice, spawn=spawn)
    atexit.register(flush)
    handler = _LogHandler(_writer)
    handler.setFormatter(formatter)
    handler.addFilter(_with_request)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.stderr = _Foreign()
    sys.excepthook = _uncaught
    threading.excepthook = lambda end: _uncaught(end.exc_type, end.exc_value, end.exc_traceback)


def say(text: str) -> None:
    """Tell whoever started this process something, on standard output; never waits for them."""
    assert _writer is not None, "configure comes first"
    _writer.put(_line(text), fd=1)


def dropped() -> int:
    """Lines of this process that nobody will read: there was no room for them, or nobody to take them."""
    return _writer.dropped if _writer else 0


def flush() -> None:
    """Give the last lines a moment to be written."""
    if _writer:
        _writer.flush()


class _LogHandler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as wrong:  # what it was about must not be lost with it
            line = self.format(_made("logs", logging.ERROR, f"{record.msg!r} cannot be formatted: {wrong!r}"))
        self._writer.put(_line(line))


class _Foreign(io.TextIOBase):
    """Standard error for those who know nothing of logs: each line that they write is a line of the log."""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                logging.getLogger("stderr").warning("%s", line.rstrip())
        return len(text)


def _uncaught(kind: type[BaseException], wrong: BaseException | None, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("server").critical("not caught", exc_info=(kind, wrong or kind(), where))


def _made(name: str, level: int, message: str) -> logging.LogRecord:
    """A record that goes through no logger."""
    return logging.LogRecord(name, level, "", 0, message, None, None)


def _line(text: str) -> bytes:
    return text.encode(errors="backslashreplace") + b"\n"


def _with_request(record: logging.LogRecord) -> bool:
    for name, value in (("request", REQUEST.get()), ("peer", PEER.get())):
        if value and not hasattr(record, name):
            setattr(record, name, value)
    return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_plain(value)}" for name, value in _fields(record).items())
        return _escaped(super().formatMessage(record)) + fields

    def formatException(self, exc_info: Any) -> str:
        # Indented: what an exception quotes must not look like a line of its own.
        return "\n".join(f"  {_escaped(line)}" for line in super().formatException(exc_info).split("\n"))


class _Json(JsonFormatter):
    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=names)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _escaped(text: str) -> str:
    """Nothing in it moves a terminal's cursor, colors it, or begins a line."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _plain(value: object) -> str:
    """One word: what holds spaces, line breaks or control characters is quoted."""
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) and not _CONTROL.search(text) else repr(text)
