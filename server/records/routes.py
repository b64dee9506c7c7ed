"""REST for recorded sessions: list them, read their files, remove them. Who may watch the desk may do that."""

from __future__ import annotations

import heapq
from pathlib import Path

import orjson
from flask import Flask, Response, jsonify, request, send_file

from server.access import auth
from server.config import Config
from server.errors import ClientError
from server.records.session_record import HEAD, TYPES
from server.storage import OutputStore
from stream.types import JsonDict

PREFIX = "/api/v1/sessions"
MOST = 500  # records in one list


def add_record_routes(app: Flask, config: Config, store: OutputStore) -> None:
    """Adds the routes of this module. Records are there to be read also when none are made any more."""

    def allowed() -> None:
        given = auth.bearer(request.headers.get("Authorization"))
        auth.check_monitor(config.server.token, config.monitor.token, given)

    @app.get(PREFIX)
    def list_records() -> Response:
        allowed()
        limit = request.args.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MOST):
            raise ClientError("BAD_REQUEST", f"'limit' must be a number from 1 to {MOST}")
        ending = f"_{request.args['session_id']}" if "session_id" in request.args else ""
        names = heapq.nlargest(int(limit), (name for name in _names(store.root) if name.endswith(ending)))
        heads = [_head(path) for name in names if (path := store.find(name))]
        return jsonify(success=True, sessions=[head for head in heads if head])

    @app.get(f"{PREFIX}/<record>/<name>")
    def read_record(record: str, name: str) -> Response:
        allowed()
        path = _folder(store, record) / name
        if name not in TYPES or path.is_symlink() or not path.is_file():
            raise _no_such_record()
        return send_file(path, TYPES[name], as_attachment=True, download_name=f"{record}_{name}")

    @app.delete(f"{PREFIX}/<record>")
    def remove_record(record: str) -> Response:
        allowed()
        _folder(store, record)
        if not store.delete(record):
            raise _no_such_record()
        return jsonify(success=True)


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
