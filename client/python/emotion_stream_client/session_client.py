"""Keeping one session alive: a task that connects, opens the session, sends what waits, and does so again after
each break. `stream` is what programs see of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp

from emotion_stream_client.connection import Address, Connection
from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Event, Json, Opened, Refused, State, Summary, Waiting, event_of
from emotion_stream_client.inbox import Inbox
from emotion_stream_client.sending import SESSION_LOST, Message, Outbox, Sender
from emotion_stream_client.words import said

ANSWER_TIMEOUT_S = 8.0
RETRY_DELAY_S = 1.0
RECONNECT_DELAY_S = (0.5, 3.0)  # the first pause and the longest: servers keep a broken session for seconds

Http = Callable[[], Awaitable[aiohttp.ClientSession]]


class SessionClient:
    """Connection, session and what waits on both sides. `session` and `link` are None while there are none."""

    def __init__(
        self,
        address: Address,
        http: Http,
        start: Json,
        connect_timeout_s: float,
        outbox: Outbox,
        max_events: int,
    ) -> None:
        self._address, self._http, self._start_payload = address, http, start
        self._connect_timeout_s = connect_timeout_s
        self.outbox = outbox
        self.inbox = Inbox(max_events, self.wake)
        self.connection: Connection | None = None
        self.session: Json | None = None  # the server's answer while the session is open on this connection
        self.summary: Summary | None = None  # of a session that has ended, until there is another
        self.failure: EmotionError | None = None
        self.accepted_ms = 0.0  # audio taken from the program
        self.ended = False
        self._sender = Sender(outbox)
        self._waiters: set[asyncio.Future[None]] = set()
        self._work = asyncio.Event()  # something for the sending task to look at
        self._resume_token: str | None = None
        self._last_received = ("", 0)  # a session, and its events so far: those under way are sent again
        self._origin_ms = 0.0
        self._opened = self._starting = False
        self._last_refusal: EmotionError | None = None  # since there was a session
        self._backlog = False  # the server has asked for a pause
        self._task: asyncio.Task[None] | None = None

    @property
    def language(self) -> str:
        """Of what is wrong."""
        return self._address.language

    @property
    def started(self) -> bool:
        """Whether `start` has been called."""
        return self._task is not None

    def start(self) -> None:
        """Begin to connect, in a task of its own."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._on_task_done)

    async def close(self) -> None:
        """Hang up. A session that is still open ends without a summary; audio that waits is thrown away."""
        self.ended = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.gather(task, return_exceptions=True))
        self.outbox.clear()
        self.inbox.end(self.failure)

    # -- the connection, as it comes and goes ----------------------------------------------------------

    async def _run(self) -> None:
        """The stream's own task: a connection for as long as one is wanted."""
        delay, longest = RECONNECT_DELAY_S
        loop = asyncio.get_running_loop()
        away_since = loop.time()
        while True:
            connection = Connection(self._address, self._on_message, self.wake)
            try:
                await connection.connect(await self._http())
                self.connection, delay = connection, RECONNECT_DELAY_S[0]
                self._put(State(kind="state", raw={}, state="online"))
                await self._serve(connection)
                away_since = loop.time()
            except EmotionError as wrong:
                if not wrong.retryable or self.connection is not None:
                    return self._fail(wrong)
                self._refused(wrong)
                if self._opened and loop.time() - away_since > self._connect_timeout_s:
                    return self._fail(wrong)
            finally:
                stop = {"session_id": self.session["session_id"]} if self.session else None
                if self._starting:
                    stop = {}  # the one that is being opened
                self.connection = self.session = None
                self._starting = False
                self.outbox.rewind()
                await connection.close(stop)
            self._put(State(kind="state", raw={}, state="offline"))
            await asyncio.sleep(delay)
            delay = min(longest, 2 * delay)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """The task is over, for whatever reason: nobody must be left waiting."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            told = said(self.language, "not what an emotion-stream server says: {why}", why=repr(fault))
            self.failure = EmotionError("PROTOCOL", told)
        self.ended = True
        self.inbox.end(self.failure)
        self.wake()

    async def _serve(self, connection: Connection) -> None:
        """Sessions on one connection, until that is lost. Raises EmotionError when the server refuses for good."""
        while not connection.lost.is_set():
            # After a silence of minutes the server closes a session; nobody wants another before there is audio.
            if self.summary is None or self.outbox:
                await self._open(connection)
            await self._send_audio(connection)

    async def _open(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._connect_timeout_s
        while not connection.lost.is_set():
            token = self._resume_token
            resume = {"resume_token": token, "received": self._last_received[1]} if token else {}
            self._starting = True
            answer = await connection.call("start", {**self._start_payload, **resume}, ANSWER_TIMEOUT_S)
            self._starting = False
            if answer.get("ok"):
                return self._begin(answer)
            refusal = EmotionError.of(answer["error"])
            if refusal.retryable and loop.time() < give_up:
                self._refused(refusal)
                await asyncio.sleep(RETRY_DELAY_S if refusal.retry_after is None else refusal.retry_after)
            elif token and not refusal.retryable:
                self._resume_token = None  # it will not give the old session back: ask for a new one
            else:
                raise refusal

    def _refused(self, refusal: EmotionError) -> None:
        """No session yet, and it is tried again. What nobody can reach says nothing: that is a `State`."""
        self._last_refusal = refusal
        if refusal.code != "DISCONNECTED":
            self._put(Waiting(kind="waiting", raw={}, code=refusal.code, message=refusal.message))

    def _begin(self, answer: Json) -> None:
        resumed = bool(answer.get("resumed"))
        self.session, self._resume_token = answer, answer["resume_token"]
        if not resumed:
            self._origin_ms = self.accepted_ms - self.outbox.ms
        if answer["session_id"] != self._last_received[0]:
            self._last_received = (answer["session_id"], 0)
        replaced = self._opened and not resumed
        self._opened, self.summary, self._last_refusal = True, None, None
        self._sender.begin(resumed, answer["next_seq"])
        self._put(
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

    async def _send_audio(self, connection: Connection) -> None:
        """Send what there is to send, while this session lasts."""
        session, loop = self.session, asyncio.get_running_loop()
        while not connection.lost.is_set() and self.session is session:
            self._work.clear()
            if session is None:
                if self.outbox or self.summary is None:
                    return
                wait = None
            elif self._sender.timed_out(loop.time()):
                return await connection.close()
            else:
                wait = self._sender.wait(loop.time())
            if session is None or wait != 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._work.wait()
                continue
            message = self._sender.take(loop.time())
            payload = {"session_id": session["session_id"], "chunk": message.data, "seq": message.seq}
            await connection.emit("audio_stream", payload, partial(self._answered, session, message))

    def _answered(self, session: Json, message: Message, answer: Json) -> None:
        if self.session is not session:
            return
        refusal = self._sender.answered(message, answer, asyncio.get_running_loop().time())
        if refusal is not None:
            words = {"code": refusal.code, "message": refusal.message}
            if refusal.code == SESSION_LOST:
                self.session = None
            elif refusal.retryable and not self._backlog:
                self._backlog = True
                self._put(Waiting(kind="waiting", raw={}, **words))
            elif not refusal.retryable and "next_seq" not in answer:
                self._put(Refused(kind="refused", raw=answer, **words))
        self._backlog = self._backlog and bool(self.outbox)
        self.wake()

    def _on_message(self, kind: str, payload: object) -> None:
        event = event_of(kind, payload)
        if kind == "error":
            # The answer to what was refused says the same, but for a container that proved bad only when decoded.
            if event.raw.get("session_id") and not event.raw.get("retryable"):
                words = {"code": str(event.raw.get("code")), "message": str(event.raw.get("message"))}
                self._put(Refused(kind="refused", raw=event.raw, **words))
            return
        if event.session_id is not None:  # those of a session that is being resumed come before it is
            same = event.session_id == self._last_received[0]
            self._last_received = (event.session_id, self._last_received[1] + 1 if same else 1)
        if isinstance(event, Summary):
            if self.session is None or event.session_id != self.session["session_id"]:
                return  # not ours any more
            self.summary = event
            if event.reason != "stop":
                self.session = self._resume_token = None
                self.outbox.rewind()
        self._put(event)

    # -- waiting ---------------------------------------------------------------------------------------

    def _fail(self, failure: EmotionError) -> None:
        self.failure = failure
        self.inbox.end(failure)
        self.wake()

    def _put(self, event: Event) -> None:
        self.inbox.put(event)

    def wake(self) -> None:
        """Something has changed: everybody who waits looks again."""
        self._work.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_until(
        self, holds: Callable[[], bool], timeout_s: float | None, even_after: bool = False
    ) -> None:
        """Wait until `holds()`. Raises EmotionError when the stream fails or ends, or after `timeout_s`,
        with what the server answered last."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    if self.failure is not None and not even_after:
                        raise self.failure
                    if self.ended and not even_after:
                        raise EmotionError("CLOSED", said(self.language, "the stream has ended"))
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            refusal = self._last_refusal
            none, s = "no session with the server within {s} s", f"{timeout_s:g}"
            if refusal is None:
                raise EmotionError("DISCONNECTED", said(self.language, none, s=s)) from None
            told = said(self.language, none + ": {why}", s=s, why=refusal.message)
            raise EmotionError(refusal.code, told) from None
