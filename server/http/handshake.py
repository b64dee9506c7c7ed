"""WebSocket handshakes as RFC 6455, 4.2.1, wants them, before a server underneath sees them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any

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


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
