"""`/v1/twilio`: Twilio Media Streams, one way. docs/doors/twilio.md says it from outside.

A fork of a call is answered nothing: results go to the desk, alerts, records and webhooks. The token comes with
`start`, since Twilio strips queries; a signature of the handshake is checked where the account's token is set.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from urllib.parse import urlsplit

from flask import Flask, Response, request

from server import hub
from server.config import Config
from server.doors.owner import POLICY, SocketOwner
from server.doors.tracks import PER_MS, Tracks
from server.doors.websocket import Upgrade, parse
from server.errors import ClientError
from server.language import of_request
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict

PATH = "/v1/twilio"
AT_ONCE = 1000 * PER_MS  # samples of a track in one chunk: filled gaps are longer
NORMAL = 1000  # of RFC 6455


class Call(SocketOwner):
    """A peer that is sent nothing."""

    tracks: Tracks
    order: tuple[str, ...] = ()  # of the tracks in a chunk

    def _send(self, event: str, payload: JsonDict) -> None:
        pass


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


class TwilioDoor:
    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics

    def converse(self, ws: hub.WebSocket) -> None:
        """One call, on the thread of its connection."""
        me = Call(ws, self._config.limits.messages_per_s, lambda: self._sessions.draining)
        try:
            for message in me.messages():
                try:
                    self._take(me, ws, parse(message if isinstance(message, str) else ""))
                except ClientError as no:
                    me.turn_away(no.code)
                except (ValueError, TypeError, KeyError, AttributeError) as wrong:
                    me.malformed(f"not Twilio's: {str(wrong)[:80]}")
        finally:
            if session := self._sessions.find(me.sid, None):  # cut off: nobody can come back for it
                self._sessions.stop(session, "disconnect")
            self._live.leave(me.sid)
            me.gone()

    def _take(self, me: Call, ws: hub.WebSocket, message: JsonDict) -> None:
        """Raises ClientError, or what goes with a message that is not Twilio's. Marks and keys mean nothing."""
        match message["event"]:
            case "start" if not me.order:
                self._start(me, ws, message["start"])
            case "media" if me.order:
                media = message["media"]
                if media["track"] in me.order:
                    at_ms, data = _number(media["timestamp"]), _bytes(media["payload"])
                    self._feed(me, me.tracks.put(me.order.index(media["track"]), at_ms, data))
            case "stop" if me.order:
                self._feed(me, me.tracks.rest())
                self._live.handle("stop", me, ({},))
                me.end(NORMAL, "")
            case "start" | "media" | "stop":
                raise ValueError("out of order")

    def _start(self, me: Call, ws: hub.WebSocket, start: JsonDict) -> None:
        """Open the call's session. Raises ClientError."""
        spelled, told = start["mediaFormat"], start.get("customParameters") or {}
        if (spelled["encoding"], spelled["sampleRate"]) != ("audio/x-mulaw", 1000 * PER_MS):
            raise ClientError("UNSUPPORTED_ENCODING", "a call has to come as audio/x-mulaw of 8000 Hz")
        # What goes out is the agent's voice, what comes in the customer's.
        both = ("outbound", "inbound") if self._config.channels.left == "agent" else ("inbound", "outbound")
        order = tuple(track for track in both if track in start["tracks"])
        me.language = of_request(ws.environ, self._config.server.language)
        self._live.enter(ws.environ, told.get("token"), lambda identity: self._live.admit_owner(me, identity))
        me.join()
        self._metrics.door("twilio")
        fields = {
            "encoding": "mulaw",
            "sample_rate": 1000 * PER_MS,
            "channels": len(order),
            "name": told.get("name", ""),
            "tags": {"call_sid": start["callSid"]},
        }
        answer = self._live.handle("start", me, (fields,))
        if answer is not None and not answer["ok"]:
            me.turn_away(answer["error"]["code"])
            return
        me.order, me.tracks = order, Tracks(len(order))

    def _feed(self, me: Call, data: bytes) -> None:
        size = AT_ONCE * len(me.order)
        for at in range(0, len(data), size):
            answer = self._live.handle("audio_stream", me, ({"chunk": data[at : at + size]},))
            if answer is not None and not answer["ok"] and answer["error"]["code"] == "NOT_YOUR_SESSION":
                me.end(POLICY, "the session has ended")  # for idleness
                return


def _number(text: str) -> int:
    """Raises ValueError."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 13):
        raise ValueError("a timestamp that is none")
    return int(text)


def _bytes(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as wrong:
        raise ValueError(f"a payload that is none: {wrong}") from None
