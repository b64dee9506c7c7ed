"""How a turn sounded, for voice agents, which never wait for it longer than they said.

Audio goes in without waiting, and `emotion` tells of a stretch of it. Whatever is wrong with the server costs an
agent its emotions for as long as that lasts, and nothing else. What agent frameworks get is built on this.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from emotion_stream_client.client import AsyncEmotionClient
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Opened, SpanResult
from emotion_stream_client.stream import AsyncStream

log = logging.getLogger("emotion_stream")

CONNECT_S = 5.0
RETRY_S = 0.5
POLL_S = 0.02
KEPT_MS = (
    2000.0  # of audio that cannot be sent: the scores of what is older would come too late for an answer
)
PRE_ROLL_MS = 200.0  # who says that speech has begun says so after its first sound
MAX_TURN_MS = 60_000.0
RCS_LEAST = 0.2


class Session(Protocol):
    """Where audio goes."""

    async def send(self, audio: bytes) -> object:
        """PCM16, mono."""

    async def span(self, begin_ms: int, end_ms: int) -> SpanResult:
        """How a stretch sounded, in milliseconds since the first audio sent. Raises EmotionError."""


Opens = Callable[[int], AbstractAsyncContextManager[Session]]
"""Of a sample rate, a session."""


@dataclass(frozen=True)
class _Chunk:
    begin_ms: float
    end_ms: float
    sample_rate: int
    audio: bytes


class TurnListener:
    """Hears one speaker, from the first `hear` to `close`. Belongs to one event loop."""

    def __init__(self, opens: Opens) -> None:
        """`opens`: `through_server(client)`, or `in_process(model)`."""
        self._opens = opens
        self.heard_ms = 0.0
        self._waiting: deque[_Chunk] = deque()
        self._news = asyncio.Event()
        self._session: Session | None = None
        self._origin_ms = 0.0  # where the session's 0 ms lies in all that was heard
        self._turn_from_ms: float | None = None
        self._told_to_ms = 0.0
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def hear(self, audio: bytes, sample_rate: int, channels: int = 1) -> None:
        """Take PCM16 in, of several channels the first. Never waits, and never fails."""
        begin_ms = self.heard_ms
        self.heard_ms += 1000 * len(audio) / (2 * channels * sample_rate)
        if channels > 1:
            audio = array.array("h", audio)[::channels].tobytes()
        self._waiting.append(_Chunk(begin_ms, self.heard_ms, sample_rate, audio))
        while self.heard_ms - self._waiting[0].begin_ms > KEPT_MS and len(self._waiting) > 1:
            self._waiting.popleft()
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def speech_began(self, ago_ms: float = 0.0) -> None:
        """Somebody has noticed speech, which began `ago_ms` ago; of several times in a turn, the first counts."""
        if self._turn_from_ms is None:
            self._turn_from_ms = max(self._told_to_ms, self.heard_ms - ago_ms - PRE_ROLL_MS)

    def end_turn(self) -> tuple[float, float]:
        """Begin and end (ms) of the turn that ends now: from its speech, or from the end of the turn before."""
        begin_ms = self._told_to_ms if self._turn_from_ms is None else self._turn_from_ms
        self._turn_from_ms, self._told_to_ms = None, self.heard_ms
        return max(begin_ms, self.heard_ms - MAX_TURN_MS), self.heard_ms

    async def emotion(self, begin_ms: float, end_ms: float, timeout_s: float) -> SpanResult | None:
        """How that stretch sounded: as soon as all of it has been scored, or after `timeout_s` what has been.

        None where nothing of it was scored; at once where there is no session.
        """
        found = None
        with contextlib.suppress(TimeoutError, EmotionError):
            async with asyncio.timeout(timeout_s):
                while self._session is not None:
                    begin, end = (round(ms - self._origin_ms) for ms in (begin_ms, end_ms))
                    answer = await self._session.span(max(0, begin), end)
                    found = answer if answer.frames else found
                    if answer.complete:
                        break
                    await asyncio.sleep(POLL_S)
        return found

    async def close(self) -> None:
        """Hear no more, and end the session."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                sample_rate = self._waiting[0].sample_rate
                async with self._opens(sample_rate) as session:
                    self._failing = False
                    await self._feed(session, sample_rate)
            except Exception as wrong:  # whatever it is: the conversation goes on
                if not self._failing:
                    log.warning("no emotions until the server can be reached again: %s", wrong)
                self._failing = True
            finally:
                self._session = None
            await asyncio.sleep(RETRY_S)

    async def _feed(self, session: Session, sample_rate: int) -> None:
        """Send what is heard, until some of it is missing or of another rate: that needs a new session."""
        at_ms = self._origin_ms = self._waiting[0].begin_ms
        self._session = session
        while self._waiting[0].begin_ms == at_ms and self._waiting[0].sample_rate == sample_rate:
            await session.send(self._waiting[0].audio)
            # While that was sent it may have been given up, and others with it.
            if self._waiting[0].begin_ms == at_ms:
                at_ms = self._waiting.popleft().end_ms
            while not self._waiting:
                self._news.clear()
                await self._news.wait()


def rcs(found: SpanResult, at_least: float = RCS_LEAST) -> str:
    """In the text form of the Real-time Context Standard 0.1: `([emotion angry=0.71, neutral=0.20])`."""
    told = ", ".join(f"{label}={p:.2f}" for label, p in likely(found, at_least).items())
    return f"([emotion {told}])"


def likely(found: SpanResult, at_least: float = RCS_LEAST) -> dict[str, float]:
    """The labels worth telling, the likeliest first: that one, and those that reach `at_least`."""
    ranked = sorted(found.scores.items(), key=lambda item: -item[1])
    return {label: p for i, (label, p) in enumerate(ranked) if i == 0 or p >= at_least}


class _OfServer:
    def __init__(self, stream: AsyncStream) -> None:
        self._stream, self._origin_ms = stream, 0.0
        self.send = stream.send

    async def span(self, begin_ms: int, end_ms: int) -> SpanResult:
        for event in self._stream.poll():
            if isinstance(event, Opened):  # after a broken connection it may be a new session
                self._origin_ms = event.origin_ms
        begin, end = (max(0, round(ms - self._origin_ms)) for ms in (begin_ms, end_ms))
        return await self._stream.span(begin, end)


def through_server(client: AsyncEmotionClient, **options: Any) -> Opens:
    """Sessions of a server; `options` as of `client.stream`, such as `name` and `tags`."""

    @asynccontextmanager
    async def opens(sample_rate: int) -> AsyncIterator[Session]:
        bounds: dict[str, Any] = {"connect_timeout_s": CONNECT_S, "buffer_s": KEPT_MS / 1000}
        async with client.stream(sample_rate=sample_rate, **bounds, **options) as stream:
            yield _OfServer(stream)

    return opens


class _InProcess:
    def __init__(self, stream: Any) -> None:
        self._stream, self._one_at_a_time = stream, asyncio.Lock()

    async def send(self, audio: bytes) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(self._stream.push, audio)

    async def span(self, begin_ms: int, end_ms: int) -> SpanResult:
        async with self._one_at_a_time:
            found: SpanResult = self._stream.span(begin_ms, end_ms)
        return found


def in_process(model: Any) -> Opens:
    """Sessions of an `emotion_stream.EmotionModel`, which scores in a thread of this process."""

    @asynccontextmanager
    async def opens(sample_rate: int) -> AsyncIterator[Session]:
        yield _InProcess(model.stream(sample_rate=sample_rate))

    return opens
