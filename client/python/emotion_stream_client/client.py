"""`AsyncEmotionClient`: a server's files and live streams, for programs with asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import aiohttp

from emotion_stream_client.connection import Address
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Json
from emotion_stream_client.recognition import (
    NDJSON,
    AnswerReader,
    Callback,
    Recognition,
    Source,
    array_of,
    failure,
    open_source,
    parsed,
    upload_form,
)
from emotion_stream_client.renamed import renamed_arguments, warn_renamed
from emotion_stream_client.stream import AsyncStream
from emotion_stream_client.words import said

RETRY_DELAY_S = 1.0
BLOCK = 1 << 16


class AsyncEmotionClient:
    """A server at `url`. May hold any number of streams and requests at once; belongs to one event loop.

    `timeout_s`: how long the server may say nothing while it works on a request. `verify`: False accepts any TLS
    certificate; an `ssl.SSLContext` is used as it is. `language`: `zh` or `en`, of what errors and steps say;
    empty: as the server is set, and English where this package speaks for itself.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        timeout_s: float = 300.0,
        verify: Any = True,
        language: str = "",
    ) -> None:
        self._address = Address(url, token, language)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=timeout_s)
        self._verify = verify
        self._http: aiohttp.ClientSession | None = None
        self._streams: WeakSet[AsyncStream] = WeakSet()

    async def __aenter__(self) -> AsyncEmotionClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End its streams and close all connections. The client can be used again."""
        for stream in list(self._streams):
            await stream.close()
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def _session(self) -> aiohttp.ClientSession:
        if self._http is None or self._http.closed:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._verify)  # each stream holds a connection
            self._http = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._http

    @renamed_arguments(patience_s="connect_timeout_s")
    def stream(
        self,
        *,
        sample_rate: int = 16_000,
        encoding: str = "pcm_s16le",
        channels: int = 1,
        frame_results: bool = False,
        session_id: str | None = None,
        name: str | None = None,
        tags: dict[str, str] | None = None,
        connect_timeout_s: float = 30.0,
        buffer_s: float = 30.0,
        max_events: int = 1000,
        **more: Any,
    ) -> AsyncStream:
        """A live stream: `async with client.stream() as stream`.

        `connect_timeout_s`: how long it waits for a server that is away or full, at its start and after a broken
        connection.
        `buffer_s`: audio kept while it cannot be sent. `max_events`: events kept while nobody takes them. `more`:
        fields of `start` that this package does not know.
        """
        start: Json = {
            "sample_rate": sample_rate,
            "encoding": encoding,
            "channels": channels,
            "frame_results": frame_results,
            "session_id": session_id,
            "name": name,
            "tags": tags,
            **more,
        }
        given = {key: value for key, value in start.items() if value is not None}
        stream = AsyncStream(self._address, self._session, given, connect_timeout_s, buffer_s, max_events)
        self._streams.add(stream)
        return stream

    @renamed_arguments(patience_s="retry_timeout_s")
    async def recognize(
        self,
        source: Source,
        *,
        granularity: str = "utterance",
        embedding: bool = False,
        on_step: Callback | None = None,
        on_progress: Callback | None = None,
        retry_timeout_s: float = 0.0,
    ) -> Recognition:
        """The emotion of a recording: a path, a file opened for reading, or its bytes. Raises EmotionError.

        `on_step({step, ms, detail})` and `on_progress({done_s, total_s})` are called while the server works.
        `retry_timeout_s`: for how long it is tried again after an error that is `retryable`, such as BUSY.
        """
        fields = {"granularity": granularity, "extract_embedding": "true" if embedding else "false"}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + retry_timeout_s
        with open_source(source) as (file, name):
            begin = file.tell()
            while True:
                try:
                    return await self._upload(upload_form(file, name, fields), on_step, on_progress)
                except EmotionError as wrong:
                    wait = RETRY_DELAY_S if wrong.retry_after is None else wrong.retry_after
                    if not wrong.retryable or loop.time() + wait > deadline:
                        raise
                await asyncio.sleep(wait)
                file.seek(begin)

    def recognise(self, source: Source, **options: Any) -> Coroutine[Any, Any, Recognition]:
        """The old name of `recognize`."""
        warn_renamed("recognise()", "recognize()")
        return self.recognize(source, **options)

    async def _upload(
        self, data: aiohttp.FormData, on_step: Callback | None, on_progress: Callback | None
    ) -> Recognition:
        async with self._request("POST", "api/v1/emotion/recognize", data=data, accept=NDJSON) as response:
            answer = AnswerReader(response.status, on_step, on_progress, self._address.language)
            async for block in response.content.iter_any():
                answer.feed(block)
            return Recognition.of(answer.result(), self._address.language)

    async def download(self, result: Recognition | str, name: str, to: str | Path = ".") -> Path:
        """Save one of a result's files (result.json, embedding.npy, processed_audio.wav, result.csv); its path.

        `result`: or its id. `to`: a folder, or the path of the file. Raises EmotionError, and OSError when it
        cannot be written.
        """
        target = Path(to) / name if Path(to).is_dir() else Path(to)
        async with self._request("GET", _file(result, name)) as response:
            with target.open("wb") as file:
                async for block in response.content.iter_chunked(BLOCK):
                    file.write(block)
        return target

    async def embedding(self, result: Recognition | str) -> Any:
        """The embedding of a recording that was recognized with `embedding=True`: a NumPy array (n,), float32.

        Raises EmotionError NOT_FOUND when there is none.
        """
        async with self._request("GET", _file(result, "embedding.npy")) as response:
            return array_of(await response.read())

    async def delete(self, result: Recognition | str) -> None:
        """Have the server forget a result and its files. Raises EmotionError NOT_FOUND when there is none."""
        async with self._request("DELETE", f"api/v1/results/{quote(_id(result), safe='')}"):
            pass

    async def status(self) -> Json:
        """How the server is: ready, model, device, sessions … (docs/protocol.md). Raises EmotionError."""
        async with self._request("GET", "api/v1/status") as response:
            return parsed(await response.read(), response.status, self._address.language)

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, *, data: Any = None, accept: str = "*/*"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises EmotionError, unless the answer is one of success."""
        headers, language = {"Accept": accept, **self._address.headers}, self._address.language
        http = await self._session()
        try:
            async with http.request(method, self._address.at(path), data=data, headers=headers) as response:
                if response.status >= 400:
                    answer = parsed(await response.read(), response.status, language)
                    raise failure(answer, response.status, response.headers.get("Retry-After"), language)
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as wrong:
            told = said(language, "no answer from {url}: {why}", url=self._address.url, why=repr(wrong))
            raise EmotionError("DISCONNECTED", told) from None


def _id(result: Recognition | str) -> str:
    return result if isinstance(result, str) else result.id


def _file(result: Recognition | str, name: str) -> str:
    return f"api/v1/results/{quote(_id(result), safe='')}/{quote(name, safe='')}"
