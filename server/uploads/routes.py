"""REST for files: POST a recording, read its results, remove them, and the description of it all."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import orjson
from flask import Flask, Response, jsonify, request, send_file

from server import hub
from server.access.auth import Access
from server.access.identity import Identity
from server.config import Config
from server.errors import CODES, ClientError, internal_error
from server.files.result import AUDIO, CSV, EMBEDDING, RESULT, OnProgress, Progress
from server.http import openapi
from server.http.pages import RECOGNIZE
from server.language import Language, in_language, of_request
from server.metrics import Metrics
from server.peer import on_this_machine, peer
from server.uploads.pool import ClientDisconnected
from server.uploads.service import PREFIX, Incoming, UploadAnswer, Uploads, addresses
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


def add_recognition_routes(
    app: Flask, config: Config, uploads: Uploads, access: Access, metrics: Metrics
) -> None:
    """Adds the routes of this module."""

    def allowed() -> Identity:
        return access.identify(request.environ, "files")

    @app.post(RECOGNIZE)
    @app.post("/upload")  # this and the next: as code has it that was written for other servers
    @app.post("/api/predict/", strict_slashes=False)
    def recognize() -> Response:
        identity, environ = allowed(), request.environ
        language = of_request(environ, config.server.language)
        over = threading.Event()  # the answer has been sent, or nobody takes it any more
        incoming = Incoming(
            read=environ["wsgi.input"].read1,
            content_type=request.content_type or "",
            length=request.content_length,
            identity=identity,
            peer=peer(environ),
            local=on_this_machine(environ),
            gone=lambda: over.is_set() or hub.client_disconnected(environ),
            break_off=lambda: hub.stop_reading(environ),
        )
        if NDJSON not in request.headers.get("Accept", ""):
            try:
                size, body = _json(uploads.recognize(incoming), language)
            except ClientDisconnected:  # whatever is answered is not read
                raise ClientError("BAD_REQUEST", "the client has disconnected") from None
            return Response(body, mimetype="application/json", headers={"Content-Length": str(size)})
        lines = _lines(partial(uploads.recognize, incoming), metrics, language)
        first = next(lines)  # until here, what is wrong has a status of its own
        response = Response(chain([first], lines), mimetype=NDJSON)
        response.headers["X-Accel-Buffering"] = "no"  # a proxy that collected the lines would tell nothing
        response.call_on_close(over.set)
        return response

    @app.get(f"{PREFIX}/<result>")
    def read(result: str) -> Response:
        path = _found(uploads, allowed().tenant, result, RESULT)
        files = addresses(result, (path.parent / EMBEDDING).is_file())
        size, body = _with_head({"success": True, "id": result, "files": files}, path)
        return Response(body, mimetype="application/json", headers={"Content-Length": str(size)})

    @app.get(f"{PREFIX}/<result>/<name>")
    def download(result: str, name: str) -> Response:
        path = _found(uploads, allowed().tenant, result, name)
        return send_file(path, TYPES[name], as_attachment=True, download_name=name)

    @app.delete(f"{PREFIX}/<result>")
    def remove(result: str) -> Response:
        tenant = allowed().tenant
        if not (result.startswith("outputs_") and uploads.remove(tenant, result)):
            raise _no_such_result()
        return jsonify(success=True)

    @app.get("/openapi.json")
    def description() -> Response:
        return jsonify(openapi.document())


def _lines(
    recognize: Callable[[OnProgress], UploadAnswer], metrics: Metrics, language: Language
) -> Iterator[bytes]:
    """Steps and progress as they come, one JSON object per line; the result or the error is the last.

    `recognize` runs in a thread. Before the first line, what it raises is raised here.
    """
    reports: queue.Queue[Progress | UploadAnswer | BaseException] = queue.Queue()

    def run() -> None:
        try:
            reports.put(recognize(reports.put))
        except BaseException as wrong:
            reports.put(wrong)

    # In a copy of this context: log lines carry the request's id.
    threading.Thread(target=copy_context().run, args=(run,), name="upload", daemon=True).start()
    first = True
    try:
        while isinstance(report := reports.get(), dict):
            line = {"step": _told(report["step"], language)} if "step" in report else report
            yield orjson.dumps(line) + b"\n"
            first = False
        if isinstance(report, BaseException):
            raise report
        yield b'{"result": '
        for piece in _json(report, language)[1]:
            yield piece.replace(b"\n", b"")  # between values only: within text it is escaped
        yield b"}\n"
    except ClientError as refused:
        if first:
            raise
        metrics.error(refused.code)
        yield _error(refused, language)
    except ClientDisconnected:
        return
    except Exception:
        if first:
            raise
        log.exception("a file was not recognized")
        metrics.error("INTERNAL")
        yield _error(internal_error(), language)


def _error(wrong: ClientError, language: Language) -> bytes:
    """As a line: with the status that it has where it comes as an answer of its own."""
    said: JsonDict = {**wrong.to_wire(language), "status": CODES[wrong.code]}
    if wrong.retry_after_s:
        said["retry_after"] = wrong.retry_after_s
    return orjson.dumps({"error": said}) + b"\n"


def _told(step: JsonDict, language: Language) -> JsonDict:
    return {**step, "detail": in_language(step["detail"], language)}


def _json(answer: UploadAnswer, language: Language) -> tuple[int, Iterator[bytes]]:
    """The length of the answer as JSON, and its pieces."""
    said = {**answer.head, "steps": [_told(step, language) for step in answer.head["steps"]]}
    if "embedding_note" in said:
        said["embedding_note"] = in_language(said["embedding_note"], language)
    return _with_head(said, answer.result)


def _with_head(said: JsonDict, result: Path) -> tuple[int, Iterator[bytes]]:
    """`said`, and after it the fields of this result.json: the length of that object, and its pieces."""
    head = orjson.dumps(said)[:-1] + b","
    file = result.open("rb")
    return len(head) + result.stat().st_size - 1, _copied(head, file)


def _copied(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield head + file.read(PIECE)[1:]
        while piece := file.read(PIECE):
            yield piece


def _found(uploads: Uploads, tenant: str, result: str, name: str) -> Path:
    """A file of a result of a tenant's. Recorded sessions are not read here. Raises ClientError NOT_FOUND."""
    folder = uploads.stores.of(tenant).find(result) if result.startswith("outputs_") else None
    path = folder / name if folder and name in TYPES else None
    if path is None or path.is_symlink() or not path.is_file():
        raise _no_such_result()
    return path


def _no_such_result() -> ClientError:
    return ClientError("NOT_FOUND", "no such result; results are kept for a limited time")
