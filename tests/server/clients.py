"""Clients for the live server: one that speaks Socket.IO properly, one that speaks whatever it is told to.

Both keep everything they hear, in order, and wait for conditions rather than for time to pass.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import engineio
import orjson
import socketio
import websocket

PATIENCE_S = 60.0  # two busy cores: what is being waited for usually takes a hundredth of this
BYTES_PER_S = 32_000  # of 16 kHz PCM16

Payload = dict[str, Any]
Event = tuple[str, Payload]


def eventually(holds: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """What `holds` gives once that is true; fails with `what` when it never becomes so."""
    end, pause_s = time.monotonic() + timeout_s, 0.01
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.1)  # looking takes the time of those who are waited for
    return value


class _InOrder(engineio.Client):
    """engineio's client starts a thread per message, and threads overtake each other."""

    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        return super()._trigger_event(event, *args, **{**kwargs, "run_async": False})


class _SocketClient(socketio.Client):
    def _engineio_client_class(self) -> type[engineio.Client]:
        return _InOrder

    def _handle_disconnect(self, namespace: str) -> None:
        # It waits for the thread that reads, which is the one that would wait.
        threading.Thread(target=super()._handle_disconnect, args=(namespace,), daemon=True).start()


class Client:
    """A well-behaved client: an application's, as the contract describes it."""

    def __init__(
        self,
        url: str,
        auth: Any = None,
        headers: dict[str, str] | None = None,
        transport: str = "websocket",
        namespace: str = "/",
    ) -> None:
        self.heard: list[Event] = []
        self.heard_at: list[float] = []
        self.refused: Any = None  # what the server said when it refused the connection
        self._news = threading.Condition()
        self._io = _SocketClient(reconnection=False)
        self._namespace = namespace
        self._io.on("*", self._hear, namespace=namespace)
        self._io.on("connect_error", self._refuse, namespace=namespace)
        self._io.connect(
            url,
            auth=auth,
            headers=headers or {},
            transports=[transport],
            namespaces=[namespace],
            wait_timeout=PATIENCE_S,
            retry=False,
        )

    @property
    def connected(self) -> bool:
        return bool(self._io.connected)

    def call(self, event: str, payload: Any = None, timeout_s: float = PATIENCE_S) -> Any:
        """Send and give the ack. A tuple is sent as several arguments."""
        return self._io.call(event, payload, timeout=timeout_s, namespace=self._namespace)

    def send(self, event: str, payload: Any = None, on_ack: Callable[..., None] | None = None) -> None:
        self._io.emit(event, payload, callback=on_ack, namespace=self._namespace)

    def start(self, **fields: Any) -> Payload:
        answer: Payload = self.call("start", fields)
        assert answer["ok"], answer
        return answer

    def speak(self, audio: bytes, cut: int | list[int] = 32_000, pace: float = 0, **fields: Any) -> None:
        """Send `audio` in pieces of `cut` bytes, waiting for the ack of the last; `pace`: times real time."""
        sizes = itertools.repeat(cut) if isinstance(cut, int) else iter(cut)
        at, began = 0, time.monotonic()
        while at < len(audio):
            piece = audio[at : at + next(sizes)]
            at += len(piece)
            if pace:
                time.sleep(max(0.0, began + at / BYTES_PER_S / pace - time.monotonic()))
            message = {"chunk": piece, **fields}
            if at < len(audio):
                self.send("audio_stream", message)
            else:
                answer = self.call("audio_stream", message)
                assert answer["ok"], answer

    def stop(self, **fields: Any) -> Payload:
        """End the session; the summary, once everything that was said before it has been heard."""
        answer: Payload = self.call("stop", fields or None, timeout_s=PATIENCE_S)
        assert answer["ok"], answer
        self.wait_for("session_summary", lambda p: p["session_id"] == answer["session_id"])
        return answer

    def of(self, name: str, session_id: str | None = None) -> list[Payload]:
        with self._news:
            return [p for n, p in self.heard if n == name and session_id in (None, p.get("session_id"))]

    def wait_for(
        self, name: str, like: Callable[[Payload], bool] = lambda p: True, timeout_s: float = PATIENCE_S
    ) -> Payload:
        """The first such event, heard already or still to come."""
        end = time.monotonic() + timeout_s
        with self._news:
            while True:
                for event, payload in self.heard:
                    if event == name and like(payload):
                        return payload
                left = end - time.monotonic()
                assert left > 0, f"no {name} within {timeout_s:g} s; heard {[n for n, _ in self.heard][-20:]}"
                self._news.wait(left)

    def close(self) -> None:
        """A client that polls may wait for 25 s: python-engineio sometimes forgets to say that it goes."""
        going = threading.Thread(target=self._go, daemon=True)
        going.start()
        going.join(3)

    def _go(self) -> None:
        with contextlib.suppress(Exception):
            self._io.disconnect()

    def kill(self) -> None:
        """Break the connection without a word, as a network does."""
        self._io.eio.ws.sock.shutdown(2)

    def _hear(self, event: str, *args: Any) -> None:
        with self._news:
            self.heard.append((event, args[0] if args else {}))
            self.heard_at.append(time.monotonic())
            self._news.notify_all()

    def _refuse(self, data: Any = None) -> None:
        self.refused = data


class Raw:
    """A WebSocket that sends any bytes, and reads only when asked to."""

    def __init__(self, port: int, greet: bool = True, **options: Any) -> None:
        url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
        self.ws = websocket.create_connection(url, timeout=PATIENCE_S, **options)
        self.read()
        if greet:
            self.send("40")
            assert self.until("40")

    @property
    def sock(self) -> socket.socket:
        """The connection under the WebSocket."""
        assert self.ws.sock is not None
        return self.ws.sock

    def send(self, *frames: str | bytes) -> None:
        for frame in frames:
            self.ws.send(frame, websocket.ABNF.OPCODE_BINARY if isinstance(frame, bytes) else 1)

    def read(self) -> str:
        """One frame; empty once the server has closed."""
        text: str | bytes = self.ws.recv()
        return text if isinstance(text, str) else text.decode(errors="replace")

    def until(self, prefix: str) -> str:
        """Read on to a frame that begins so; empty when the server closes first."""
        while (text := self.read()) and not text.startswith(prefix):
            if text == "2":
                self.send("3")
        return text

    def ack(self, packet_id: int) -> Any:
        """The answer to packet `packet_id`; None when the server closed instead."""
        text = self.until(f"43{packet_id}[")
        return orjson.loads(text[2 + len(str(packet_id)) :])[0] if text else None

    def alive(self) -> bool:
        """Whether it may still open a session, or was cleanly closed; anything else is a failure."""
        try:
            self.send('42987["start",{}]')
            answer = self.ack(987)
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            return False
        return answer is not None and answer["ok"]

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.ws.close(timeout=0.2)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def cuttings(total: int, n: int, longest: int, seed: int = 0) -> Iterator[list[int]]:
    """`n` random ways to cut `total` bytes, from a few bytes to `longest` each."""
    import random

    dice = random.Random(seed)
    for _ in range(n):
        sizes: list[int] = []
        scale = dice.choice([100, 1_000, 10_000, longest])
        while sum(sizes) < total:
            sizes.append(dice.randint(1, scale))
        yield sizes
