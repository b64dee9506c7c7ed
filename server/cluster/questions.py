"""What members of the service ask each other: JSON in messages of Redis, to those whom it is for and no others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.cluster.link import Away, RedisLink
from stream.types import JsonDict

log = logging.getLogger("cluster")

LISTEN_S = 0.5
ANSWER_S = 3.0
LOOK_S = 0.2  # whether somebody who is asked lives still
ANSWERING = 64  # questions that are answered at a time; more get no answer
LONGEST = 32_000_000  # bytes of a message


@dataclass
class _Inquiry:
    """A question that is out."""

    expected: int | None = None
    answers: list[JsonDict] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        if self.expected is not None and len(self.answers) >= self.expected:
            self.done.set()


class Questions:
    """May be used from any thread. `answering` maps what others may ask to who answers it, each on a thread."""

    def __init__(self, link: RedisLink, me: str) -> None:
        self._link, self._me = link, me
        self._lock = threading.Lock()
        self._asked: dict[int, _Inquiry] = {}
        self._n_asked = 0
        self._room = threading.BoundedSemaphore(ANSWERING)
        self._closing = False
        self._joined = threading.Event()
        self.listening = threading.Event()
        link.on_joined.append(self._joined.set)
        self.answering: dict[str, Callable[[JsonDict], JsonDict]] = {}

    def start(self) -> None:
        threading.Thread(target=self._listen, name="questions", daemon=True).start()

    def close(self) -> None:
        self._closing = True

    def lives(self, member: str) -> bool:
        """As far as is known. One whose process ends is missed at once: it listens no more."""
        channel, key = self._link.key("to", member), self._link.key("member", member)

        def look(redis: Any) -> bool:
            return bool(redis.exists(key)) and dict(redis.pubsub_numsub(channel)).get(channel.encode(), 0) > 0

        try:
            return self._link.run(look)
        except Away:
            return False

    def ask(self, members: Iterable[str], question: str, fields: JsonDict) -> list[JsonDict]:
        """What they answer; who takes too long is left out."""
        with self._question(question, fields, members) as asked:
            asked.done.wait(ANSWER_S)
            return list(asked.answers)

    def ask_one(self, member: str, question: str, fields: JsonDict) -> JsonDict | None:
        """What it answers, {} where it is no more; None when it lives, and does not answer."""
        end = time.monotonic() + ANSWER_S
        with self._question(question, fields, [member]) as asked:
            while not asked.done.wait(LOOK_S):
                if not self.lives(member):
                    return {}
                if time.monotonic() > end:
                    return None
            return asked.answers[0] if asked.answers else {}

    @contextmanager
    def _question(self, question: str, fields: JsonDict, of: Iterable[str]) -> Iterator[_Inquiry]:
        asked = _Inquiry()
        with self._lock:
            self._n_asked += 1
            number = self._n_asked
            self._asked[number] = asked
        told = orjson.dumps({"from": self._me, "n": number, "question": question, "fields": fields})
        try:
            asked.expected = self._send(dict.fromkeys(of, told))
            asked.check()
            yield asked
        finally:
            del self._asked[number]

    def _send(self, messages: dict[str, bytes]) -> int:
        """How many got theirs."""

        def send(redis: Any) -> int:
            with redis.pipeline(transaction=False) as pipe:
                for member, message in messages.items():
                    pipe.publish(self._link.key("to", member), message)
                return sum(pipe.execute())

        with suppress(Away):
            return self._link.run(send) if messages else 0
        return 0

    def _listen(self) -> None:
        channel = self._link.key("to", self._me)
        while not self._closing:
            try:
                self._link.run(lambda redis: self._hear(redis, channel))
            except Away:
                self._joined.wait()
                self._joined.clear()

    def _hear(self, redis: Any, channel: str) -> None:
        with redis.pubsub(ignore_subscribe_messages=True) as heard:
            heard.subscribe(channel)
            self.listening.set()
            try:
                while not self._closing and self._link.up:
                    message = heard.get_message(timeout=LISTEN_S)
                    if message is not None and len(message["data"]) <= LONGEST:
                        self._take_safely(message["data"])
            finally:
                self.listening.clear()

    def _take_safely(self, data: bytes) -> None:
        """One message's fault must not make this process deaf."""
        try:
            self._take(orjson.loads(data))
        except Exception:
            log.exception("a message of another server could not be taken")

    def _take(self, told: JsonDict) -> None:
        if "question" not in told:
            if (asked := self._asked.get(told["n"])) is not None:
                asked.answers.append(told["fields"])
                asked.check()
        elif self._room.acquire(blocking=False):
            threading.Thread(target=self._answer, args=(told,), daemon=True).start()

    def _answer(self, asked: JsonDict) -> None:
        try:
            answer = self.answering.get(asked["question"])
            fields = answer(asked["fields"]) if answer else {}
            told = orjson.dumps({"n": asked["n"], "fields": fields}, option=orjson.OPT_SERIALIZE_NUMPY)
            self._send({asked["from"]: told})
        except Exception:
            log.exception("a question of another server could not be answered: %s", asked["question"])
        finally:
            self._room.release()
