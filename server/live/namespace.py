"""Socket.IO: each handler parses, calls, answers. Who is speaking is known by the connection, never by a claim.

Handlers are registered with python-socketio's server underneath Flask-SocketIO: the wrapper builds a Flask
request context for every event, which costs more than the event itself (bench/README.md), and they need none.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask_socketio import SocketIO
from socketio.exceptions import ConnectionRefusedError as Refused

from server import wire
from server.access import auth
from server.access.origins import Origins
from server.access.refusals import Refusals
from server.config import Config
from server.errors import ClientError
from server.live.registry import Sessions
from server.live.session import LiveSession
from server.live.transport import Strangers, TextPacket, bounds_of, harden, message_room, require_websocket_13
from server.metrics import Metrics
from server.peer import peer
from server.rate_limit import TokenBucket
from stream.types import LABELS, JsonDict

log = logging.getLogger("sockets")
for _name in ("sockets.socketio", "sockets.engineio"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # below it they tell of every packet

UNREAD = 256  # packets waiting in a connection, answers to its own messages included, before it is closed
STRANGE_S = 10  # how long a connection may take to join a namespace
BACKLOG = 64  # packets waiting in a connection before its client counts as slow


Handler = Callable[..., Any]


class _Connection:
    """One client's connection as its sessions see it."""

    def __init__(self, server: Any, sid: str, messages_per_s: float) -> None:
        self._server, self.sid = server, sid
        self.bucket = TokenBucket(messages_per_s, 2 * messages_per_s, time.monotonic())

    def send(self, event: str, payload: JsonDict) -> None:
        self._server.emit(event, payload, to=self.sid)

    @property
    def _transport(self) -> Any:
        """The Engine.IO socket underneath; None once it is gone."""
        return self._server.eio.sockets.get(self._server.manager.eio_sid_from_sid(self.sid, "/"))

    def unsent(self) -> int:
        """Packets that wait to be written to it."""
        transport = self._transport
        return transport.queue.qsize() if transport is not None else 0

    def keeps_up(self) -> bool:
        return self.unsent() < BACKLOG

    def too_many_mistakes(self) -> bool:
        """Count one; True when they are so many that the connection is closed."""
        found = bounds_of(self._server, self._server.manager.eio_sid_from_sid(self.sid, "/"))
        return found is not None and found[1].over(found[0])

    def drop(self) -> None:
        """Disconnect it, in the background: the caller may hold locks that a disconnect needs too."""
        self._server.start_background_task(self._disconnect)

    def _disconnect(self) -> None:
        transport = self._transport
        self._server.disconnect(self.sid)
        if transport is not None:
            # Not waiting for what it has not read: a client that is stuck never will.
            transport.close(wait=False)


