"""Asterisk AudioSocket: calls over TCP, at a port of its own. docs/doors/asterisk.md says it from outside.

A frame is one byte of kind, two of length (big-endian) and its payload. The first holds the UUID that the dialplan
gave the call, which proves nothing: the networks in `doors.audiosocket_from` may call. Nothing is answered, but a
hang-up where it is the server that ends: then the dialplan goes on.
"""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from server.access.identity import Identity
from server.config import Config, LimitsSection
from server.errors import ClientError
from server.hub.connections import TcpConnection, TcpConnections
from server.live.connection import Owner
from server.live.namespace import LiveNamespace
from server.live.registry import Sessions
from server.metrics import Metrics
from server.peer import Proxies
from server.rate_limit import Turn
from stream.types import JsonDict

HEAD = struct.Struct("!BH")
HANG_UP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES = {  # by kind, of PCM with 16 bits, little-endian, mono
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
CALLERS = Identity(frozenset({"stream"}), name="doors.audiosocket_from")
PAUSE_S = 0.5  # before audio that is too far ahead of real time is offered again


class AudioSocketCall(Owner):
    """A call, as its owner: it is told nothing."""

    opens_unasked = False

    def __init__(self, sock: Any, me: TcpConnection, limits: LimitsSection) -> None:
        super().__init__(uuid.uuid4().hex, limits.messages_per_s)
        self._sock, self._me, self._limits = sock, me, limits
        self._rfile = sock.makefile("rb")
        self.joined = self.ended = False

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Kind and payload of each. The first has to come in time, and each of the others once it has begun.

        Raises ValueError for what is no frame, ConnectionError when one is broken off.
        """
        turn, in_time = Turn(), self._limits.head_timeout_s
        self._me.limit(in_time, "slow")
        while not self.ended and self._rfile.peek(1):
            if self.joined:
                self._me.limit(in_time, "slow")
            head = self._read(HEAD.size)
            kind, length = HEAD.unpack(head)
            if (
                (kind, length) != (UUID, 16)
                if not self.joined
                else kind not in (HANG_UP, DTMF, ERROR, *RATES)
            ):
                raise ValueError(kind)
            payload = self._read(length)
            self._me.limit(self._limits.idle_timeout_s)
            yield kind, payload
            turn.over()

    def hang_up(self) -> None:
        """End it; may be called from any thread. A peer that does not go is cut off soon."""
        if not self.ended:
            self.ended = True
            self._me.close_soon()
            with suppress(OSError):
                self._sock.sendall(HEAD.pack(HANG_UP, 0))
                self._sock.shutdown(socket.SHUT_WR)

    def linger(self) -> None:
        """Closing with something unread would reset the connection, and the hang-up might never be read."""
        self._me.close_soon()
        with suppress(OSError):
            while self._sock.recv(1 << 16):
                time.sleep(0)

    def _read(self, n: int) -> bytes:
        data: bytes = self._rfile.read(n)
        if len(data) < n:
            raise ConnectionError("within a frame")
        return data

    def _send(self, event: str, payload: JsonDict) -> None:
        pass

    def unsent(self) -> int:
        return 0

    def too_many_mistakes(self) -> bool:
        return False  # every frame was looked at before

    def drop(self) -> None:
        self.hang_up()


class AudioSocketDoor:
    def __init__(self, config: Config, live: LiveNamespace, sessions: Sessions, metrics: Metrics) -> None:
        self._config, self._live, self._sessions, self._metrics = config, live, sessions, metrics
        self._from = Proxies(config.doors.audiosocket_from)

    def converse(self, sock: Any, connections: TcpConnections, me: TcpConnection) -> None:
        """One call, on the thread of its connection."""
        line = AudioSocketCall(sock, me, self._config.limits)
        try:
            for kind, payload in line.frames():
                if not line.joined:
                    self._start(line, sock.getpeername()[0], uuid.UUID(bytes=payload))
                    connections.asks(me)
                elif kind in RATES:
                    self._feed(line, RATES[kind], payload)
                elif kind in (HANG_UP, ERROR):
                    break
            if line.joined and not line.ended and not me.gone:  # its closing it is as good as a hang-up
                self._live.handle("stop", line, ({},))
        except ClientError:  # said, where it arose
            pass
        except ValueError:
            connections.cut(me, "malformed")
        finally:
            if session := self._sessions.find(line.sid, None):  # broken off: nobody can come back for it
                self._sessions.stop(session, "disconnect")
            self._live.leave(line.sid)
            line.hang_up()
            line.linger()

    def _start(self, line: AudioSocketCall, address: str, call: uuid.UUID) -> None:
        """Open the call's session. Raises ClientError."""

        def admit(identity: Identity) -> Owner:
            if not self._from.trust(address):
                raise ClientError(
                    "UNAUTHORIZED", "calls come from the networks in doors.audiosocket_from alone"
                )
            return self._live.admit_owner(line, identity)

        self._live.enter({"REMOTE_ADDR": address}, None, admit, CALLERS)
        line.joined = True
        self._metrics.door("audiosocket")
        fields = {"session_id": str(call), "encoding": "pcm_s16le", "sample_rate": RATES[0x10]}
        answer = self._live.handle("start", line, (fields,))
        if answer is not None and not answer["ok"]:
            line.hang_up()

    def _feed(self, line: AudioSocketCall, sample_rate: int, data: bytes) -> None:
        """What comes too early waits, and with it who sends it, as TCP has it."""
        while not line.ended:
            answer = self._live.handle("audio_stream", line, ({"chunk": data, "sample_rate": sample_rate},))
            if answer is None or answer["ok"]:
                return
            code = answer["error"]["code"]
            if code in ("NOT_YOUR_SESSION", "NOT_READY"):  # it has ended: for idleness, or with the server
                line.hang_up()
            elif code != "RATE_LIMITED":
                return
            else:
                time.sleep(PAUSE_S)
