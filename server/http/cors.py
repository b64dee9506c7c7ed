"""What answers tell browsers of pages of other sites (`server.access.origins`)."""

from __future__ import annotations

from flask import Flask, Response, request

from server.access.origins import Origins

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Max-Age": "600",
}


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