class Sockets:
    """The namespace `/`."""

    def __init__(
        self,
        app: Flask,
        config: Config,
        sessions: Sessions,
        metrics: Metrics,
        origins: Origins,
        refusals: Refusals,
    ) -> None:
        self._config, self._sessions, self._metrics = config, sessions, metrics
        self._refusals = refusals
        self._connections: dict[str, _Connection] = {}
        limits = config.limits
        room = message_room(limits.max_chunk_bytes)
        self.io = SocketIO(
            app,
            async_mode=config.server.async_mode,
            # One client's events one after the other: python-socketio's default lets chunks overtake each other.
            async_handlers=False,
            cors_allowed_origins="*" if origins.all else origins.allow,
            max_http_buffer_size=room,
            http_compression=False,
            # Loggers of ours: the libraries' own print each error a second time.
            logger=logging.getLogger("sockets.socketio"),
            engineio_logger=logging.getLogger("sockets.engineio"),
            json=wire.Json,
            serializer=TextPacket,
        )
        app.wsgi_app = require_websocket_13(app.wsgi_app)  # type: ignore[method-assign, assignment]
        self._server = server = self.io.server
        metrics.connections.set_function(lambda: float(len(self._connections)))
        harden(server, room, limits.messages_per_s, limits.excess_per_s, self._on_cut)
        self._strangers = Strangers(server, STRANGE_S)
        server.on("connect", self.on_connect)
        server.on("disconnect", self.on_disconnect)
        server.on("start", self._guarded(self.on_start))
        server.on("audio_stream", self._guarded(self.on_audio))
        server.on("flush", self._guarded(self.on_flush))
        server.on("stop", self._guarded(self.on_stop))
        server.on("*", self._on_unknown)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def reap(self) -> None:
        """To be called about once a second."""
        self._strangers.close(time.monotonic())

    def say_goodbye(self, patience_s: float = 1.0) -> None:
        """Let what was sent last reach its readers, then close every connection."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end and any(me.unsent() for me in list(self._connections.values())):
            time.sleep(0.01)
        for sid in list(self._connections):
            self._connections[sid].drop()
        while time.monotonic() < end + patience_s and self._connections:
            time.sleep(0.01)

    def on_connect(self, sid: str, environ: dict[str, Any], auth_data: object = None) -> None:
        try:
            if len(self._connections) >= self._config.limits.max_connections:
                raise ClientError("TOO_MANY_SESSIONS", "the server has all the connections it may have")
            given = auth_data.get("token") if isinstance(auth_data, dict) else None
            auth.check(self._config.server.token, given or auth.bearer(environ.get("HTTP_AUTHORIZATION")))
        except ClientError as no:
            self._metrics.error(no.code)
            self._refusals.tell(log, "connection refused", peer(environ), code=no.code)
            raise Refused(no.message, no.to_wire()) from None
        self._connections[sid] = _Connection(self._server, sid, self._config.limits.messages_per_s)

    def _on_cut(self, why: str) -> None:
        self._metrics.cut(why)
        self._metrics.error("RATE_LIMITED" if why == "flood" else "BAD_REQUEST")

    def on_disconnect(self, sid: str, reason: object = None) -> None:
        if self._connections.pop(sid, None):
            self._sessions.disconnected(sid)

    def on_start(self, me: _Connection, payload: object) -> JsonDict:
        session, resumed, spec = self._sessions.start(me.sid, me, wire.parse_start(payload))
        return {
            "ok": True,
            "session_id": session.session_id,
            "resume_token": session.resume_token,
            "resumed": resumed,
            "next_seq": session.next_seq,
            "model": spec.name,
            "labels": LABELS,
            "frame_ms": wire.FRAME_MS,
            "step_ms": wire.STEP_MS,
            "hop_ms": self._config.stream_config(spec).hop * wire.STEP_MS,
            "lookahead_ms": spec.lookahead_frames * wire.STEP_MS,
            **self._channels_of(session),
        }

    def _channels_of(self, session: LiveSession) -> JsonDict:
        """Of a session with two channels: who is left and right, and who of them is scored."""
        if session.info.channels == 1:
            return {}
        channels = self._config.channels
        return {"channels": [channels.left, channels.right], "watch": session.info.watch}

    def on_audio(self, me: _Connection, payload: object) -> JsonDict:
        message = wire.parse_audio(payload)
        session = self._sessions.find(me.sid, message.session_id)
        if session is None:  # no start: a session with the defaults
            session = self._sessions.start_unasked(me.sid, me)
        return session.feed(message)

    def on_flush(self, me: _Connection, payload: object) -> JsonDict:
        session = self._require(me, payload)
        if not session.flush():
            raise ClientError("INFERENCE_TIMEOUT", "not everything was scored in time; results still come")
        return {"ok": True, "session_id": session.session_id}

    def on_stop(self, me: _Connection, payload: object) -> JsonDict:
        return {"ok": True, **self._sessions.stop(self._require(me, payload), "stop")}

    def _require(self, me: _Connection, payload: object) -> LiveSession:
        session = self._sessions.find(me.sid, wire.parse_session_id(payload))
        if session is None:
            raise ClientError("BAD_REQUEST", "there is no session; send start or audio_stream first")
        return session

    def _guarded(self, handler: Callable[[_Connection, object], JsonDict]) -> Handler:
        """Turn what goes wrong into the contract's codes, as the ack and as an `error` event."""

        @functools.wraps(handler)
        def guarded(sid: str, *args: object) -> JsonDict | None:
            me = self._connections.get(sid)
            if me is None:
                return None  # its disconnect came first
            if me.unsent() > UNREAD:
                log.warning("connection %s sends and does not read its answers; it is closed", sid)
                me.drop()
                return None
            try:
                if not me.bucket.take(1, time.monotonic()):
                    per_s = self._config.limits.messages_per_s
                    raise ClientError(
                        "RATE_LIMITED", f"more than {per_s:g} messages a second; send longer chunks"
                    )
                if len(args) > 1:
                    raise ClientError("BAD_REQUEST", f"expected one argument, got {len(args)}")
                return handler(me, args[0] if args else None)
            except ClientError as wrong:
                return self._refuse(me, wrong)
            except Exception:
                log.exception("a fault of the server while handling %s", handler.__name__)
                return self._refuse(me, ClientError("INTERNAL", "a fault of the server; its log says more"))

        return guarded

    def _on_unknown(self, event: str, sid: str, *_: object) -> JsonDict | None:
        def refuse(me: _Connection, payload: object) -> JsonDict:
            known = "start, audio_stream, flush, stop"
            raise ClientError("BAD_REQUEST", f"there is no event {event[:40]!r}; known: {known}")

        result: JsonDict | None = self._guarded(refuse)(sid)
        return result

    def _refuse(self, me: _Connection, wrong: ClientError) -> JsonDict:
        self._metrics.error(wrong.code)
        if wrong.code == "BAD_REQUEST" and wrong.next_seq is None and me.too_many_mistakes():
            return {"ok": False, "error": wrong.to_wire()}
        if me.keeps_up():
            me.send("error", wrong.to_wire())
        hint = {} if wrong.next_seq is None else {"next_seq": wrong.next_seq}
        return {"ok": False, "error": wrong.to_wire(), **hint}
