"""A line per HTTP request, and an id that its line, all others written meanwhile, and its answer carry."""

from __future__ import annotations

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from server.logs import REQUEST

log = logging.getLogger("http")

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def add_request_log(app: Flask) -> None:
    """Requests for recognition and records at INFO; pages, scrapes and probes at DEBUG."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        g.began_s = time.monotonic()
        REQUEST.set(g.request_id)

    @app.after_request
    def end(response: Response) -> Response:
        # The rule, not the path: what a stranger writes into a path need not be in our log.
        route = request.url_rule.rule if request.url_rule else "no such page"
        fields = {"request": g.request_id, "status": response.status_code}
        # `server.access.refusals` has logged these, which no flood can fill the log with.
        logged_already = response.status_code in (401, 403)
        quiet = logged_already or not route.startswith("/api/") or route == "/api/v1/status"
        level = logging.DEBUG if quiet else logging.INFO
        method, began_s = request.method, g.began_s

        def told() -> None:
            spent = {"ms": round(1000 * (time.monotonic() - began_s), 1)}
            log.log(level, "%s %s", method, route, extra=fields | spent)

        response.headers["X-Request-ID"] = g.request_id
        response.call_on_close(told)  # an answer that streams is over when its last byte has gone
        return response

    @app.teardown_request
    def over(_: BaseException | None) -> None:
        REQUEST.set("")
