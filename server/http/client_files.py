"""`GET /client/…`: the browser client, as modules that any page may import."""

from __future__ import annotations

from flask import Flask, Response, send_from_directory

from server.paths import BROWSER_CLIENT, STATIC

SOCKET_IO = STATIC / "vendor" / "socket.io-client"
BESIDE = "socket.io.esm.min.js"  # where the client looks for Socket.IO when the page brings none


def add_client_routes(app: Flask) -> None:
    """To be called before the route of a page that uses them; order does not matter otherwise."""

    @app.get("/client/<name>.js")
    def client_module(name: str) -> Response:
        file = f"{name}.js"
        answer = send_from_directory(SOCKET_IO if file == BESIDE else BROWSER_CLIENT, file)
        # Public code: pages of other sites may import it. What they may then do, server.cors_origins says.
        answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer
