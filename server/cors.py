"""Pages of other sites that may call the HTTP interface: those of `server.cors_origins`, as for the socket."""

from __future__ import annotations

from flask import Flask, Response, request

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Max-Age": "600",
}


def allow_origins(app: Flask, listed: str) -> None:
    """`listed`: origins with commas between, or "*". Nothing is added to answers for pages of other origins."""
    others = {origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()}

    @app.after_request
    def shared(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin is None or not request.path.startswith("/api/"):
            return response
        response.vary.add("Origin")
        if "*" in others or origin in others:
            # No cookies are used, and none are allowed: a token is what opens this server.
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After, Content-Disposition"
            if request.method == "OPTIONS":
                response.headers.update(PREFLIGHT)
        return response
