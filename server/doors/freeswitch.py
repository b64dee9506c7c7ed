"""`/v1/freeswitch`: FreeSWITCH's audio_fork and audio_stream. docs/doors/freeswitch.md says it from outside.

One text message of metadata, where the dialplan gives any, and then binary L16; neither says of how many channels
and samples a second, so the address does. Results go back where the address asks for them: they become events.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from flask import Flask, Response, request
from werkzeug.datastructures import Authorization

from server import hub
from server.config import Config
from server.doors.owner import SocketOwner
from server.doors.websocket import Upgrade, parse
from server.errors import ClientError
from server.language import of_request
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.codec import RATES
from stream.types import JsonDict

PATH = "/v1/freeswitch"
SUBPROTOCOL = "audio.drachtio.org"
RESULTS = frozenset({"speech", "utterance_result", "alert", "lost", "session_summary", "error"})
METADATA = ("session_id", "name", "tags", "language")  # what is taken of it, as in a `start`


class Fork(SocketOwner):
    """A call, which is told results or nothing. Not each frame's: FreeSWITCH has an event for every message."""

    results = False
    swapped = False  # left is right here
    _carry = b""  # the beginning of a frame

    def sides(self, data: bytes) -> bytes:
        """Audio with its channels on the sides where the settings have them."""
        if not self.swapped:
            return data
        data = self._carry + data
        whole = len(data) // 4 * 4
        self._carry = data[whole:]
        return np.frombuffer(data[:whole], "<i2").reshape(-1, 2)[:, ::-1].tobytes()

    def _send(self, event: str, payload: JsonDict) -> None:
        if self.results and event in RESULTS:
            super()._send(event, payload)


def add_freeswitch_door(
    app: Flask, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics
) -> None:
    door = FreeSwitchDoor(config, live, sessions, metrics)

    @app.get(PATH, websocket=True)
    def freeswitch() -> Response:
        return Upgrade(partial(door.converse, asked(request.args)), SUBPROTOCOL)


@dataclass(frozen=True)
class Asked:
    """What the address says: which audio comes, who is on the left, and whether results are wanted."""

    sample_rate: int
    channels: int
    left: str
    results: bool


def asked(query: Mapping[str, str]) -> Asked:
    """Raises ClientError BAD_REQUEST."""
    rate, channels = query.get("sample_rate", ""), query.get("channels", "1")
    left, results = query.get("left", "customer"), query.get("results", "false")
    known = rate.isascii() and rate.isdigit() and len(rate) < 7 and int(rate) in RATES
    rest = channels in ("1", "2") and left in ("agent", "customer") and results in ("true", "false")
    if not (known and rest and query.keys() <= {"sample_rate", "channels", "left", "results", "lang"}):
        example = f"{PATH}?sample_rate=16000&channels=2&left=customer&results=false"
        raise ClientError("BAD_REQUEST", f"the address must say what FreeSWITCH sends, as {example} does")
    return Asked(int(rate), int(channels), left, results == "true")


class FreeSwitchDoor:
    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics

    def converse(self, of: Asked, ws: hub.WebSocket) -> None:
        """One call, on the thread of its connection."""
        me = Fork(ws, self._config.limits.messages_per_s, lambda: self._sessions.draining)
        me.results, me.swapped = of.results, of.channels == 2 and of.left != self._config.channels.left
        started = False
        try:
            for message in me.messages():
                if not started:
                    started = True
                    self._start(me, ws, of, message)
                if isinstance(message, bytes):  # other texts are for other servers
                    self._feed(me, message)
            if self._sessions.find(me.sid, None) and not me.closing:  # it says no other goodbye
                self._live.handle("stop", me, ({},))
        except ClientError as no:
            me.send("error", no.to_wire())
            me.turn_away(no.code)
        finally:
            if session := self._sessions.find(me.sid, None):
                self._sessions.stop(session, "disconnect")
            self._live.leave(me.sid)
            me.gone()

    def _start(self, me: Fork, ws: hub.WebSocket, of: Asked, first: str | bytes) -> None:
        """Open the call's session, with the metadata where these come first. Raises ClientError."""
        told: JsonDict = {}
        if isinstance(first, str):
            with suppress(ValueError):  # metadata may be any text
                told = parse(first)
        me.language = of_request(ws.environ, self._config.server.language)
        token = told.get("token") or password(ws)
        self._live.enter(ws.environ, token, lambda identity: self._live.admit_owner(me, identity))
        me.join()
        self._metrics.door("freeswitch")
        audio = {"encoding": "pcm_s16le", "sample_rate": of.sample_rate, "channels": of.channels}
        given = {name: told[name] for name in METADATA if name in told}
        answer = self._live.handle("start", me, ({**audio, **given},))
        if answer is not None and not answer["ok"]:
            me.turn_away(answer["error"]["code"])

    def _feed(self, me: Fork, data: bytes) -> None:
        answer = self._live.handle("audio_stream", me, ({"chunk": me.sides(data)},))
        if answer is not None and not answer["ok"] and answer["error"]["code"] == "NOT_YOUR_SESSION":
            me.turn_away("NOT_YOUR_SESSION")  # it has ended for idleness


def password(ws: hub.WebSocket) -> str | None:
    """Of HTTP's basic authentication, which is what these systems can send; nobody looks at the name beside it."""
    given = Authorization.from_header(ws.environ.get("HTTP_AUTHORIZATION"))
    return given.password if given is not None and given.type == "basic" else None
