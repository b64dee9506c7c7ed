"""A client of the plain WebSocket door, with the methods of the Socket.IO one: tests may be given either."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from typing import Any

import orjson
import websocket

from tests.server.clients import PATIENCE_S, Client, Payload, base64_of, eventually


class Polite(websocket.WebSocket):
    """Answers a close frame where there is somebody left to read that."""

    def send_close(self, *args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(OSError):
            super().send_close(*args, **kwargs)


class PlainClient(Client):
    """Audio goes out as it is where nothing else is said of it, and as JSON where it is."""

    def __init__(self, url: str, token: str | None = None, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self.heard = []
        self.heard_at = []
        self.close_code: int | None = None  # of the server, once it has closed; 1006: without one
        self._news = threading.Condition()
        self._acks: dict[int, Payload] = {}
        self._ids = itertools.count(1)
        self._token = {} if token is None else {"token": token}
        self.ws = websocket.create_connection(
            f"{url.replace('http', 'ws')}/v1/stream", timeout=PATIENCE_S, header=headers or {}, class_=Polite
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def connected(self) -> bool:
        return self.close_code is None

    def send(self, event: str, payload: Any = None, on_ack: Callable[..., None] | None = None) -> None:
        if event == "audio_stream" and set(payload) == {"chunk"} and isinstance(payload["chunk"], bytes):
            self.ws.send(payload["chunk"], websocket.ABNF.OPCODE_BINARY)
        else:
            self.say({"type": event, **_encoded(payload)})

    def call(self, event: str, payload: Any = None, timeout_s: float = PATIENCE_S) -> Any:
        number = next(self._ids)
        token = self._token if event == "start" else {}
        self.say({"type": event, "id": number, **_encoded(payload), **token})
        with self._news:
            answered = self._news.wait_for(lambda: number in self._acks or not self.connected, timeout_s)
            assert answered and number in self._acks, f"no answer; closed with {self.close_code}"
            return self._acks[number]

    def say(self, message: Any) -> None:
        self.ws.send(message if isinstance(message, str) else orjson.dumps(message).decode())

    def ended_with(self) -> int:
        """The server's close code."""
        eventually(lambda: not self.connected, "the server closes the connection")
        assert self.close_code is not None
        return self.close_code

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.ws.close(timeout=0.2)

    def kill(self) -> None:
        assert self.ws.sock is not None
        self.ws.sock.shutdown(2)

    def _message(self, data: bytes) -> Payload:
        message: Payload = orjson.loads(data)
        return message

    def _read(self) -> None:
        code = 1006
        while True:
            try:
                opcode, data = self.ws.recv_data()
            except (OSError, websocket.WebSocketException):
                break
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code = int.from_bytes(data[:2], "big") if data else 1005
                break
            message = self._message(data)
            event = message.pop("type")
            if event == "ack" and "id" in message:
                with self._news:
                    to = message.pop("to")
                    assert to
                    self._acks[message.pop("id")] = message
                    self._news.notify_all()
            else:
                self._hear(event, message)
        with self._news:
            self.close_code = code
            self._news.notify_all()


def _encoded(payload: Any) -> Payload:
    fields: Payload = dict(payload or {})
    if isinstance(fields.get("chunk"), bytes):
        fields["chunk"] = base64_of(fields["chunk"])
    return fields
