"""A live stream with asyncio: one session, and what keeps it going when the network does not.

A task of the stream's own connects, opens the session, sends what waits, and does so again after each break. The
program's calls put audio into the outbox, wait for conditions, and take events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType

import aiohttp

from emotion_stream_client.audio import Audio, Format
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import (
    Event,
    Json,
    Opened,
    Refused,
    Result,
    State,
    Summary,
    Utterance,
    Waiting,
    event_of,
)
from emotion_stream_client.inbox import Inbox
from emotion_stream_client.link import Address, Link
from emotion_stream_client.sending import GONE, PASSING, Message, Outbox, Sender

ANSWER_S = 8.0
SETTLE_S = 30.0  # for `flush` and `stop`: the server scores what is left first
RETRY_S = 1.0
RECONNECT_S = (0.5, 3.0)  # the first pause and the longest: servers keep a broken session for seconds

Http = Callable[[], Awaitable[aiohttp.ClientSession]]


class AsyncStream:
    """Made by `AsyncEmotionClient.stream`; an `async with` block opens and ends it."""

    def __init__(
        self,
        address: Address,
        http: Http,
        start: Json,
        patience_s: float,
        buffer_s: float,
        max_events: int,
    ) -> None:
        self._address, self._http, self._start_payload = address, http, start
        self._patience_s = patience_s
        self._format = Format(start["encoding"], start["sample_rate"], start["channels"])
        self._outbox = Outbox(1000 * buffer_s, self._format.joinable)
        self._sender = Sender(self._outbox)
        self._inbox = Inbox(max_events, self._wake)
        self._waiters: set[asyncio.Future[None]] = set()
        self._pumps = asyncio.Event()  # something for the sending task to look at
        self._link: Link | None = None
        self._session: Json | None = None  # the server's answer while the session is open on this connection
        self._resume_token: str | None = None
        self._received = (
            "",
            0,
        )  # a session, and its events so far: the server sends again what was under way
        self._given_ms = self._origin_ms = 0.0
        self._opened = self._starting = self._stopping = self._ended = False
        self._backlog = False  # the server has asked for a pause
        self._failure: EmotionError | None = None
        self._summary: Summary | None = None
        self._task: asyncio.Task[None] | None = None

    # -- what programs call ----------------------------------------------------------------------------

    async def __aenter__(self) -> AsyncStream:
        """Connect and open the session. Raises EmotionError: refused, or not within `patience_s`."""
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._kept)
        try:
            await self._until(lambda: self._session is not None, self._patience_s)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._ended and self._failure is None:
            await self.stop()
        else:
            await self.close()

    @property
    def session(self) -> Json:
        """The server's answer to `start`: session_id, model, labels, hop_ms … Empty while there is no session."""
        return dict(self._session or {})

    @property
    def summary(self) -> Summary | None:
        """Once the session has ended."""
        return self._summary

    @property
    def buffered_ms(self) -> float:
        """Audio that waits to be sent or acknowledged."""
        return self._outbox.ms

    async def send(self, audio: Audio, wait: bool = True) -> bool:
        """Take audio: sent at once if possible, kept if not. While the buffer is full: waits, or (`wait=False`)
        gives False, and takes no more of it. Raises EmotionError once the stream has ended."""
        data = self._format.to_bytes(audio)
        for piece in self._format.pieces(data):
            ms = len(piece) / self._format.bytes_per_ms
            self._check()
            if not self._outbox.has_room(ms):
                if not wait:
                    return False
                await self._until(lambda ms=ms: self._outbox.has_room(ms), None)  # type: ignore[misc]
            self._given_ms += ms
            self._outbox.push(piece, ms)
            self._pumps.set()
        return True

    async def flush(self) -> None:
        """Wait until everything given so far has been scored."""
        self._check()
        await self._settle("flush")

    async def stop(self) -> Summary:
        """Send what is left, end the session, give its summary. Waiting events can still be taken."""
        self._check()
        self._stopping = True
        try:
            await self._settle("stop")
        finally:
            await self.close()
        assert self._summary is not None
        return self._summary

    async def close(self) -> None:
        """Hang up. A session that is still open ends without a summary; audio that waits is thrown away."""
        self._ended = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.gather(task, return_exceptions=True))
        self._outbox.clear()
        self._inbox.end(self._failure)

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
            await self._until(lambda: self._inbox.ready, None, even_after=True)
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

    # -- the connection, as it comes and goes ----------------------------------------------------------

    async def _keep(self) -> None:
        """The stream's own task: a connection for as long as one is wanted."""
        delay, longest = RECONNECT_S
        loop = asyncio.get_running_loop()
        away_since = loop.time()
        while True:
            link = Link(self._address, self._heard, self._wake)
            try:
                await link.connect(await self._http())
                self._link, delay = link, RECONNECT_S[0]
                self._tell(State(kind="state", raw={}, state="online"))
                await self._serve(link)
                away_since = loop.time()
            except EmotionError as wrong:
                if wrong.code == "UNAUTHORIZED" or self._link is not None:
                    return self._fail(wrong)
                if wrong.code != "DISCONNECTED":
                    self._tell(Waiting(kind="waiting", raw={}, code=wrong.code, message=wrong.message))
                if self._opened and loop.time() - away_since > self._patience_s:
                    return self._fail(wrong)
            finally:
                stop = {"session_id": self._session["session_id"]} if self._session else None
                if self._starting:
                    stop = {}  # the one that is being opened
                self._link = self._session = None
                self._starting = False
                self._outbox.rewind()
                await link.close(stop)
            self._tell(State(kind="state", raw={}, state="offline"))
            await asyncio.sleep(delay)
            delay = min(longest, 2 * delay)

    def _kept(self, task: asyncio.Task[None]) -> None:
        """The task is over, for whatever reason: nobody must be left waiting."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._failure = EmotionError("PROTOCOL", f"not what an emotion-stream server says: {fault!r}")
        self._ended = True
        self._inbox.end(self._failure)
        self._wake()

    async def _serve(self, link: Link) -> None:
        """Sessions on one connection, until that is lost. Raises EmotionError when the server refuses for good."""
        while not link.lost.is_set():
            # After a silence of minutes the server closes a session; nobody wants another before there is audio.
            if self._summary is None or self._outbox:
                await self._open(link)
            await self._pump(link)

    async def _open(self, link: Link) -> None:
        while not link.lost.is_set():
            token = self._resume_token
            resume = {"resume_token": token, "received": self._received[1]} if token else {}
            self._starting = True
            answer = await link.ask("start", {**self._start_payload, **resume}, ANSWER_S)
            self._starting = False
            if answer.get("ok"):
                return self._begin(answer)
            code, message = answer["error"]["code"], answer["error"]["message"]
            # While resuming, the server may still be counting the session that it is about to give back.
            if code in (*PASSING, "DISCONNECTED") or (code == "TOO_MANY_SESSIONS" and token):
                self._tell(Waiting(kind="waiting", raw={}, code=code, message=message))
                await asyncio.sleep(RETRY_S)
            elif token:
                self._resume_token = None  # it will not give the old session back: ask for a new one
            else:
                raise EmotionError(code, message)

    def _begin(self, answer: Json) -> None:
        resumed = bool(answer.get("resumed"))
        self._session, self._resume_token = answer, answer["resume_token"]
        if not resumed:
            self._origin_ms = self._given_ms - self._outbox.ms
        if answer["session_id"] != self._received[0]:
            self._received = (answer["session_id"], 0)
        replaced = self._opened and not resumed
        self._opened, self._summary = True, None
        self._sender.begin(resumed, answer["next_seq"])
        self._tell(
            Opened(
                kind="session",
                raw=answer,
                session_id=answer["session_id"],
                model=answer["model"],
                resumed=resumed,
                replaced=replaced,
                origin_ms=self._origin_ms,
            )
        )

    async def _pump(self, link: Link) -> None:
        """Send what there is to send, while this session lasts."""
        session, loop = self._session, asyncio.get_running_loop()
        while not link.lost.is_set() and self._session is session:
            self._pumps.clear()
            if session is None:
                if self._outbox or self._summary is None:
                    return
                wait = None
            elif self._sender.silent(loop.time()):
                return await link.close()
            else:
                wait = self._sender.wait(loop.time())
            if session is None or wait != 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._pumps.wait()
                continue
            message = self._sender.take(loop.time())
            payload = {"session_id": session["session_id"], "chunk": message.data, "seq": message.seq}
            await link.emit("audio_stream", payload, partial(self._answered, session, message))

    def _answered(self, session: Json, message: Message, answer: Json) -> None:
        if self._session is not session:
            return
        code = self._sender.answered(message, answer, asyncio.get_running_loop().time())
        if code == GONE:
            self._session = None
        elif code in PASSING and not self._backlog:
            self._backlog = True
            self._tell(Waiting(kind="waiting", raw={}, code=code, message=answer["error"]["message"]))
        elif code is not None and "next_seq" not in answer:
            self._tell(Refused(kind="refused", raw=answer, code=code, message=answer["error"]["message"]))
        self._backlog = self._backlog and bool(self._outbox)
        self._wake()

    def _heard(self, kind: str, payload: object) -> None:
        event = event_of(kind, payload)
        if kind == "error":
            return  # the answer to what was refused says the same
        if event.session_id is not None:  # those of a session that is being resumed come before it is
            same = event.session_id == self._received[0]
            self._received = (event.session_id, self._received[1] + 1 if same else 1)
        if isinstance(event, Summary):
            if self._session is None or event.session_id != self._session["session_id"]:
                return  # not ours any more
            self._summary = event
            if event.reason != "stop":
                self._session = self._resume_token = None
                self._outbox.rewind()
        self._tell(event)

    # -- ending and waiting ----------------------------------------------------------------------------

    async def _settle(self, event: str) -> None:
        """`flush` or `stop`: as often as it takes for the connection to hold until the answer."""

        def gone() -> bool:
            return self._summary is not None and self._session is None and not self._outbox

        asked = False
        while True:
            await self._sent(lambda: gone() or (self._session is not None and not self._outbox))
            if gone():
                return  # the server has closed it, and said everything
            link, session = self._link, self._session
            assert link is not None and session is not None
            if asked and event == "stop" and not session.get("resumed"):
                broke = "the connection broke at the end: everything was scored, the summary is lost"
                raise EmotionError("DISCONNECTED", broke)
            asked = True
            answer = await link.ask(event, {"session_id": session["session_id"]}, SETTLE_S)
            if answer.get("ok") and event == "flush":
                return
            if answer.get("ok"):
                # It comes as an event too, after all results, which may be behind the answer.
                with contextlib.suppress(EmotionError):
                    await self._until(lambda: self._summary is not None, ANSWER_S)
                self._session = None
                self._summary = self._summary or event_of("session_summary", answer)  # type: ignore[assignment]
                return
            if self._summary and self._summary.session_id == session["session_id"]:
                return  # it came, and then the network broke
            error = answer["error"]
            if error["code"] == "DISCONNECTED":
                await link.close()
            elif error["code"] not in PASSING:
                raise EmotionError(error["code"], error["message"])
            await asyncio.sleep(RETRY_S)

    async def _sent(self, holds: Callable[[], bool]) -> None:
        """Patience is for standstill: a long backlog takes the time that it takes."""
        while True:
            before = self._outbox.ms
            try:
                return await self._until(holds, self._patience_s)
            except EmotionError as wrong:
                if wrong.code != "DISCONNECTED" or self._failure or self._outbox.ms >= before:
                    raise

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._ended or self._stopping or self._task is None:
            raise EmotionError("CLOSED", "the stream has ended" if self._ended else "the stream is not open")

    def _fail(self, failure: EmotionError) -> None:
        self._failure = failure
        self._inbox.end(failure)
        self._wake()

    def _tell(self, event: Event) -> None:
        self._inbox.put(event)

    def _wake(self) -> None:
        """Something has changed: everybody who waits looks again."""
        self._pumps.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _until(
        self, holds: Callable[[], bool], patience_s: float | None, even_after: bool = False
    ) -> None:
        """Wait until `holds()`. Raises EmotionError when the stream fails or ends, or after `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                while not holds():
                    if self._failure is not None and not even_after:
                        raise self._failure
                    if self._ended and not even_after:
                        raise EmotionError("CLOSED", "the stream has ended")
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            away = f"no session with the server within {patience_s:g} s"
            raise EmotionError("DISCONNECTED", away) from None
