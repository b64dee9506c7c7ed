"""`/v1/asterisk`: Asterisk's chan_websocket. docs/doors/asterisk.md says it from outside.

A text, `MEDIA_START` with what comes (plain or JSON), and then binary media of one channel in that format. Other
events mean nothing here, and nothing is sent: Asterisk makes silence of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from flask import Flask, Response, request

from server import hub
from server.config import Config
from server.doors.freeswitch import password
from server.doors.owner import SocketOwner
from server.doors.websocket import Upgrade, parse
from server.errors import ClientError
from server.language import of_request
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict

PATH = "/v1/asterisk"
SUBPROTOCOL = "media"
FORMATS = {
    "ulaw": ("mulaw", 8_000),
    "alaw": ("alaw", 8_000),
    "slin": ("pcm_s16le", 8_000),
    **{f"slin{khz}": ("pcm_s16le", 1_000 * khz) for khz in (12, 16, 24, 32, 48)},
    "slin44": ("pcm_s16le", 44_100),
}


class Leg(SocketOwner):
    """A channel of Asterisk, which is told nothing."""

    def _send(self, event: str, payload: JsonDict) -> None:
        pass


def add_chan_websocket_door(
    app: Flask, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics
) -> None:
    door = ChanWebSocketDoor(config, live, sessions, metrics)

    @app.get(PATH, websocket=True)
    def asterisk() -> Response:
        given = {name: request.args[name] for name in ("session_id", "name") if name in request.args}
        return Upgrade(partial(door.converse, given), SUBPROTOCOL)


class ChanWebSocketDoor:
    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics

    def converse(self, given: Mapping[str, str], ws: hub.WebSocket) -> None:
        """One call, on the thread of its connection; `given`: fields of its `start`."""
        me = Leg(ws, self._config.limits.messages_per_s, lambda: self._sessions.draining)
        try:
            messages = me.messages()
            if (first := next(messages, None)) is not None:
                self._start(me, ws, given, first)
            for message in messages:
                if isinstance(message, bytes):
                    self._feed(me, message)
            if self._sessions.find(me.sid, None) and not me.closing:  # it says no other goodbye
                self._live.handle("stop", me, ({},))
        except ClientError as no:
            me.turn_away(no.code)
        finally:
            if session := self._sessions.find(me.sid, None):
                self._sessions.stop(session, "disconnect")
            self._live.leave(me.sid)
            me.gone()

    def _start(self, me: Leg, ws: hub.WebSocket, given: Mapping[str, str], first: str | bytes) -> None:
        """Open the call's session. Raises ClientError."""
        told = media_start(first)
        if told.get("format") not in FORMATS:
            raise ClientError("UNSUPPORTED_ENCODING", f"the channel must be one of: {', '.join(FORMATS)}")
        encoding, rate = FORMATS[told["format"]]
        me.language = of_request(ws.environ, self._config.server.language)
        self._live.enter(ws.environ, password(ws), lambda identity: self._live.admit_owner(me, identity))
        me.join()
        self._metrics.door("chan_websocket")
        fields = {"session_id": told.get("connection_id"), **given}
        fields = {name: value for name, value in fields.items() if value is not None}
        answer = self._live.handle("start", me, ({**fields, "encoding": encoding, "sample_rate": rate},))
        if answer is not None and not answer["ok"]:
            me.turn_away(answer["error"]["code"])

    def _feed(self, me: Leg, data: bytes) -> None:
        answer = self._live.handle("audio_stream", me, ({"chunk": data},))
        if answer is not None and not answer["ok"] and answer["error"]["code"] == "NOT_YOUR_SESSION":
            me.turn_away("NOT_YOUR_SESSION")  # it has ended for idleness


def media_start(message: str | bytes) -> dict[str, str]:
    """The fields of a MEDIA_START that are text. Raises ClientError BAD_REQUEST."""
    told: JsonDict = {}
    if isinstance(message, str) and message.lstrip().startswith("{"):
        with suppress(ValueError):
            told = parse(message)
    elif isinstance(message, str):
        event, *fields = message.split()[:30] or [""]
        told = {name: value for name, _, value in (field.partition(":") for field in fields)}
        told["event"] = event
    if told.get("event") != "MEDIA_START":
        raise ClientError("BAD_REQUEST", "the first message must be chan_websocket's MEDIA_START")
    return {name: value for name, value in told.items() if isinstance(value, str)}
