"""A network that can break: a TCP proxy in front of a server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

AT_ONCE = struct.pack("ii", 1, 0)  # closing then resets the connection, as a network does that breaks


class Proxy:
    """`url` leads to `port`. `cut()` breaks all connections; while `away` new ones are refused; while `frozen`
    bytes are swallowed in both directions, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.away = self.frozen = False
        self.connections = 0
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for one in pairs:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self.connections += 1
            self._pairs += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def passed(self, data: bytes) -> None:
        """For those who want to look at what goes through."""

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not self.frozen:
                    other.sendall(data)
                self.passed(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
