"""Socket.IO, namespace `/`: each handler parses, calls, answers. docs/protocol.md says it from outside."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from server import wire
from server.access.auth import Access
from server.access.identity import Identity
from server.access.origins import Origins
from server.access.refusals import Refusals
from server.config import Config
from server.counts import SharedCounts
from server.errors import ClientError
from server.live import transport
from server.live.connection import Connection, Owner
from server.live.packets import TextPacket, message_room
from server.live.registry import Sessions, not_yours
from server.live.requests import parse_audio, parse_session_id, parse_span, parse_start
from server.live.session import LiveSession
from server.live.strict import Handler, StrictNamespace
from server.live.unjoined import UnjoinedConnections
from server.metrics import Metrics
from stream.types import LABELS, JsonDict


def socket_server(app: Flask, config: Config, origins: Origins, metrics: Metrics) -> SocketIO:
    """The Socket.IO server of `app`, strict about what strangers send; nobody speaks to it yet."""
    transport.install()
    loggers = [logging.getLogger(f"sockets.{name}") for name in ("socketio", "engineio")]
    for logger in loggers:
        logger.setLevel(logging.ERROR)  # below it they tell of every packet
    limits = config.limits
    room = message_room(limits.max_chunk_bytes)
    io = SocketIO(
        app,
        async_mode=config.server.async_mode,
        # One client's events one after the other: python-socketio's default lets chunks overtake each other.
        async_handlers=False,
        cors_allowed_origins="*" if origins.all else origins.allow,
        max_http_buffer_size=room,
        http_compression=False,
        # Loggers of ours: the libraries' own print each error a second time.
        logger=loggers[0],
        engineio_logger=loggers[1],
        json=wire.Json,
        serializer=TextPacket,
    )

    def on_cut(why: str) -> None:
        metrics.cut(why)
        metrics.error("RATE_LIMITED" if why == "flood" else "BAD_REQUEST")

    transport.harden(io.server, room, limits.messages_per_s, limits.excess_per_s, on_cut)
    return io


class LiveNamespace(StrictNamespace[Owner]):
    """Sessions of those who send audio, by Socket.IO or through a door."""

    advice = "; send longer chunks"

    def __init__(
        self,
        server: Any,
        config: Config,
        sessions: Sessions,
        access: Access,
        metrics: Metrics,
        refusals: Refusals,
        counts: SharedCounts | None = None,
    ) -> None:
        """`server`: the socketio.Server to be registered with. `counts`: of all workers."""
        super().__init__("/", access, metrics, refusals, config.server.language)
        self._config, self._sessions, self._counts = config, sessions, counts or SharedCounts.alone()
        self._unjoined = UnjoinedConnections(server)
        self._handlers: dict[str, Handler[Owner]] = {
            "start": self.on_start,
            "audio_stream": self.on_audio,
            "span": self.on_span,
            "flush": self.on_flush,
            "stop": self.on_stop,
        }
        metrics.connections.set_function(lambda: float(len(self.connections)))
        server.register_namespace(self)

    @property
    def handlers(self) -> Mapping[str, Handler[Owner]]:
        return self._handlers

    def handle(self, event: str, connection: Owner, args: tuple[object, ...]) -> JsonDict | None:
        """As of StrictService; what another server would have to know is kept first."""
        answer = super().handle(event, connection, args)
        self._sessions.settle()
        return answer

    def reap(self) -> None:
        """To be called about once a second."""
        self._unjoined.close(time.monotonic())
        self.drop_revoked()

    def drain(self, timeout_s: float = 1.0) -> None:
        """Let what was sent last reach its readers, then close every connection."""
        end = time.monotonic() + timeout_s

        def until(end: float, over: Callable[[], bool]) -> None:
            while time.monotonic() < end and not over():
                time.sleep(0.01)

        until(end, lambda: not any(me.unsent() for me in list(self.connections.values())))
        for connection in list(self.connections.values()):
            connection.drop()
        until(end + timeout_s, lambda: not self.connections)

    def admit(self, sid: str, identity: Identity) -> Owner:
        connection = Connection(self.server, sid, "/", self._config.limits.messages_per_s)
        return self.admit_owner(connection, identity)

    def admit_owner(self, owner: Owner, identity: Identity) -> Owner:
        """`owner`, where there is room for it. Raises ClientError."""
        most = self._config.limits.max_connections
        if not self._counts.take("connections", len(self.connections), 1, most):
            raise ClientError("TOO_MANY_SESSIONS", "the server has all the connections it may have")
        return owner

    def left(self, connection: Owner) -> None:
        self._counts.publish("connections", len(self.connections))
        self._sessions.disconnected(connection.sid)

    def refuse(self, connection: Owner, wrong: ClientError) -> JsonDict:
        """Told twice: as the answer, and as an `error` event for clients that ask for no answer."""
        answer = super().refuse(connection, wrong)
        if wrong.code == "BAD_REQUEST" and wrong.next_seq is None and connection.too_many_mistakes():
            return answer
        if connection.has_capacity():
            connection.send("error", wrong.to_wire())
        return answer if wrong.next_seq is None else {**answer, "next_seq": wrong.next_seq}

    def on_start(self, me: Owner, payload: object) -> JsonDict:
        me.sent_start = True  # before it is read: one that is refused may have declared another encoding
        request = replace(parse_start(payload), identity=me.identity)
        me.language = request.language or me.language
        session, resumed, spec = self._sessions.start(me.sid, me, request)
        return {
            "ok": True,
            "session_id": session.info.session_id,
            "resume_token": session.resume_token,
            "resumed": resumed,
            "next_seq": session.next_seq,
            "model": spec.name,
            "prior": spec.prior,
            **({"model_fingerprint": spec.fingerprint} if spec.fingerprint else {}),
            "labels": LABELS,
            "frame_ms": wire.FRAME_MS,
            "step_ms": wire.STEP_MS,
            "hop_ms": wire.ms(self._config.stream_config(spec).hop),
            "lookahead_ms": wire.ms(spec.lookahead_frames),
            **self._channels_of(session),
        }

    def _channels_of(self, session: LiveSession) -> JsonDict:
        """Of a session with two channels: who is left and right, and who of them is scored."""
        if session.info.channels == 1:
            return {}
        channels = self._config.channels
        return {"channels": [channels.left, channels.right], "watch": session.info.watch}

    def on_audio(self, me: Owner, payload: object) -> JsonDict:
        message = parse_audio(payload)
        session = self._sessions.find(me.sid, message.session_id)
        if session is None and not me.opens_unasked:
            raise not_yours()
        if session is None:  # no start: a session with the defaults
            session = self._sessions.start_unasked(
                me.sid, me, message.session_id, not me.sent_start, me.identity
            )
        return session.feed(message)

    def on_span(self, me: Owner, payload: object) -> JsonDict:
        asked = parse_span(payload)
        return {"ok": True, **self._sessions.require(me.sid, asked.session_id).span(asked)}

    def on_flush(self, me: Owner, payload: object) -> JsonDict:
        session = self._sessions.require(me.sid, parse_session_id(payload))
        if not session.flush():
            raise ClientError("INFERENCE_TIMEOUT", "not everything was scored in time; results still come")
        return {"ok": True, "session_id": session.label}

    def on_stop(self, me: Owner, payload: object) -> JsonDict:
        session = self._sessions.require(me.sid, parse_session_id(payload))
        return {"ok": True, **wire.summary(self._sessions.stop(session, "stop"), session.label)}
