"""A live stream with asyncio, as programs see it: they put audio in, take events out, and wait for `flush` and
`stop`. What keeps its session going is in `session_client`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType

from emotion_stream_client.audio import Audio, Format
from emotion_stream_client.connection import Address
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Event, Json, Result, SpanResult, Summary, Utterance, build, event_of
from emotion_stream_client.sending import Outbox
from emotion_stream_client.session_client import ANSWER_TIMEOUT_S, RETRY_DELAY_S, Http, SessionClient
from emotion_stream_client.words import said

FLUSH_TIMEOUT_S = 30.0  # for `flush` and `stop`: the server scores what is left first


class AsyncStream:
    """Made by `AsyncEmotionClient.stream`; an `async with` block opens and ends it."""

    def __init__(
        self,
        address: Address,
        http: Http,
        start: Json,
        connect_timeout_s: float,
        buffer_s: float,
        max_events: int,
    ) -> None:
        self._format = Format(start["encoding"], start["sample_rate"], start["channels"])
        self._outbox = Outbox(1000 * buffer_s, self._format.can_join)
        self._client = SessionClient(address, http, start, connect_timeout_s, self._outbox, max_events)
        self._inbox = self._client.inbox
        self._connect_timeout_s = connect_timeout_s
        self._stopping = False

    async def __aenter__(self) -> AsyncStream:
        """Connect and open the session. Raises EmotionError: refused, or not within `connect_timeout_s`."""
        self._client.start()
        try:
            await self._client.wait_until(lambda: self._client.session is not None, self._connect_timeout_s)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._client.ended and self._client.failure is None:
            await self.stop()
        else:
            await self.close()

    @property
    def session(self) -> Json:
        """The server's answer to `start`: session_id, model, labels, hop_ms … Empty while there is no session."""
        return dict(self._client.session or {})

    @property
    def summary(self) -> Summary | None:
        """Once the session has ended."""
        return self._client.summary

    @property
    def buffered_ms(self) -> float:
        """Audio that waits to be sent or acknowledged."""
        return self._outbox.ms

    async def send(self, audio: Audio, wait: bool = True) -> bool:
        """Take audio: sent at once if possible, kept if not. While the buffer is full: waits, or (`wait=False`)
        gives False, and takes no more of it. Raises EmotionError once the stream has ended."""
        data = self._format.to_bytes(audio)
        for piece in self._format.split(data):
            ms = len(piece) / self._format.bytes_per_ms
            self._check()
            if not self._outbox.has_room(ms):
                if not wait:
                    return False
                await self._client.wait_until(lambda ms=ms: self._outbox.has_room(ms), None)  # type: ignore[misc]
            self._client.accepted_ms += ms
            self._outbox.push(piece, ms)
            self._client.wake()
        return True

    async def flush(self) -> None:
        """Wait until everything given so far has been scored."""
        self._check()
        await self._settle("flush")

    async def span(
        self,
        begin_ms: int,
        end_ms: int,
        channel: str | None = None,
        present: Mapping[str, float] | None = None,
    ) -> SpanResult:
        """The scores of a stretch of the last ten minutes of the session, as far as they are there.

        `channel`: of a session with two. `present`: thresholds of labels, where the server's 0.25 is not wanted.
        Raises EmotionError.
        """
        self._check()
        await self._client.wait_until(lambda: self._client.session is not None, self._connect_timeout_s)
        connection, session = self._client.connection, self._client.session
        assert connection is not None and session is not None
        asked = {"channel": channel, "present": present and dict(present)}
        fields = {"session_id": session["session_id"], "begin_ms": begin_ms, "end_ms": end_ms, **asked}
        answer = await connection.call("span", fields, ANSWER_TIMEOUT_S)
        if not answer.get("ok"):
            raise EmotionError.of(answer["error"])
        return build(SpanResult, "span", answer)

    async def stop(self) -> Summary:
        """Send what is left, end the session, give its summary. Waiting events can still be taken."""
        self._check()
        self._stopping = True
        try:
            await self._settle("stop")
        finally:
            await self.close()
        assert self._client.summary is not None
        return self._client.summary

    async def close(self) -> None:
        """Hang up. A session that is still open ends without a summary; audio that waits is thrown away."""
        await self._client.close()

    def poll(self) -> list[Event]:
        """The events that have come and not been taken, without waiting."""
        events = []
        while self._inbox.ready and not self._inbox.over and (event := self._inbox.take()) is not None:
            events.append(event)
        return events

    def wait(self) -> Event | None:
        """The next event, for another thread than the event loop's; None at the end. Raises as iterating does."""
        return self._inbox.take(block=True)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """All events, up to the end of the stream. Raises EmotionError if that is a failure."""
        while True:
            await self._client.wait_until(lambda: self._inbox.ready, None, even_after=True)
            event = self._inbox.take()
            if event is None:
                return
            yield event

    async def results(self) -> AsyncIterator[Result]:
        """The results alone; other events are passed over."""
        async for event in self:
            if isinstance(event, Result):
                yield event

    async def utterances(self) -> AsyncIterator[Utterance]:
        """The utterances alone; other events are passed over."""
        async for event in self:
            if isinstance(event, Utterance):
                yield event

    async def _settle(self, event: str) -> None:
        """`flush` or `stop`: as often as it takes for the connection to hold until the answer."""

        def gone() -> bool:
            return self._client.summary is not None and self._client.session is None and not self._outbox

        asked = False
        while True:
            await self._sent(lambda: gone() or (self._client.session is not None and not self._outbox))
            if gone():
                return  # the server has closed it, and said everything
            connection, session = self._client.connection, self._client.session
            assert connection is not None and session is not None
            if asked and event == "stop" and not session.get("resumed"):
                broke = "the connection broke at the end: everything was scored, the summary is lost"
                raise EmotionError("DISCONNECTED", said(self._client.language, broke))
            asked = True
            answer = await connection.call(event, {"session_id": session["session_id"]}, FLUSH_TIMEOUT_S)
            if answer.get("ok") and event == "flush":
                return
            if answer.get("ok"):
                # It comes as an event too, after all results, which may be behind the answer.
                with contextlib.suppress(EmotionError):
                    await self._client.wait_until(lambda: self._client.summary is not None, ANSWER_TIMEOUT_S)
                self._client.session = None
                self._client.summary = self._client.summary or event_of("session_summary", answer)  # type: ignore[assignment]
                return
            if self._client.summary and self._client.summary.session_id == session["session_id"]:
                return  # it came, and then the network broke
            refusal = EmotionError.of(answer["error"])
            if refusal.code == "DISCONNECTED":
                await connection.close()
            elif not refusal.retryable:
                raise refusal
            await asyncio.sleep(RETRY_DELAY_S)

    async def _sent(self, holds: Callable[[], bool]) -> None:
        """The time-out is for standstill: a long backlog takes the time that it takes."""
        while True:
            before = self._outbox.ms
            try:
                return await self._client.wait_until(holds, self._connect_timeout_s)
            except EmotionError as wrong:
                if not wrong.retryable or self._client.failure or self._outbox.ms >= before:
                    raise

    def _check(self) -> None:
        if self._client.failure is not None:
            raise self._client.failure
        if self._client.ended or self._stopping or not self._client.started:
            closed = "the stream has ended, or is not open yet"
            raise EmotionError("CLOSED", said(self._client.language, closed))
