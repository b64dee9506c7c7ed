"""What of the audio is to be sent next, and when. Pure rules, time passed in; no sockets in here.

Audio that the server has not acknowledged is kept, in order and bounded: after a broken connection it is sent
again under the same number (`seq`), so that nothing is lost and nothing comes twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from emotion_stream_client.errors import EmotionError

MESSAGE_MS = 100  # pieces that wait are joined up to this: small ones cost as much as large ones
MAX_IN_FLIGHT = 10
MIN_INTERVAL_S = 0.025  # between two messages: callers that give 5 ms at a time must not send 200 a second
MAX_RATE = 4  # times real time, so as not to be RATE_LIMITED at once
BACKOFF_S = 1.0
ACK_TIMEOUT_S = 10.0  # a connection that acknowledges nothing for so long is dead

SESSION_LOST = "NOT_YOUR_SESSION"  # the server no longer knows the session


@dataclass
class Message:
    """Audio under a number: `ms` of it, kept until the server has acknowledged it."""

    seq: int
    data: bytes
    ms: float
    in_flight: bool = False


class Outbox:
    """Audio that is not acknowledged. When it is full, new audio is refused: the numbering then has no holes."""

    def __init__(self, limit_ms: float, can_join: bool) -> None:
        self._limit_ms, self._can_join = limit_ms, can_join
        self._unsent: deque[tuple[bytes, float]] = deque()  # given, and never sent
        self._numbered: dict[int, Message] = {}
        self._next_seq = 0

    @property
    def ms(self) -> float:
        """How much audio is held, in ms."""
        return sum(ms for _, ms in self._unsent) + sum(m.ms for m in self._numbered.values())

    def __bool__(self) -> bool:
        return bool(self._unsent or self._numbered)

    def has_room(self, ms: float) -> bool:
        """Whether `ms` more fit; an empty outbox takes a piece of any length."""
        return not self or self.ms + ms <= self._limit_ms

    def push(self, data: bytes, ms: float) -> None:
        """Hold `data`, which is `ms` of audio, to be sent after all before it."""
        self._unsent.append((data, ms))

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        return sum(m.in_flight for m in self._numbered.values())

    @property
    def has_next(self) -> bool:
        """Whether a message waits to be sent, for the first time or again."""
        return bool(self._unsent) or self.in_flight < len(self._numbered)

    def next(self) -> Message:
        """The next message to send; in flight from now on. Only while `has_next`."""
        message = next((m for m in self._numbered.values() if not m.in_flight), None) or self._number()
        message.in_flight = True
        return message

    def _number(self) -> Message:
        data, ms = self._unsent.popleft()
        pieces = [data]
        while self._can_join and self._unsent and ms + self._unsent[0][1] <= MESSAGE_MS:
            more, more_ms = self._unsent.popleft()
            pieces.append(more)
            ms += more_ms
        message = self._numbered[self._next_seq] = Message(self._next_seq, b"".join(pieces), ms)
        self._next_seq += 1
        return message

    def settle(self, seq: int) -> None:
        """The server has `seq`, or will never want it."""
        self._numbered.pop(seq, None)

    def rewind(self, next_seq: int = 0) -> None:
        """Send everything here again, but for what the server has already (below `next_seq`)."""
        for message in list(self._numbered.values()):
            message.in_flight = False
            if message.seq < next_seq:
                self.settle(message.seq)

    def renumber(self) -> None:
        """Start counting from 0: what waits here becomes the beginning of another session."""
        self._unsent.extendleft((m.data, m.ms) for m in reversed(self._numbered.values()))
        self._numbered.clear()
        self._next_seq = 0

    def clear(self) -> None:
        """Forget all audio."""
        self._unsent.clear()
        self._numbered.clear()


class Sender:
    """A few messages in flight, a pace for catching up, a pause when the server asks for one."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._not_before = self._last_ack = 0.0

    def begin(self, resumed: bool, next_seq: int) -> None:
        """A session has been opened: the old one again, which lacks `next_seq` and what follows, or a new one."""
        if resumed:
            self.outbox.rewind(next_seq)
        else:
            self.outbox.renumber()
        self._not_before = 0.0

    def wait(self, now: float) -> float | None:
        """Seconds until there may be something to do; 0: `take` now; None: not before something happens."""
        in_flight = self.outbox.in_flight
        if in_flight >= MAX_IN_FLIGHT or not self.outbox.has_next:
            return max(0.001, self._last_ack + ACK_TIMEOUT_S - now) if in_flight else None
        return max(0.0, self._not_before - now)

    def timed_out(self, now: float) -> bool:
        """Whether the connection has to be given up: nothing is acknowledged."""
        return self.outbox.in_flight > 0 and now - self._last_ack > ACK_TIMEOUT_S

    def take(self, now: float) -> Message:
        """The next message, in flight from `now` on (s, monotonic)."""
        if not self.outbox.in_flight:
            self._last_ack = now
        message = self.outbox.next()
        self._not_before = now + max(MIN_INTERVAL_S, message.ms / 1000 / MAX_RATE)
        return message

    def answered(self, message: Message, answer: dict[str, Any], now: float) -> EmotionError | None:
        """What the server says to a message; gives the refusal, if it is one."""
        self._last_ack = now
        refusal = EmotionError.of(answer["error"]) if answer.get("error") else None
        next_seq = answer.get("next_seq")
        if refusal and refusal.code == SESSION_LOST:
            return refusal
        if (refusal and refusal.retryable) or next_seq is not None:
            # Messages are taken in order: those in flight behind a refused one are refused too.
            self.outbox.rewind(message.seq if next_seq is None else next_seq)
            self._not_before = now + BACKOFF_S
            return refusal
        self.outbox.settle(message.seq)
        return refusal
