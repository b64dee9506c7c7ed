"""Who comes in, whatever it speaks; and connections that do not speak HTTP, each with a thread of its own."""

from __future__ import annotations

import errno
import logging
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from server.hub.connections import TcpConnection, TcpConnections

log = logging.getLogger("server")


def admitting(accept: Callable[[], Any], connections: TcpConnections) -> Callable[[], Any]:
    """The next connection that may come in, and its address. Of several workers the one with the fewest takes it.

    Out of file descriptors or buffers: wait for some to come free. eventlet would stop accepting for ever.
    """

    def admitted() -> Any:
        while True:
            try:
                sock, address = accept()
            except BlockingIOError:  # another worker was faster
                raise
            except OSError as short:
                if short.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.error("a connection cannot be accepted now: %s", short.strerror)
                time.sleep(0.5)
                continue
            time.sleep(0)  # a crowd at the door does not keep those inside waiting
            if connections.admit(sock, address):
                return sock, address

    return admitted


class TcpServer:
    """Takes connections from `bound`, within the bounds of `connections`, until `shutdown`."""

    def __init__(
        self,
        bound: Any,
        connections: TcpConnections,
        handler: Callable[[Any, TcpConnections, TcpConnection], None],
    ) -> None:
        """`handler` is given a socket and what it counts as; both are closed when it returns."""
        self._bound, self._connections, self._handler = bound, connections, handler
        self._next = admitting(self._accept, connections)
        self._closed = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="tcp", daemon=True).start()

    def shutdown(self) -> None:
        self._closed = True
        self._bound.close()

    def _accept(self) -> Any:
        select.select([self._bound], [], [])
        time.sleep(self._connections.give_way())
        return self._bound.accept()

    def _run(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._next()
            except BlockingIOError:  # another worker was faster
                continue
            except (OSError, ValueError):  # the latter: of a descriptor that is none any more
                if not self._closed:
                    log.exception("no longer listening for connections without HTTP")
                return
            threading.Thread(target=self._serve, args=(sock,), name="tcp", daemon=True).start()

    def _serve(self, sock: Any) -> None:
        me = self._connections.of(sock)
        try:
            if not me.reserve:  # that is for operators' requests
                with suppress(OSError):
                    self._handler(sock, self._connections, me)
        finally:
            self._connections.forget(sock)
            sock.close()
