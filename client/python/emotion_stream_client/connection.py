"""One connection to a server: from the attempt until it is lost. Knows no sessions, and does not come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import socketio

from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Json
from emotion_stream_client.words import said

CONNECT_TIMEOUT_S = (
    4.0  # for a connection: a network that swallows packets must not eat up the time to resume
)
CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Address:
    """Where a server is, and what opens it."""

    url: str
    token: str = field(default="", repr=False)
    language: str = ""  # in which is said what is wrong; empty: as the server is set

    def at(self, path: str) -> str:
        """The URL of a page of the server."""
        return f"{self.url.rstrip('/')}/{path}"

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries: the token and the language, where they are given."""
        carried = {"Authorization": self.token and f"Bearer {self.token}", "Accept-Language": self.language}
        return {name: value for name, value in carried.items() if value}

    @property
    def origin(self) -> str:
        """Scheme, host and port, without the path the server may be mounted at."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def socket_path(self) -> str:
        """Where Socket.IO is found, without a leading slash."""
        return f"{urlsplit(self.url).path.strip('/')}/socket.io".lstrip("/")


class Connection:
    """`on_message(event, payload)`: from the server, in order. `on_lost()`: the connection is gone."""

    def __init__(
        self, address: Address, on_message: Callable[[str, object], None], on_lost: Callable[[], None]
    ) -> None:
        self._address, self._on_message, self._on_lost = address, on_message, on_lost
        self._refusal: EmotionError | None = None
        self.lost = asyncio.Event()

    async def connect(self, http: aiohttp.ClientSession) -> None:
        """Raises EmotionError: the server's refusal, or DISCONNECTED."""
        self._io = io = socketio.AsyncClient(
            reconnection=False, http_session=http, handle_sigint=False, request_timeout=CONNECT_TIMEOUT_S
        )
        io.on("*", lambda event, *args: self._on_message(event, args[0] if args else None))
        io.on("connect_error", self._on_refusal)
        io.on("disconnect", lambda *_: self._on_disconnect())
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await io.connect(
                    self._address.origin,
                    headers=self._address.headers,
                    auth={"token": self._address.token} if self._address.token else None,
                    transports=["websocket"],
                    socketio_path=self._address.socket_path,
                    wait_timeout=CONNECT_TIMEOUT_S,
                )
        except (socketio.exceptions.SocketIOError, TimeoutError, OSError, aiohttp.ClientError) as wrong:
            told = said(self._address.language, "no connection: {why}", why=wrong)
            raise self._refusal or EmotionError("DISCONNECTED", told) from None

    def _on_refusal(self, answer: Any = None) -> None:
        error = answer.get("data") if isinstance(answer, dict) else None
        if isinstance(error, dict) and "code" in error:
            self._refusal = EmotionError.of(error)

    def _on_disconnect(self) -> None:
        self.lost.set()
        self._on_lost()

    async def emit(self, event: str, payload: Json, answered: Callable[[Json], None]) -> None:
        """Send without waiting; `answered` gets the server's answer, and nothing when the connection is lost."""
        with contextlib.suppress(socketio.exceptions.SocketIOError):  # it is being lost: `lost` says so
            await self._io.emit(event, payload, callback=lambda answer=None, *_: answered(answer or {}))

    async def call(self, event: str, payload: Json, timeout_s: float) -> Json:
        """The answer; with `ok: False` and DISCONNECTED when none comes in time."""
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        if not self.lost.is_set():
            await self.emit(event, payload, lambda value: None if answer.done() else answer.set_result(value))
            lost = asyncio.ensure_future(self.lost.wait())
            either: set[asyncio.Future[Any]] = {answer, lost}
            try:
                await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost.cancel()
        if answer.done():
            return answer.result()
        told = said(self._address.language, "no answer to {event}", event=event)
        return {"ok": False, "error": {"code": "DISCONNECTED", "message": told}}

    async def close(self, stop: Json | None = None) -> None:
        """Hang up; `stop`: what to send as such before, without waiting for a summary."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                if stop is not None and not self.lost.is_set():
                    await self._io.emit("stop", stop)
                    await self._io.eio.queue.join()  # else the words would be thrown away with the connection
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._io.disconnect()
        self._on_disconnect()
