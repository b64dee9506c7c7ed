"""Pages of other sites: those of `server.cors_origins` may connect and call the HTTP interface, others may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Max-Age": "600",
}


class Origins:
    """Whose pages are served: this server's own, and those listed, with commas between; "*" means all."""

    def __init__(self, listed: str) -> None:
        others = {origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()}
        self.all = "*" in others
        self._others = others

    def lists(self, origin: str) -> bool:
        """Whether pages of this other origin are served."""
        return self.all or origin in self._others

    def allow(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Whether a page of `origin` may do what this request asks. The Host has been checked (server.hosts)."""
        if origin is None:
            return self.all
        try:
            own = urlsplit(origin).netloc.lower()
        except ValueError:
            own = ""
        return self.lists(origin) or bool(own and own == str(environ.get("HTTP_HOST", "")).lower())


def allow_origins(app: Flask, origins: Origins) -> None:
    """Nothing is added to answers for pages of origins that are not listed."""

    @app.after_request
    def shared(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin is None or not request.path.startswith("/api/"):
            return response
        response.vary.add("Origin")
        if origins.lists(origin):
            # No cookies are used, and none are allowed: a token is what opens this server.
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After, Content-Disposition"
            if request.method == "OPTIONS":
                response.headers.update(PREFLIGHT)
        return response
