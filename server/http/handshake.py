"""What is refused before a Socket.IO server sees it: handshakes that RFC 6455, 4.2.1, would not have, and polling
where there are several workers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import orjson

from server.errors import ClientError
from server.language import Language, of_request

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def require_websocket_13(wsgi: Wsgi) -> Wsgi:
    """Refuse handshakes that the RFC would not have, which the servers underneath take, or choke on."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asks = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        version, key = environ.get("HTTP_SEC_WEBSOCKET_VERSION"), environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        words = {word.strip().lower() for word in environ.get("HTTP_CONNECTION", "").split(",")}
        if asks and not (version == "13" and _is_key(key) and "upgrade" in words):
            start_response("400 Bad Request", [("Sec-WebSocket-Version", "13"), ("Content-Length", "0")])
            return [b""]
        return wsgi(environ, start_response)

    return guarded


def refuse_polling(wsgi: Wsgi, default: Language) -> Wsgi:
    """Tell who polls Socket.IO that each of its requests may reach another worker, which does not know it."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        transport = parse_qs(environ.get("QUERY_STRING", "")).get("transport", ["polling"])[-1]
        if not environ.get("PATH_INFO", "").startswith("/socket.io") or transport == "websocket":
            return wsgi(environ, start_response)
        wrong = ClientError(
            "BAD_REQUEST",
            "this server has several workers, and polling would go from one to another; connect by WebSocket"
            " (transports: websocket)",
        )
        body = orjson.dumps({"success": False, "error": wrong.to_wire(of_request(environ, default))})
        head = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("400 Bad Request", head)
        return [body]

    return guarded


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
