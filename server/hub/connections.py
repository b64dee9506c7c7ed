"""What is really open: every TCP connection, whose it is, and until when it may go on as it does.

Counted by descriptor, from `accept` until the handler has ended: a peer that ignores our goodbye still counts, and
is cut off. Deadlines are by the wall clock, so that a byte now and then prolongs nothing. Both async modes use it.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from server.counts import SharedCounts
from server.rate_limit import TokenBucket

log = logging.getLogger("server")

RESERVE = 32  # connections beyond the bounds: for OPS alone
OPS = frozenset({"/healthz", "/readyz", "/metrics"})
LINGER_S = 2.0  # how long a peer may take to read our last words before its connection is cut
# A connection that has sent nothing of a request for so long is closed; WebSockets have pings.
SILENCE_S = 30.0
POLL_S = 0.25  # how often deadlines are looked at
YIELD_S = 0.005  # the head start of a worker that has fewer connections: longer than a chunk takes
TELL_S = 10.0  # between two log lines about the same peer and reason


@dataclass(frozen=True)
class ConnectionLimits:
    """What connections may take, below any message."""

    connections: int = 5000  # open at a time, in all
    per_peer: int = 2000
    half_open: int = 1000  # without a complete request head, in all; one peer may have half of them
    head_s: float = 10  # for request line and headers, in all
    body_s: float = 30  # a body may take this long, and a second more for every `body_rate` bytes
    body_rate: float = 500
    excess_per_s: float = 20  # control frames of a WebSocket
    shared: Callable[[str], bool] = lambda address: False  # whether many come from it: a trusted proxy


@dataclass(eq=False)
class TcpConnection:
    """One accepted socket."""

    sock: Any
    peer: str
    excess: TokenBucket
    reserve: bool = False  # taken in beyond the bounds
    gone: bool = False  # cut off; its handler is about to end
    due: float = math.inf  # time.monotonic() when it is cut off
    why: str = ""  # then; empty: no fault of the peer's

    def limit(self, seconds: float, why: str = "") -> None:
        """Cut it off in `seconds` from now; inf: not any more."""
        self.due, self.why = time.monotonic() + seconds, why

    def close_soon(self) -> None:
        """It is over: what we said last may still be read."""
        self.due, self.why = min(self.due, time.monotonic() + LINGER_S), ""

    def shut(self, reset: bool = False) -> None:
        """Both directions, at once: whoever waits for this socket wakes up, and what still comes is refused.

        `reset`: nor does the kernel go on waiting for a peer that does not end its side.
        """
        self.gone = True
        with suppress(OSError):  # the peer was faster
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.shutdown(socket.SHUT_RDWR)


def peer_of(address: Any) -> str:
    """The address that a connection counts for: of IPv6 the network of 64 bits that one host has to itself."""
    host = str(address[0]) if isinstance(address, tuple) and address else str(address)
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return host
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class TcpConnections:
    """All that are open. May be used from any thread."""

    def __init__(
        self, limits: ConnectionLimits, on_cut: Callable[[str], None], counts: SharedCounts | None = None
    ) -> None:
        """`on_cut` is told why each is cut off: the reasons of `cut`. `counts`: what other workers have."""
        self.limits, self._on_cut = limits, on_cut
        self.counts = counts or SharedCounts.alone()
        self._lock = threading.Lock()
        self._open: dict[int, TcpConnection] = {}  # by id of the socket
        self._half: dict[TcpConnection, None] = {}  # without a complete request head, the oldest first
        self._open_by: Counter[str] = Counter()
        self._half_by: Counter[str] = Counter()
        self._logged_at: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, sock: Any, address: Any) -> bool:
        """Take a new connection in, at the cost of the oldest half request where room is short.

        False: there is none even in the reserve, and the socket is closed.
        """
        peer, limits = peer_of(address), self.limits
        now = time.monotonic()
        rate = limits.excess_per_s
        new = TcpConnection(sock, peer, TokenBucket(rate, 25 * rate, now))
        alone = not limits.shared(peer)
        with self._lock:
            theirs = self.counts.peer(peer, +1) + self._open_by[peer]
            crowded = alone and theirs >= limits.per_peer
            new.reserve = crowded or len(self._open) + self.counts.elsewhere("sockets") >= limits.connections
            victim = None
            if alone and self._half_by[peer] >= max(16, limits.half_open // 2):
                victim = next(c for c in self._half if c.peer == peer)
            elif len(self._half) >= max(32, limits.half_open):
                victim = next(iter(self._half))
            elif new.reserve and sum(c.reserve for c in self._open.values()) >= RESERVE:
                victim = next((c for c in self._half if c.reserve), new)
            if victim is not new:
                self._open[id(sock)] = new
                self._open_by[peer] += 1
                self.counts.publish("sockets", len(self._open))
            else:
                self.counts.peer(peer, -1)
        if victim is new:
            self.cut(new, "crowded")
            sock.close()
            return False
        if victim is not None:
            self.cut(victim, "crowded")
        self.waits(new)
        return True

    def give_way(self) -> float:
        """In how many seconds to accept, so that workers with fewer connections have the first choice."""
        each = self.counts.each("sockets")
        return YIELD_S if len(self._open) > min(each) else 0.0

    def of(self, sock: Any) -> TcpConnection:
        return self._open[id(sock)]

    def waits(self, me: TcpConnection) -> None:
        """It has said nothing yet of its (next) request."""
        me.limit(SILENCE_S)
        with self._lock:
            if me not in self._half and not me.gone:
                self._half[me] = None
                self._half_by[me.peer] += 1

    def asks(self, me: TcpConnection) -> None:
        """The head of its request is complete."""
        me.limit(math.inf)
        with self._lock:
            self._whole(me)

    def forget(self, sock: Any) -> None:
        """Its handler has ended."""
        with self._lock:
            me = self._open.pop(id(sock), None)
            if me is None:
                return
            self._whole(me)
            self.counts.peer(me.peer, -1)
            self.counts.publish("sockets", len(self._open))
            self._open_by[me.peer] -= 1
            if not self._open_by[me.peer]:
                del self._open_by[me.peer]
        me.shut()

    def cut(self, me: TcpConnection, why: str) -> None:
        """Close it for what its peer does: `flood`, `too_long`, `malformed`, `slow`, or `crowded` out."""
        with self._lock:
            if me.gone:
                return
            self._whole(me)
            me.gone = True
        self._on_cut(why)
        self.tell(me.peer, f"connection closed: {why.replace('_', ' ')}")
        me.shut(reset=True)

    def tell(self, peer: str, what: str) -> None:
        """A line in the log; of the same again and again one in ten seconds, since metrics count them all."""
        now, key = time.monotonic(), (peer, what)
        with self._lock:
            if now - self._logged_at.get(key, -math.inf) < TELL_S:
                return
            if len(self._logged_at) > 1000:
                self._logged_at.clear()
            self._logged_at[key] = now
        log.warning("%s", what, extra={"peer": peer})

    def watch(self) -> None:
        """Keep the deadlines, from a thread of its own."""
        threading.Thread(target=self._watch, name="deadlines", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(POLL_S)
            now = time.monotonic()
            for me in list(self._open.values()):
                if me.due < now and not me.gone:
                    if me.why:
                        self.cut(me, me.why)
                    else:
                        with self._lock:
                            self._whole(me)
                        me.shut(reset=True)
                elif me.sock.fileno() < 0:  # no handler was ever started for it
                    self.forget(me.sock)

    def _whole(self, me: TcpConnection) -> None:
        if me in self._half:
            del self._half[me]
            self._half_by[me.peer] -= 1
            if not self._half_by[me.peer]:
                del self._half_by[me.peer]
