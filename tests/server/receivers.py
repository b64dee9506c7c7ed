"""Real HTTP servers that take alerts, or do not: they answer as told, late, or never."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from tests.server.clients import eventually


@dataclass(frozen=True)
class Post:
    at_s: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Reply = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]  # status, body, headers


class Receiver:
    """`answer` is given the number of the post, from 0, and says what is answered."""

    def __init__(self, answer: Callable[[int], Reply] = lambda n: (200, b"{}"), delay_s: float = 0) -> None:
        self.posts: list[Post] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append(Post(time.monotonic(), self.path, dict(self.headers), body))
                number = len(receiver.posts) - 1
                time.sleep(delay_s)
                status, said, *more = answer(number)
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                if status == 302:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def wait(self, n: int = 1, timeout_s: float = 15) -> list[Post]:
        eventually(lambda: len(self.posts) >= n, f"{n} posts; there are {len(self.posts)}", timeout_s)
        return self.posts

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Trickle:
    """Takes a connection and answers with one byte of a header at a time, for ever."""

    def __init__(self) -> None:
        self.taken = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.taken += 1
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                connection.sendall(b"a")
                time.sleep(0.05)

    def close(self) -> None:
        self._listening.close()
