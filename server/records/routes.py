"""REST for recorded sessions: list them, read their files, remove them. Who may watch the desk may do that."""

from __future__ import annotations

import csv
import heapq
from pathlib import Path

import numpy as np
import orjson
from flask import Flask, Response, jsonify, request, send_file

from server import wire
from server.access.auth import Access
from server.access.identity import Identity
from server.errors import ClientError
from server.live.registry import Sessions
from server.live.requests import THRESHOLDS, SpanRequest, parse_span, unscored
from server.rate_limit import Turn
from server.records.session_record import HEAD, TIMELINE, TYPES
from server.storage import OutputStore
from server.tenants import TenantStores
from stream.history import Stretch
from stream.types import LABELS, N_LABELS, JsonDict

PREFIX = "/api/v1/sessions"
MOST = 500  # records in one list


def add_record_routes(app: Flask, stores: TenantStores, sessions: Sessions, access: Access) -> None:
    """Adds the routes of this module. Records are there to be read also when none are made any more."""

    def allowed() -> Identity:
        return access.identify(request.environ, "records")

    @app.get(PREFIX)
    def list_records() -> Response:
        store = stores.of(allowed().tenant)
        limit = request.args.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MOST):
            raise ClientError("BAD_REQUEST", f"'limit' must be a number from 1 to {MOST}")
        wanted = request.args.get("session_id")
        names = (name for name in _names(store.root) if wanted is None or name.endswith(f"_{wanted}"))
        heads, turn = [], Turn()
        for name in heapq.nlargest(int(limit) if wanted is None else MOST, names):
            head = _head(path) if (path := store.find(name)) else None
            if head and wanted in (None, head["session_id"]):  # `x_7` ends like `7`, and is another
                heads.append(head)
            turn.over()
        return jsonify(success=True, sessions=heads[: int(limit)])

    @app.get(f"{PREFIX}/<record>/span")
    def span(record: str) -> Response:
        """Of a live session by its id, or of a record by its."""
        tenant = allowed().tenant
        store = stores.of(tenant)
        session = None if store.find(record) else sessions.get(tenant, record)
        if session is not None:
            return jsonify(success=True, **session.span(parse_span(_query())))
        return jsonify(success=True, **_recorded(_folder(store, record), parse_span(_query())))

    @app.get(f"{PREFIX}/<record>/<name>")
    def read_record(record: str, name: str) -> Response:
        path = _folder(stores.of(allowed().tenant), record) / name
        if name not in TYPES or path.is_symlink() or not path.is_file():
            raise _no_such_record()
        return send_file(path, TYPES[name], as_attachment=True, download_name=f"{record}_{name}")

    @app.delete(f"{PREFIX}/<record>")
    def remove_record(record: str) -> Response:
        store = stores.of(allowed().tenant)
        _folder(store, record)
        if not store.delete(record):
            raise _no_such_record()
        return jsonify(success=True)


def _query() -> JsonDict:
    """The fields of a span as its query says them: `begin_ms=0&end_ms=5000&present=angry:0.3,sad:0.2`."""
    given: JsonDict = dict(request.args)
    for name in ("begin_ms", "end_ms"):
        if (text := given.get(name, "")).isascii() and text.isdigit() and len(text) < 16:
            given[name] = int(text)
    if "present" in given:
        pairs = (part.partition(":") for part in given["present"].split(","))
        try:
            given["present"] = {label: float(threshold) for label, _, threshold in pairs}
        except ValueError:
            raise ClientError("BAD_REQUEST", THRESHOLDS) from None
    return given


def _recorded(folder: Path, asked: SpanRequest) -> JsonDict:
    """What its timeline says, in half seconds: of those that begin in the span."""
    head = _head(folder)
    if head is None:
        raise _no_such_record()
    names = list(head.get("by_channel") or {})
    if asked.channel not in (names or [None]):
        raise unscored(names)
    begin_ms, end_ms, n, total, turn = wire.ms(asked.start), wire.ms(asked.end), 0, np.zeros(N_LABELS), Turn()
    with (folder / TIMELINE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            turn.over()  # it may be hours long
            if begin_ms <= int(row["start_ms"]) < end_ms and row["channel"] == (asked.channel or ""):
                n += int(row["frames"])
                total += int(row["frames"]) * np.array([float(row[label]) for label in LABELS])
    mean = (total / n).astype(np.float32) if n else None
    complete = bool(head["complete"]) and end_ms <= head.get("audio_ms", 0)
    stretch = Stretch(asked.start, asked.end, n, mean, complete)
    return wire.span(head["session_id"], asked.channel, stretch, asked.present)


def _names(root: Path) -> list[str]:
    """Newest last: a name begins with its time."""
    try:
        return [path.name for path in root.iterdir() if path.name.startswith("session_")]
    except OSError:
        return []


def _head(folder: Path) -> JsonDict | None:
    """What session.json says, and which files there are; None of a folder that is just being removed."""
    try:
        head: JsonDict = orjson.loads((folder / HEAD).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    here = [name for name in TYPES if (folder / name).is_file()]
    return {"id": folder.name, **head, "files": {name: f"{PREFIX}/{folder.name}/{name}" for name in here}}


def _folder(store: OutputStore, record: str) -> Path:
    """Raises ClientError NOT_FOUND; also for what else lies there: recognized files have routes of their own."""
    folder = store.find(record) if record.startswith("session_") else None
    if folder is None:
        raise _no_such_record()
    return folder


def _no_such_record() -> ClientError:
    return ClientError("NOT_FOUND", "no such record; records are kept for a limited time")
