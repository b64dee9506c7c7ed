"""Two Socket.IO clients with one face: a light one (the default) and python-socketio's own.

The load generator shares its cores with the server, so what it spends per chunk matters. `LightLink`
speaks Engine.IO v4 over one aiohttp WebSocket: the bytes on the wire are those of any Socket.IO client that
uses the websocket transport, without per-event tasks and without encoding the same chunk again. `RealLink`
is `socketio.AsyncClient`: dearer, there to show that a stock client gets the same answers.
Neither offers permessage-deflate; aiohttp masks in C.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import orjson
import socketio

Heard = Callable[[str, dict[str, Any], int], None]  # event, payload, size of the message in bytes
Acked = Callable[[dict[str, Any]], None]

TEXT = aiohttp.WSMsgType.TEXT
BINARY = aiohttp.WSMsgType.BINARY


class Link(Protocol):
    """One connection."""

    async def call(self, event: str, payload: dict[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
        """Emit and wait for the acknowledgement."""
        ...

    async def send_chunk(self, chunk: bytes, acked: Acked | None) -> None:
        """Emit `audio_stream` with one prepared chunk."""
        ...

    async def close(self) -> None: ...


class LightLink:
    """Engine.IO v4 framing by hand: `4` message, `2` event, `3` acknowledgement."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse[bool], heard: Heard, binary: bool) -> None:
        self._ws = ws
        self._heard = heard
        self._binary = binary
        self._acks: dict[int, Acked] = {}
        self._next_id = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str, heard: Heard, *, binary: bool) -> LightLink:
        ws = await http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket", compress=0, max_msg_size=0)
        opened = await ws.receive_str()
        await ws.send_str("40")
        joined = await ws.receive_str()
        if not (opened.startswith("0") and joined.startswith("40")):
            raise ConnectionError(f"not let in: {joined}")
        return cls(ws, heard, binary)

    async def call(self, event: str, payload: dict[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        number = self._remember(lambda ack: None if answer.done() else answer.set_result(ack))
        await self._ws.send_frame(b"42%d" % number + orjson.dumps([event, payload]), TEXT)
        return await asyncio.wait_for(answer, timeout_s)

    async def send_chunk(self, chunk: bytes, acked: Acked | None) -> None:
        number = b"" if acked is None else b"%d" % self._remember(acked)
        if self._binary:
            placeholder = b'["audio_stream",{"chunk":{"_placeholder":true,"num":0}}]'
            await self._ws.send_frame(b"451-" + number + placeholder, TEXT)
            await self._ws.send_frame(chunk, BINARY)
        else:
            text = b"".join((b"42", number, b'["audio_stream",{"chunk":"', chunk, b'"}]'))
            await self._ws.send_frame(text, TEXT)

    async def close(self) -> None:
        await self._ws.close()
        await self._reader

    def _remember(self, acked: Acked) -> int:
        self._next_id += 1
        self._acks[self._next_id] = acked
        return self._next_id

    async def _read(self) -> None:
        async for message in self._ws:
            text: str = message.data
            if text == "2":
                await self._ws.send_str("3")
            elif text.startswith("42"):
                name, *rest = orjson.loads(text[2:])
                self._heard(name, rest[0] if rest else {}, len(text))
            elif text.startswith("43"):
                bracket = text.index("[")
                answer = orjson.loads(text[bracket:])
                self._acks.pop(int(text[2:bracket]))(answer[0] if answer else {})


class RealLink:
    """`socketio.AsyncClient`, websocket transport only."""

    def __init__(self, client: socketio.AsyncClient, binary: bool) -> None:
        self._client = client
        self._binary = binary

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str, heard: Heard, *, binary: bool) -> RealLink:
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        client.on(
            "*", lambda name, payload=None: heard(name, payload or {}, len(orjson.dumps([name, payload])))
        )
        await client.connect(url, transports=["websocket"])
        return cls(client, binary)

    async def call(self, event: str, payload: dict[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
        answer: dict[str, Any] = await self._client.call(event, payload, timeout=timeout_s)
        return answer or {}

    async def send_chunk(self, chunk: bytes, acked: Acked | None) -> None:
        payload = {"chunk": chunk if self._binary else chunk.decode()}
        await self._client.emit("audio_stream", payload, callback=acked)

    async def close(self) -> None:
        await self._client.disconnect()
