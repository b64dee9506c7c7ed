"""`/v1/twilio`: Twilio Media Streams, one way. docs/doors/twilio.md says it from outside.

The token comes with `start`, since Twilio strips queries; a signature of the handshake is checked where the
account's token is set.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import urlsplit

from flask import Flask, Response, request

from server import hub
from server.config import Config
from server.doors.fork import ForkDoor, Opening, Packet, number, payload
from server.doors.tracks import PER_MS
from server.doors.websocket import Upgrade
from server.errors import ClientError
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict

PATH = "/v1/twilio"


def add_twilio_door(
    app: Flask, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics
) -> None:
    door = TwilioDoor(config, live, sessions, metrics)

    @app.get(PATH, websocket=True)
    def twilio() -> Response:
        secret = config.doors.twilio_auth_token
        if secret:
            host = urlsplit(config.server.public_url).netloc or request.host
            require_signature(secret, f"wss://{host}{PATH}", request.headers.get("X-Twilio-Signature", ""))
        return Upgrade(door.converse)


def require_signature(secret: str, url: str, given: str) -> None:
    """Raise ClientError UNAUTHORIZED unless Twilio, which knows the account's token, has signed `url`."""
    signed = base64.b64encode(hmac.new(secret.encode(), url.encode(), hashlib.sha1).digest())
    if not hmac.compare_digest(signed, given.encode()):
        raise ClientError(
            "UNAUTHORIZED", f"X-Twilio-Signature is not that of {url} and doors.twilio_auth_token"
        )


class TwilioDoor(ForkDoor):
    door = "twilio"
    peer = "Twilio's"

    def opening(self, ws: hub.WebSocket, start: JsonDict) -> Opening:
        spelled, told = start["mediaFormat"], start.get("customParameters") or {}
        if (spelled["encoding"], spelled["sampleRate"]) != ("audio/x-mulaw", 1000 * PER_MS):
            raise ClientError("UNSUPPORTED_ENCODING", "a call has to come as audio/x-mulaw of 8000 Hz")
        tags = {"call_sid": start["callSid"]}
        return Opening(told.get("token"), tuple(start["tracks"]), told.get("name", ""), tags)

    def packet(self, media: JsonDict) -> Packet:
        """Their order is that in which they come."""
        return Packet(0, number(media["timestamp"]), media["track"], payload(media["payload"]))
