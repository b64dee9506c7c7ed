"""Log lines: one per event, on standard error, as text for people or as JSON for whoever collects them.

What an event is about goes into fields, not into the sentence: `log.info("session opened", extra={"session": …})`.
Text shows them as `session=…` behind the message, JSON as keys. Lines written while an HTTP request is served
carry its `request` id, which the answer carries too (`X-Request-ID`), and the `peer` that sent it. Audio and
scores are never logged.
"""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

Format = Literal["text", "json"]

REQUEST: ContextVar[str] = ContextVar("request", default="")  # the HTTP request that is being served
PEER: ContextVar[str] = ContextVar("peer", default="")  # the address that it came from

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, format: Format) -> None:
    """Send every log line to standard error. To be called once, when a process starts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    handler.addFilter(_with_request)
    logging.basicConfig(level=level, handlers=[handler], force=True)


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
        return super().formatMessage(record).replace("\n", "\\n") + fields


class _Json(JsonFormatter):
    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=names)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _plain(value: object) -> str:
    """One word: what holds spaces or line breaks is quoted."""
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else repr(text)
