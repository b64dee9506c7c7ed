"""Real HTTP servers that take alerts, or do not: they answer as told, late, or never."""

from __future__ import annotations

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


Reply = tuple[int, bytes]  # status, body


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
                status, said = answer(number)
                self.send_response(status)
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
