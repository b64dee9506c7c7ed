"""The same client for programs without asyncio: `EmotionClient` and `Stream`. Each client has one thread, in which
an event loop does the work; every method may be called from any thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from emotion_stream_client.audio import Audio
from emotion_stream_client.client import AsyncEmotionClient
from emotion_stream_client.events import Event, Json, Result, SpanResult, Summary, Utterance
from emotion_stream_client.recognition import Callback, Recognition, Source
from emotion_stream_client.renamed import renamed_arguments, warn_renamed
from emotion_stream_client.stream import AsyncStream

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run = self._loop.run_forever
                self._thread = threading.Thread(target=run, name="emotion-stream-client", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` there and wait for it here; who is interrupted while waiting takes it back."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what is still under way."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class EmotionClient:
    """A server at `url`, for programs without asyncio; arguments as of `AsyncEmotionClient`."""

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        timeout_s: float = 300.0,
        verify: Any = True,
        language: str = "",
    ) -> None:
        self._loop = _Loop()
        self._client = AsyncEmotionClient(url, token, timeout_s=timeout_s, verify=verify, language=language)

    def __enter__(self) -> EmotionClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread. The client can be used again."""
        self._loop.run(self._client.close())
        self._loop.close()

    def stream(self, **options: Any) -> Stream:
        """A live stream: `with client.stream(sample_rate=48_000) as stream`. Options as of
        `AsyncEmotionClient.stream`."""
        return Stream(self._client.stream(**options), self._loop)

    @renamed_arguments(patience_s="retry_timeout_s")
    def recognize(
        self,
        source: Source,
        *,
        granularity: str = "utterance",
        embedding: bool = False,
        on_step: Callback | None = None,
        on_progress: Callback | None = None,
        retry_timeout_s: float = 0.0,
    ) -> Recognition:
        """As `AsyncEmotionClient.recognize`; the callbacks are called in this thread."""
        calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        step = None if on_step is None else lambda value: calls.put(partial(on_step, value))
        progress = None if on_progress is None else lambda value: calls.put(partial(on_progress, value))
        future = self._loop.submit(
            self._client.recognize(
                source,
                granularity=granularity,
                embedding=embedding,
                on_step=step,
                on_progress=progress,
                retry_timeout_s=retry_timeout_s,
            )
        )
        future.add_done_callback(lambda _: calls.put(None))
        try:
            while (call := calls.get()) is not None:
                call()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def recognise(self, source: Source, **options: Any) -> Recognition:
        """The old name of `recognize`."""
        warn_renamed("recognise()", "recognize()")
        return self.recognize(source, **options)

    def download(self, result: Recognition | str, name: str, to: str | Path = ".") -> Path:
        """As `AsyncEmotionClient.download`."""
        return self._loop.run(self._client.download(result, name, to))

    def embedding(self, result: Recognition | str) -> Any:
        """As `AsyncEmotionClient.embedding`."""
        return self._loop.run(self._client.embedding(result))

    def delete(self, result: Recognition | str) -> None:
        """As `AsyncEmotionClient.delete`."""
        self._loop.run(self._client.delete(result))

    def status(self) -> Json:
        """As `AsyncEmotionClient.status`."""
        return self._loop.run(self._client.status())


class Stream:
    """`AsyncStream` without asyncio. A `with` block opens and ends it; a loop over it gives its events."""

    def __init__(self, stream: AsyncStream, loop: _Loop) -> None:
        self._stream, self._loop = stream, loop

    def __enter__(self) -> Stream:
        self._loop.run(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._stream.__aexit__(kind, value, trace))

    @property
    def session(self) -> Json:
        """The server's answer to `start`; empty while there is no session."""
        return self._stream.session

    @property
    def summary(self) -> Summary | None:
        """Once the session has ended."""
        return self._stream.summary

    @property
    def buffered_ms(self) -> float:
        """Audio that waits to be sent or acknowledged."""
        return self._stream.buffered_ms

    def send(self, audio: Audio, wait: bool = True) -> bool:
        """As `AsyncStream.send`."""
        return self._loop.run(self._stream.send(audio, wait))

    def flush(self) -> None:
        """As `AsyncStream.flush`."""
        self._loop.run(self._stream.flush())

    def span(
        self,
        begin_ms: int,
        end_ms: int,
        channel: str | None = None,
        present: Mapping[str, float] | None = None,
    ) -> SpanResult:
        """As `AsyncStream.span`."""
        return self._loop.run(self._stream.span(begin_ms, end_ms, channel, present))

    def stop(self) -> Summary:
        """As `AsyncStream.stop`."""
        return self._loop.run(self._stream.stop())

    def close(self) -> None:
        """As `AsyncStream.close`."""
        self._loop.run(self._stream.close())

    def poll(self) -> list[Event]:
        """As `AsyncStream.poll`."""
        return self._stream.poll()

    def __iter__(self) -> Iterator[Event]:
        """All events, up to the end of the stream. Raises EmotionError if that is a failure."""
        while (event := self._stream.wait()) is not None:
            yield event

    def results(self) -> Iterator[Result]:
        """The results alone; other events are passed over."""
        return (event for event in self if isinstance(event, Result))

    def utterances(self) -> Iterator[Utterance]:
        """The utterances alone; other events are passed over."""
        return (event for event in self if isinstance(event, Utterance))
