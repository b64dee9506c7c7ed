"""HTTP: the pages, the state of the service, the metrics."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, jsonify, request, send_from_directory
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from server import __version__
from server.access.auth import Access
from server.access.refusals import Refusals
from server.config import Config
from server.counts import SharedCounts
from server.engine import Engine
from server.errors import CODES, ClientError, Code
from server.language import Language, in_language, of_request
from server.live.registry import Sessions
from server.metrics import Metrics
from server.paths import STATIC
from server.peer import peer
from stream.types import JsonDict

log = logging.getLogger("http")

# Pages load nothing from elsewhere, are framed by nobody, and are what they say.
SAFETY = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " media-src 'self' blob:;"  # a recording that was chosen on the page is played from there
    " connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), display-capture=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


RECOGNIZE = "/api/v1/emotion/recognize"
NOT_HERE = ("NOT_FOUND", "METHOD_NOT_ALLOWED")


@dataclass(frozen=True)
class ServerState:
    """What the pages say of the server, each at the moment when it is asked."""

    sessions: Sessions
    counts: SharedCounts  # of all workers
    metrics: Callable[[], bytes]  # for Prometheus
    started_s: float  # time.monotonic()
    load: Callable[[], JsonDict]  # how busy it is
    files_not_ready: Callable[[], str | None]  # why files are not taken yet, if so
    service: Callable[[], JsonDict] | None = None  # of several servers, and how this one stands to the others
    degraded: Callable[[], str | None] = lambda: None  # why it is not one with them, if so


def add_routes(
    app: Flask,
    config: Config,
    engine: Engine,
    metrics: Metrics,
    state: ServerState,
    access: Access,
    refusals: Refusals,
) -> None:
    """Adds the routes of this module."""

    def not_ready() -> str | None:
        """Why no new session or file would be let in; None when it would."""
        if state.sessions.draining:
            return "the server is shutting down"
        return engine.health().error or state.files_not_ready()

    def language() -> Language:
        return of_request(request.environ, config.server.language)

    @app.get("/")
    def live_page() -> Response:
        return send_from_directory(STATIC / "live", "index.html")

    @app.get("/upload")
    @app.get("/result")  # the same page with one result that is kept, which the address names behind a #
    def upload_page() -> Response:
        return send_from_directory(STATIC / "upload", "index.html")

    @app.get("/desk")
    def desk_page() -> Response:
        return send_from_directory(STATIC / "desk", "index.html")

    @app.get("/sessions")
    def sessions_page() -> Response:
        return send_from_directory(STATIC / "sessions", "index.html")

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.get("/readyz")
    def readyz() -> Response:
        why = not_ready()
        if why is None:
            alone = state.degraded()
            return Response(f"ready, alone: {alone}\n" if alone else "ready\n", mimetype="text/plain")
        return Response(f"not ready: {why}\n", status=503, mimetype="text/plain")

    @app.get("/api/v1/status")
    def status() -> Response:
        access.identify(request.environ, None)
        health, spec, why = engine.health(), engine.spec, not_ready()
        return jsonify(
            ready=why is None,
            error=why and in_language(why, language()),
            model=spec.name if spec else config.model.name,
            model_fingerprint=spec.fingerprint if spec else None,
            device=spec.device if spec else None,
            dtype=spec.dtype if spec else None,
            runtime=spec.runtime if spec else None,
            prior=spec.prior if spec else None,
            supported_labels=spec.supported_labels if spec else None,
            can_say=spec.supported_labels if spec else None,  # its name until 0.1; gone in 0.3
            labels_zh=config.server.names_zh,
            measured=spec.measured if spec else None,
            replicas=[
                {
                    "replica": replica.number,
                    "up": replica.up,
                    "device": replica.device,
                    "outstanding": replica.outstanding,
                    "restarts": replica.restarts,
                }
                for replica in health.replicas
            ],
            queue_depth=health.waiting,
            engine_restarts=health.restarts,
            uptime_s=round(time.monotonic() - state.started_s, 1),
            version=__version__,
            keeps="audio" if config.recording.audio else "scores" if config.recording.sessions else "nothing",
            load=state.load(),
            **({"service": state.service()} if state.service else {}),
            sessions=sum(state.counts.each("sessions")),
            connections=sum(state.counts.each("connections")),
            limits={"upload_bytes": config.files.max_upload_bytes, "upload_s": config.files.max_audio_s},
        )

    @app.get("/metrics")
    def scrape() -> Response:
        return Response(state.metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.after_request
    def counted(response: Response) -> Response:
        # The rule, not the path: paths are made up by strangers, and each would become a time series.
        endpoint = request.url_rule.rule if request.url_rule else "other"
        metrics.requests.labels(endpoint, str(response.status_code)).inc()
        response.headers.update(SAFETY)
        if request.path.startswith("/api/"):  # what it says of somebody stays in no cache
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(ClientError)
    def refused(wrong: ClientError) -> Response:
        metrics.error(wrong.code)
        if wrong.code in ("UNAUTHORIZED", "FORBIDDEN", "CLOSED"):
            refusals.tell(log, "request refused", peer(request.environ), code=wrong.code)
        response = jsonify(success=False, error=wrong.to_wire(language()))
        response.status_code = CODES[wrong.code]
        if wrong.retry_after_s:
            response.headers["Retry-After"] = str(wrong.retry_after_s)
        return response

    @app.errorhandler(HTTPException)
    def http_error(wrong: HTTPException) -> Response:
        status = wrong.code or 500
        code: Code = "BAD_REQUEST" if status < 500 else "INTERNAL"
        message = wrong.description or ""
        if isinstance(wrong, NotFound):
            code, message = (
                "NOT_FOUND",
                f"there is no {request.path[:100]!r} here{_nearest(app, request.path)}",
            )
        elif isinstance(wrong, MethodNotAllowed):
            taken = " or ".join(sorted(set(wrong.valid_methods or ()) - {"HEAD", "OPTIONS"}))
            code, message = (
                "METHOD_NOT_ALLOWED",
                f"{request.path[:100]!r} takes {taken}, not {request.method}",
            )
        if code in NOT_HERE and request.method == "POST":
            message = f"{message}; send recordings to POST {RECOGNIZE}"
        response = jsonify(success=False, error=ClientError(code, message).to_wire(language()))
        response.status_code = status
        # What belongs to the status: the methods that are allowed, the range that would be.
        response.headers.extend(x for x in wrong.get_headers() if x[0] != "Content-Type")
        return response


def _nearest(app: Flask, path: str) -> str:
    """The address that may have been meant."""
    fixed = [rule.rule for rule in app.url_map.iter_rules() if not rule.arguments]
    near = difflib.get_close_matches(path[:100], fixed, n=1)
    return f"; did you mean {near[0]!r}?" if near else "; /openapi.json lists what there is"
