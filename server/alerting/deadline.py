"""HTTP connections that keep one deadline for a whole exchange, from connecting to the last byte of the answer.

urllib3's time-outs begin anew with every read: a receiver that sends a byte now and then would hold its thread for
as long as it likes. Here a timer shuts the socket down when the time is over, whatever is being waited for.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class TimedHttp:
    """One exchange at a time, each over a connection of its own. Redirects are not followed."""

    def __init__(self) -> None:
        self._deadline_s = 0.0
        self._handle: socket.socket | None = None  # of the connection in use; TLS takes the first one away
        self.expired = False  # the last exchange was ended by its deadline
        timed = self

        class Http(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return timed._connect(self, self._dns_host, self.port)

        class Https(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return timed._connect(self, self._dns_host, self.port or 443)

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = Http

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = Https

        self._http = urllib3.PoolManager(num_pools=1, maxsize=1, retries=False)
        self._http.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

    @contextmanager
    def post(
        self, url: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer, its body not read yet; over with the block. Raises urllib3's HTTPError, there and inside."""
        self._deadline_s = time.monotonic() + timeout_s
        self.expired = False
        timer = threading.Timer(timeout_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            answer = self._http.request(
                "POST",
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=timeout_s),
                redirect=False,
                preload_content=False,
            )
            with answer:
                yield answer
            if self.expired:  # half of an answer looks whole where it was shut down between two headers
                raise urllib3.exceptions.TimeoutError("the time for the exchange is over")
        finally:
            timer.cancel()
            self._http.clear()
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def _expire(self) -> None:
        self.expired = True
        if (handle := self._handle) is not None:
            with suppress(OSError):  # it was closed at this moment
                handle.shutdown(socket.SHUT_RDWR)

    def _connect(self, connection: Any, host: str, port: int) -> socket.socket:
        """Try the host's addresses one after the other, all within the deadline. Raises NewConnectionError."""
        why: object = "it has no address"
        try:
            found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:  # the latter: a name that cannot be one
            raise urllib3.exceptions.NewConnectionError(connection, str(unknown)) from None
        for family, kind, protocol, _, address in found:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                why = "timed out"
                break
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(left_s)
                made.connect(address)
            except OSError as failed:
                made.close()
                why = failed
                continue
            self._handle = made.dup()
            if self.expired:  # the timer came before there was something to shut down
                self._expire()
            return made
        raise urllib3.exceptions.NewConnectionError(connection, str(why))
