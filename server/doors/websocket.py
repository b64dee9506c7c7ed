"""`/v1/stream`: a live session over a plain WebSocket. docs/protocol.md says it from outside.

A message is a JSON object: the name of a Socket.IO event as its `type`, and that event's fields. Or it is audio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from flask import Flask, Response, request

from server import hub
from server.config import Config
from server.doors.owner import SocketOwner
from server.errors import ClientError
from server.language import of_request
from server.live.namespace import LiveNamespace
from server.live.packets import require_few_values
from server.live.registry import Sessions
from server.live.requests import MAX_ID
from server.metrics import Metrics
from stream.types import JsonDict

PATH = "/v1/stream"


class Upgrade(Response):
    """A response that is a conversation."""

    def __init__(self, converse: Callable[[hub.WebSocket], None], *protocols: str) -> None:
        super().__init__(status=101)
        self._converse, self._protocols = converse, protocols

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return hub.websocket(environ, start_response, self._converse, self._protocols)


def add_websocket_door(
    app: Flask, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics
) -> None:
    door = WebSocketDoor(config, live, sessions, metrics)

    @app.get(PATH)
    @app.get(PATH, websocket=True)
    def stream() -> Response:
        if not (request.url_rule and request.url_rule.websocket):
            raise ClientError("BAD_REQUEST", f"{PATH} is a WebSocket: connect with ws:// or wss://")
        return Upgrade(door.converse)


class WebSocketDoor:
    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics

    def converse(self, ws: hub.WebSocket) -> None:
        """From the first message to the last, on the thread of the connection."""
        me = SocketOwner(ws, self._config.limits.messages_per_s, lambda: self._sessions.draining)
        try:
            messages = me.messages()
            if (first := next(messages, None)) is None or not self._enter(me, ws, first):
                return
            self._metrics.door("websocket")
            for message in messages:
                self._take(me, message)
        finally:
            self._live.leave(me.sid)
            me.gone()

    def _enter(self, me: SocketOwner, ws: hub.WebSocket, first: str | bytes) -> bool:
        """Whether the first message, a `start`, has opened a session; else the connection ends with why not."""
        me.language = of_request(ws.environ, self._config.server.language)
        try:
            fields = parse(first) if isinstance(first, str) else {}
            if isinstance(first, bytes) or fields.pop("type", "start") != "start":
                raise ClientError(
                    "BAD_REQUEST", "the first message must be a start: a JSON object of its fields"
                )
            self._live.enter(
                ws.environ, fields.pop("token", None), lambda identity: self._live.admit_owner(me, identity)
            )
        except ValueError as wrong:
            self._malformed(me, wrong)
            return False
        except ClientError as no:
            if no.code == "BAD_REQUEST":  # the others are counted where they arise
                self._metrics.error(no.code)
            me.send("error", no.to_wire())
            me.turn_away(no.code)
            return False
        me.join()
        answer = self._call(me, "start", fields)
        if answer is not None and not answer["ok"]:
            me.turn_away(answer["error"]["code"])
        return not me.closing

    def _take(self, me: SocketOwner, message: str | bytes) -> None:
        if isinstance(message, bytes):
            session = self._sessions.find(me.sid, None)
            # Numbered by itself, so that a client that comes back learns how much has been taken.
            self._live.handle(
                "audio_stream", me, ({"chunk": message, "seq": session.next_seq if session else 0},)
            )
            return
        try:
            fields = parse(message)
        except ValueError as wrong:
            self._malformed(me, wrong)
            return
        name = fields.pop("type", "")
        event = name if isinstance(name, str) else ""
        if event == "start":
            fields.pop("token", None)
        if event != "ping":
            self._call(me, event, fields)
        elif me.has_capacity() and not me.too_many_mistakes():
            me.tell({"type": "pong"})

    def _call(self, me: SocketOwner, event: str, fields: JsonDict) -> JsonDict | None:
        """Have it handled, and answer: to what asks for it, or asked for more than audio and was not refused."""
        given = fields.get("id")
        asked = (isinstance(given, int) and not isinstance(given, bool)) or (
            isinstance(given, str) and len(given) <= MAX_ID
        )
        number = {"id": fields.pop("id")} if asked else {}
        answer = self._live.handle(event, me, (fields,))
        if answer is not None and (asked or (answer["ok"] and event != "audio_stream")):
            me.tell({"type": "ack", "to": event[:40], **number, **answer})
        return answer

    def _malformed(self, me: SocketOwner, wrong: ValueError) -> None:
        me.send("error", ClientError("BAD_REQUEST", "a text message must be a JSON object").to_wire())
        me.malformed(f"not a message: {str(wrong)[:80]}")


def parse(text: str) -> JsonDict:
    """Raises ValueError for what is no JSON object, or holds too many values."""
    require_few_values(text)
    message: Any = orjson.loads(text)
    if not isinstance(message, dict):
        raise ValueError("no object")
    return message
