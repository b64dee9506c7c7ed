"""`/v1/genesys`: Genesys AudioHook, version 2 (AudioHook Monitor). docs/doors/genesys.md says it from outside.

Who it is, the signature of the handshake says; who it is not is told so by `disconnect`, half a second later, as
Genesys' reference does. Then `open` and `opened`, audio with a clock that discarded audio moves as well, `close`
and `closed`. Results do not go back: no entity of this protocol holds an emotion.
"""

from __future__ import annotations

import base64
import hmac
import re
import threading
import time
import uuid
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from flask import Flask, Response, request

from server import hub
from server.access.identity import Identity
from server.config import Config
from server.doors.http_signature import SignatureCheck
from server.doors.owner import GOING_AWAY, SocketOwner
from server.doors.websocket import Upgrade, parse
from server.errors import ClientError
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from stream.types import JsonDict

PATH = "/v1/genesys"
SIGNED = ("audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id", "x-api-key")
PEER = Identity(frozenset({"stream"}), name="doors.genesys_api_key")
RATE = 8_000
SAMPLE = {"L16": ("pcm_s16le", 2, b"\0"), "PCMU": ("mulaw", 1, b"\xff")}  # encoding, bytes, of silence
VOICES = {"external": "customer", "internal": "agent"}
PROBE = str(uuid.UUID(int=0))  # the conversation that none is: a test of the connection
MAX_GAP_S = 8.0  # more of discarded audio is not filled with silence
AT_ONCE_S = 1.0
REFUSAL_S = 0.5  # after which a wrong key or signature is told: not how much of it was right
PART_S = 5.0  # for a peer to close after it was told to
NORMAL = 1000  # of RFC 6455
_DURATION = re.compile(r"PT(\d{1,9}(?:\.\d{1,9})?)S", re.ASCII)


class NotAudioHook(ValueError):
    """What a `disconnect` tells."""


class Hook(SocketOwner):
    """A connection of Genesys, and the numbers of its messages."""

    hook_id = ""
    parting = False  # it was told to close
    opened = False
    encoding, n_bytes, silence = SAMPLE["PCMU"]
    n_channels, swapped = 1, False
    live = False  # there is a session: this is no probe
    _seq = _heard = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._numbering = threading.Lock()

    def say(self, kind: str, **parameters: object) -> None:
        with self._numbering:
            self._seq += 1
            numbers = {"version": "2", "id": self.hook_id, "seq": self._seq, "clientseq": self._heard}
            self.tell({**numbers, "type": kind, "parameters": parameters})

    def part(self, reason: str, info: str) -> None:
        """Tell it to close."""
        if not self.parting:
            self.parting = True
            hub.connection_of(self._ws.environ)[1].limit(PART_S)
            self.say("disconnect", reason=reason, info=info)

    def take(self, message: JsonDict) -> tuple[str, JsonDict]:
        """Its type and parameters. Raises NotAudioHook."""
        seq, kind, parameters = message.get("seq"), message.get("type"), message.get("parameters")
        if message.get("version") != "2" or not isinstance(kind, str) or not isinstance(parameters, dict):
            raise NotAudioHook("not a message of AudioHook 2")
        if message.get("id") != self.hook_id:
            raise NotAudioHook("the id is not that of Audiohook-Session-Id")
        told = message.get("serverseq")
        if seq != self._heard + 1 or not isinstance(told, int) or not 0 <= told <= self._seq:
            raise NotAudioHook("seq or serverseq is not the next")
        self._heard += 1
        return kind, parameters

    def drop(self) -> None:
        if self._leaving():
            self.part("completed", "the server is shutting down")
            self.end(GOING_AWAY, "the server is shutting down")
        else:
            super().drop()

    def _send(self, event: str, payload: JsonDict) -> None:
        pass


def add_genesys_door(
    app: Flask, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics
) -> None:
    door = GenesysDoor(config, live, sessions, metrics)

    @app.get(PATH, websocket=True)
    def genesys() -> Response:
        if not config.doors.genesys_api_key:
            raise ClientError("CLOSED", "calls from Genesys are not taken: doors.genesys_api_key is not set")
        told = {name: request.headers.get(name, "").strip() for name in SIGNED}
        where = urlsplit(config.server.public_url)
        query = request.query_string.decode("latin-1")
        told["@request-target"] = where.path.rstrip("/") + PATH + (f"?{query}" if query else "")
        told["@authority"] = (where.netloc or request.host).lower()
        given, signature = (request.headers.get(name, "") for name in ("Signature-Input", "Signature"))
        return Upgrade(partial(door.converse, told, given, signature))


