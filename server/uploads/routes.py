"""REST for files: POST a recording, read its results, remove them, and the description of it all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import orjson
from flask import Flask, Response, jsonify, request, send_file

from server import hub
from server.access import auth
from server.config import Config
from server.errors import CODES, ClientError
from server.files.result import AUDIO, CSV, EMBEDDING, RESULT
from server.http import openapi
from server.metrics import Metrics
from server.peer import peer
from server.uploads.pool import Gone
from server.uploads.service import PREFIX, Answer, Incoming, Told, Uploads
from stream.types import JsonDict

NDJSON = "application/x-ndjson"
TYPES = {
    RESULT: "application/json",
    CSV: "text/csv; charset=utf-8",
    EMBEDDING: "application/octet-stream",
    AUDIO: "audio/wav",
}
PIECE = 1 << 16

log = logging.getLogger("upload")


def add_recognition_routes(app: Flask, config: Config, uploads: Uploads, metrics: Metrics) -> None:
    """Adds the routes of this module."""

    def allowed() -> None:
        auth.check(config.server.token, auth.bearer(request.headers.get("Authorization")))

    @app.post("/api/v1/emotion/recognize")
    def recognize() -> Response:
        allowed()
        environ = request.environ
        work = uploads.recognise(
            Incoming(
                read=environ["wsgi.input"].read1,
                content_type=request.content_type or "",
                length=request.content_length,
                peer=peer(environ),
                gone=lambda: hub.has_left(environ),
                break_off=lambda: hub.stop_reading(environ),
            )
        )
        if NDJSON not in request.headers.get("Accept", ""):
            size, body = _json(_exhausted(work))
            return Response(body, mimetype="application/json", headers={"Content-Length": str(size)})
        first = next(work)  # until here, what is wrong has a status of its own
        response = Response(_lines(first, work, metrics), mimetype=NDJSON)
        response.headers["X-Accel-Buffering"] = "no"  # a proxy that collected the lines would tell nothing
        response.call_on_close(work.close)
        return response

    @app.get(f"{PREFIX}/<result>/<name>")
    def download(result: str, name: str) -> Response:
        allowed()
        path = _found(uploads, result, name)
        return send_file(path, TYPES[name], as_attachment=True, download_name=name)

    @app.delete(f"{PREFIX}/<result>")
    def remove(result: str) -> Response:
        allowed()
        if not (result.startswith("outputs_") and uploads.remove(result)):
            raise _no_such_result()
        return jsonify(success=True)

    @app.get("/openapi.json")
    def description() -> Response:
        return jsonify(openapi.document())


def _exhausted(work: Told) -> Answer:
    """The answer alone. A client that has gone away hears nothing: what it is told does not matter."""
    try:
        while True:
            next(work)
    except StopIteration as done:
        return cast(Answer, done.value)
    except Gone:
        raise ClientError("BAD_REQUEST", "the client has gone away") from None


def _lines(first: JsonDict, work: Told, metrics: Metrics) -> Iterator[bytes]:
    """Steps and progress as they come, one JSON object per line; the result or the error is the last."""
    yield orjson.dumps(first) + b"\n"
    try:
        while True:
            yield orjson.dumps(next(work)) + b"\n"
    except StopIteration as done:
        yield b'{"result": '
        for piece in _json(cast(Answer, done.value))[1]:
            yield piece.replace(b"\n", b"")  # between values only: within text it is escaped
        yield b"}\n"
    except ClientError as refused:
        metrics.error(refused.code)
        yield _error(refused)
    except Gone:
        return
    except Exception:
        log.exception("a file was not recognised")
        metrics.error("INTERNAL")
        yield _error(ClientError("INTERNAL", "a fault of the server; see its log"))


def _error(wrong: ClientError) -> bytes:
    """As a line: with the status that it has where it comes as an answer of its own."""
    said: JsonDict = {**wrong.to_wire(), "status": CODES[wrong.code]}
    if wrong.retry_after_s:
        said["retry_after"] = wrong.retry_after_s
    return orjson.dumps({"error": said}) + b"\n"


def _json(answer: Answer) -> tuple[int, Iterator[bytes]]:
    """The length of the answer as JSON, and its pieces: what result.json says is copied from there."""
    head = orjson.dumps(answer.head)[:-1] + b","
    file = answer.result.open("rb")
    size = answer.result.stat().st_size
    return len(head) + size - 1, _copied(head, file)


def _copied(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield head + file.read(PIECE)[1:]
        while piece := file.read(PIECE):
            yield piece


def _found(uploads: Uploads, result: str, name: str) -> Path:
    """A file of a result. Recorded sessions are not read here. Raises ClientError NOT_FOUND."""
    folder = uploads.store.find(result) if result.startswith("outputs_") else None
    path = folder / name if folder and name in TYPES else None
    if path is None or path.is_symlink() or not path.is_file():
        raise _no_such_result()
    return path


def _no_such_result() -> ClientError:
    return ClientError("NOT_FOUND", "there is no such result (any more); results are kept for a limited time")
