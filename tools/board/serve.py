"""The board's own server: on this machine alone, behind an address that nobody can guess.

Every address begins with a secret of the moment, requests have to call this machine by a name of its own, and what
changes something must come from its own page (`server.access.hosts`): neither another page in the same browser nor
another user of the machine can ask for a recording. Nothing is served but the page's files, the map and the
recordings on it.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from flask import Flask, Response, jsonify, request, send_file, send_from_directory
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.serving import BaseWSGIServer, make_server

from server.access.hosts import guard
from server.access.origins import Origins
from server.access.refusals import Refusals
from server.config import ServerSection
from server.http.pages import SAFETY
from server.language import in_language, of_request
from server.metrics import Metrics
from server.paths import STATIC
from tools.board.state import MapBoard, Refusal

MAX_BODY = 4 << 20  # bytes: the numbers of half a million recordings


class BoardServer:
    """`url` once it is made; `run` serves until it is interrupted."""

    def __init__(self, board: MapBoard, port: int = 0, language: str | None = None) -> None:
        """`port` 0: a free one; `language`: of the page, None: its reader's. Raises OSError."""
        secret = secrets.token_urlsafe(24)
        app = _app(board, secret)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request would tell the secret
        self._server: BaseWSGIServer = make_server("127.0.0.1", port, app, threaded=True)
        asked = f"?lang={language}" if language else ""
        self.url = f"http://127.0.0.1:{self._server.server_port}/{secret}/{asked}"

    def run(self) -> None:
        try:
            self._server.serve_forever()
        finally:
            self._server.server_close()


def _app(board: MapBoard, secret: str) -> Any:
    app = Flask("board", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY

    @app.url_value_preprocessor
    def known(_: str | None, values: dict[str, Any] | None) -> None:
        if values is not None and not secrets.compare_digest(values.pop("secret").encode(), secret.encode()):
            raise NotFound

    @app.get("/<secret>/")
    def page() -> Response:
        return send_from_directory(STATIC / "board", "index.html")

    @app.get("/<secret>/static/<path:name>")
    def part(name: str) -> Response:
        return send_from_directory(STATIC, name)

    @app.get("/<secret>/map")
    def map_() -> Response:
        return jsonify(board.to_json())

    @app.get("/<secret>/audio/<int:number>")
    def audio(number: int) -> Response:
        path = board.audio(number)
        if path is None:
            raise NotFound
        return send_file(path, mimetype="audio/wav", conditional=True)

    @app.post("/<secret>/labels")
    def label() -> Response:
        told = _told()
        numbers, name = told.get("numbers"), told.get("label")
        if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
            raise Refusal("OTHER", message="'numbers' is not a list of numbers")
        if name is not None and not isinstance(name, str):
            raise Refusal("OTHER", message="'label' is not a text")
        board.label(numbers, name)
        return jsonify(success=True)

    @app.post("/<secret>/teach")
    def teach() -> Response:
        told = _told()
        return jsonify(board.teach(str(told.get("name", "")), told.get("replace") is True))

    @app.errorhandler(Refusal)
    def refused(wrong: Refusal) -> tuple[Response, int]:
        language = of_request(request.environ, "en")
        told = {k: in_language(v, language) if isinstance(v, str) else v for k, v in wrong.values.items()}
        return jsonify(error={"code": wrong.code, **told}), 409 if wrong.code == "EXISTS" else 422

    @app.errorhandler(HTTPException)
    def http_error(wrong: HTTPException) -> tuple[Response, int]:
        return jsonify(error={"code": "OTHER", "message": wrong.description or ""}), wrong.code or 500

    @app.after_request
    def safe(response: Response) -> Response:
        response.headers.update(SAFETY)
        response.headers["Cache-Control"] = "no-store"
        return response

    return guard(app.wsgi_app, ServerSection(), Origins(""), Metrics(), Refusals())


def _told() -> dict[str, Any]:
    told = request.get_json()  # of no other type: a form of another page cannot send it
    if not isinstance(told, dict):
        raise Refusal("OTHER", message="expected an object with fields")
    return told
