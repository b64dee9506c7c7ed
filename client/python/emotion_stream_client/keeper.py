"""Keeping one session alive: a task that connects, opens the session, sends what waits, and does so again after
each break. `stream` is what programs see of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp

from emotion_stream_client.errors import EmotionError
from emotion_stream_client.events import Event, Json, Opened, Refused, State, Summary, Waiting, event_of
from emotion_stream_client.inbox import Inbox
from emotion_stream_client.link import Address, Link
from emotion_stream_client.sending import GONE, PASSING, Message, Outbox, Sender

ANSWER_S = 8.0
RETRY_S = 1.0
RECONNECT_S = (0.5, 3.0)  # the first pause and the longest: servers keep a broken session for seconds

Http = Callable[[], Awaitable[aiohttp.ClientSession]]


class Keeper:
    """Connection, session and what waits on both sides. `session` and `link` are None while there are none."""

    def __init__(
        self, address: Address, http: Http, start: Json, patience_s: float, outbox: Outbox, max_events: int
    ) -> None:
        self._address, self._http, self._start_payload = address, http, start
        self._patience_s = patience_s
        self.outbox = outbox
        self.inbox = Inbox(max_events, self.wake)
        self.link: Link | None = None
        self.session: Json | None = None  # the server's answer while the session is open on this connection
        self.summary: Summary | None = None  # of a session that has ended, until there is another
        self.failure: EmotionError | None = None
        self.given_ms = 0.0  # audio taken from the program
        self.ended = False
        self._sender = Sender(outbox)
        self._waiters: set[asyncio.Future[None]] = set()
        self._pumps = asyncio.Event()  # something for the sending task to look at
        self._resume_token: str | None = None
        self._received = ("", 0)  # a session, and its events so far: those under way are sent again
        self._origin_ms = 0.0
        self._opened = self._starting = False
        self._backlog = False  # the server has asked for a pause
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._kept)

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

    async def _keep(self) -> None:
        """The stream's own task: a connection for as long as one is wanted."""
        delay, longest = RECONNECT_S
        loop = asyncio.get_running_loop()
        away_since = loop.time()
        while True:
            link = Link(self._address, self._heard, self.wake)
            try:
                await link.connect(await self._http())
                self.link, delay = link, RECONNECT_S[0]
                self._tell(State(kind="state", raw={}, state="online"))
                await self._serve(link)
                away_since = loop.time()
            except EmotionError as wrong:
                if wrong.code == "UNAUTHORIZED" or self.link is not None:
                    return self._fail(wrong)
                if wrong.code != "DISCONNECTED":
                    self._tell(Waiting(kind="waiting", raw={}, code=wrong.code, message=wrong.message))
                if self._opened and loop.time() - away_since > self._patience_s:
                    return self._fail(wrong)
            finally:
                stop = {"session_id": self.session["session_id"]} if self.session else None
                if self._starting:
                    stop = {}  # the one that is being opened
                self.link = self.session = None
                self._starting = False
                self.outbox.rewind()
                await link.close(stop)
            self._tell(State(kind="state", raw={}, state="offline"))
            await asyncio.sleep(delay)
            delay = min(longest, 2 * delay)

    def _kept(self, task: asyncio.Task[None]) -> None:
        """The task is over, for whatever reason: nobody must be left waiting."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self.failure = EmotionError("PROTOCOL", f"not what an emotion-stream server says: {fault!r}")
        self.ended = True
        self.inbox.end(self.failure)
        self.wake()

    async def _serve(self, link: Link) -> None:
        """Sessions on one connection, until that is lost. Raises EmotionError when the server refuses for good."""
        while not link.lost.is_set():
            # After a silence of minutes the server closes a session; nobody wants another before there is audio.
            if self.summary is None or self.outbox:
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
        self.session, self._resume_token = answer, answer["resume_token"]
        if not resumed:
            self._origin_ms = self.given_ms - self.outbox.ms
        if answer["session_id"] != self._received[0]:
            self._received = (answer["session_id"], 0)
        replaced = self._opened and not resumed
        self._opened, self.summary = True, None
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
        session, loop = self.session, asyncio.get_running_loop()
        while not link.lost.is_set() and self.session is session:
            self._pumps.clear()
            if session is None:
                if self.outbox or self.summary is None:
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
        if self.session is not session:
            return
        code = self._sender.answered(message, answer, asyncio.get_running_loop().time())
        if code == GONE:
            self.session = None
        elif code in PASSING and not self._backlog:
            self._backlog = True
            self._tell(Waiting(kind="waiting", raw={}, code=code, message=answer["error"]["message"]))
        elif code is not None and "next_seq" not in answer:
            self._tell(Refused(kind="refused", raw=answer, code=code, message=answer["error"]["message"]))
        self._backlog = self._backlog and bool(self.outbox)
        self.wake()

    def _heard(self, kind: str, payload: object) -> None:
        event = event_of(kind, payload)
        if kind == "error":
            return  # the answer to what was refused says the same
        if event.session_id is not None:  # those of a session that is being resumed come before it is
            same = event.session_id == self._received[0]
            self._received = (event.session_id, self._received[1] + 1 if same else 1)
        if isinstance(event, Summary):
            if self.session is None or event.session_id != self.session["session_id"]:
                return  # not ours any more
            self.summary = event
            if event.reason != "stop":
                self.session = self._resume_token = None
                self.outbox.rewind()
        self._tell(event)

    # -- waiting ---------------------------------------------------------------------------------------

    def _fail(self, failure: EmotionError) -> None:
        self.failure = failure
        self.inbox.end(failure)
        self.wake()

    def _tell(self, event: Event) -> None:
        self.inbox.put(event)

    def wake(self) -> None:
        """Something has changed: everybody who waits looks again."""
        self._pumps.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(
        self, holds: Callable[[], bool], patience_s: float | None, even_after: bool = False
    ) -> None:
        """Wait until `holds()`. Raises EmotionError when the stream fails or ends, or after `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                while not holds():
                    if self.failure is not None and not even_after:
                        raise self.failure
                    if self.ended and not even_after:
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