class GenesysDoor:
    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics
        self._key = config.doors.genesys_api_key
        secret = base64.b64decode(config.doors.genesys_client_secret)
        self._check = SignatureCheck(self._key, secret) if secret else None

    def converse(self, told: dict[str, str], given: str, signature: str, ws: hub.WebSocket) -> None:
        """One connection, on its thread; `told`: what is signed of the handshake."""
        began = time.monotonic()
        me = Hook(ws, self._config.limits.messages_per_s, lambda: self._sessions.draining)
        me.hook_id = told["audiohook-session-id"]
        try:
            try:
                self._live.enter(ws.environ, None, partial(self._admit, me, told, given, signature), PEER)
                me.join()
                self._metrics.door("genesys")
            except ClientError as no:
                time.sleep(max(0.0, began + REFUSAL_S - time.monotonic()))
                me.part("unauthorized" if no.code == "UNAUTHORIZED" else "error", no.code)
            for message in me.messages():
                try:
                    self._take(me, told, message)
                except NotAudioHook as no:
                    me.part("error", str(no))
                except (ValueError, TypeError, KeyError, AttributeError):
                    me.part("error", "a message that cannot be read")
        finally:
            if session := self._sessions.find(me.sid, None):  # cut off: nobody can come back for it
                self._sessions.stop(session, "disconnect")
            self._live.leave(me.sid)
            me.gone()

    def _admit(self, me: Hook, told: dict[str, str], given: str, signature: str, identity: Identity) -> Hook:
        """Raises ClientError."""
        right = hmac.compare_digest(told["x-api-key"].encode(), self._key.encode())
        if self._check is not None:  # of a wrong key, too: it takes as long
            right = not self._check.why_not(told, given, signature, time.time()) and right
        if not right or not me.hook_id:
            raise ClientError("UNAUTHORIZED", "the handshake is not signed with doors.genesys_client_secret")
        self._live.admit_owner(me, identity)
        return me

    def _take(self, me: Hook, told: dict[str, str], message: str | bytes) -> None:
        """Raises NotAudioHook, or what goes with a message that is not Genesys'."""
        if isinstance(message, bytes):
            if not me.parting:
                self._audio(me, message)
            return
        kind, parameters = me.take(parse(message))
        if kind == "ping":
            me.say("pong")
        elif kind == "close":
            self._close(me)
        elif me.parting:
            return
        elif kind == "open" and not me.opened:
            self._open(me, told, parameters)
        elif kind == "update":
            me.say("updated")
        elif kind in ("resumed", "discarded"):
            self._gap(me, _seconds(parameters["discarded"]))
        elif kind not in ("paused", "error"):
            raise NotAudioHook(f"{kind[:40]!r} is not expected here")

    def _open(self, me: Hook, told: dict[str, str], parameters: JsonDict) -> None:
        if parameters["organizationId"] != told["audiohook-organization-id"]:
            me.part("unauthorized", "the organizationId is not that of the handshake")
            return
        conversation = str(uuid.UUID(parameters["conversationId"]))
        media = _best(parameters["media"])
        (me.encoding, me.n_bytes, me.silence), names = SAMPLE[media["format"]], media["channels"]
        me.n_channels = len(names)
        me.swapped = me.n_channels == 2 and VOICES[names[0]] != self._config.channels.left
        if conversation != PROBE:
            fields = {
                "session_id": me.hook_id,
                "encoding": me.encoding,
                "sample_rate": RATE,
                "channels": me.n_channels,
                "tags": {"conversation": conversation},
            }
            answer = self._live.handle("start", me, (fields,))
            if answer is None or not answer["ok"]:
                raise NotAudioHook(answer["error"]["code"] if answer else "closed")
            me.live = True
        me.opened = True
        languages: JsonDict = {"supportedLanguages": []} if parameters.get("supportedLanguages") else {}
        me.say("opened", media=[media], startPaused=False, **languages)

    def _audio(self, me: Hook, data: bytes) -> None:
        frame = me.n_bytes * me.n_channels
        if not me.opened or len(data) % frame:
            raise NotAudioHook("audio before it was opened, or with half a sample")
        if not me.live:
            return
        if me.swapped:
            data = np.frombuffer(data, f"V{me.n_bytes}").reshape(-1, 2)[:, ::-1].tobytes()
        answer = self._live.handle("audio_stream", me, ({"chunk": data},))
        if answer is not None and not answer["ok"] and answer["error"]["code"] == "NOT_YOUR_SESSION":
            me.part("completed", "the session has ended")  # for idleness

    def _gap(self, me: Hook, seconds: float) -> None:
        """Audio that was discarded took its time."""
        left = round(min(seconds, MAX_GAP_S) * RATE)
        while left > 0 and me.live and not me.parting:
            n = min(left, round(AT_ONCE_S * RATE))
            self._audio(me, me.silence * (n * me.n_bytes * me.n_channels))
            left -= n

    def _close(self, me: Hook) -> None:
        if self._sessions.find(me.sid, None):
            self._live.handle("stop", me, ({},))
        me.parting = True
        me.say("closed")
        me.end(NORMAL, "")


def _best(offers: list[JsonDict]) -> JsonDict:
    """Both voices rather than one, and samples rather than µ-law; as it was offered. Raises NotAudioHook."""
    known = [
        offer
        for offer in offers
        if (offer["type"], offer["rate"]) == ("audio", RATE)
        and offer["format"] in SAMPLE
        and set(offer["channels"]) <= set(VOICES)
        and len(set(offer["channels"])) == len(offer["channels"]) > 0
    ]
    if not known:
        raise NotAudioHook("none of the media that are offered is taken: PCMU or L16 of 8000 Hz")
    return max(known, key=lambda offer: (len(offer["channels"]), offer["format"] == "L16"))


def _seconds(duration: str) -> float:
    """Of `PT1.5S`. Raises NotAudioHook."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise NotAudioHook("a duration that is none")
    return float(found[1])
