"""A socket process as a member of the service: who else serves, what all have open, and asking the others.

Each member writes down every second what it has open; who writes nothing for `LIVES_S` is no more. Questions and
answers are messages of Redis, JSON, to those whom they are for and nobody else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from server.cluster.link import Away, RedisLink
from server.counts import PEERS, Kind, SharedCounts
from stream.types import JsonDict

log = logging.getLogger("cluster")

BEAT_S = 1.0
LIVES_S = 4.0
SOON_S = 0.05  # between two beats, when what is open changes
LISTEN_S = 0.5
ANSWER_S = 3.0
LOOK_S = 0.2  # whether somebody who is asked lives still
ANSWERING = 64  # questions that are answered at a time; more get no answer
LONGEST = 32_000_000  # bytes of a message
SHARED: tuple[Kind, ...] = ("sessions", "channels", "desks")  # what is told of

Figures = dict[Kind, int]

# Make `mine` the number of this process, if all together stay within `most`.
# KEYS: members; ARGV: prefix of members, me, kind, mine, most, milliseconds.
TAKE = """
local total = tonumber(ARGV[4])
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if member ~= ARGV[2] then total = total + tonumber(redis.call('HGET', ARGV[1] .. member, ARGV[3]) or 0) end
end
if total > tonumber(ARGV[5]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[2])
redis.call('HSET', ARGV[1] .. ARGV[2], ARGV[3], ARGV[4])
redis.call('PEXPIRE', ARGV[1] .. ARGV[2], ARGV[6])
return 1
"""


@dataclass
class _Asked:
    """A question that is out."""

    expected: int | None = None
    answers: list[JsonDict] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        if self.expected is not None and len(self.answers) >= self.expected:
            self.done.set()


class Member:
    """Every method may be called from any thread. `on_beat` is called about once a second."""

    def __init__(self, link: RedisLink, server: str, process: str, counts: SharedCounts) -> None:
        """`server`: a name that no other server has; `process`: one among its own."""
        self.me, self._server = f"{server}.{process}", server
        self._link, self._counts = link, counts
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._n_asked = 0
        self._room = threading.BoundedSemaphore(ANSWERING)
        self._others: dict[str, Figures] = {}  # members of other servers, and what they have open
        self._changed, self._closing = threading.Event(), False
        self.answering: dict[str, Callable[[JsonDict], JsonDict]] = {}
        self.on_beat: Callable[[], None] = lambda: None
        counts.far = self
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._beat_on, self._listen)]

    def start(self) -> None:
        """Joins first, if Redis answers."""
        self._join()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """It serves no more: the others need not wait until it is missed."""
        self._closing = True
        self._changed.set()
        with suppress(Away):
            self._link.run(lambda redis: redis.delete(self._link.key("member", self.me)))

    @property
    def servers(self) -> int:
        """How many there are, this one among them."""
        return 1 + len({member.partition(".")[0] for member in self._others})

    def others(self, kind: Kind) -> int:
        """How many of a kind other servers have."""
        return sum(of[kind] for of in list(self._others.values()))

    def of_my_server(self, member: str) -> bool:
        return member.startswith(f"{self._server}.")

    def lives(self, member: str) -> bool:
        """As far as is known. One whose process ends is missed at once: it listens no more."""
        channel, key = self._link.key("to", member), self._link.key("member", member)

        def look(redis: Any) -> bool:
            return bool(redis.exists(key)) and dict(redis.pubsub_numsub(channel)).get(channel.encode(), 0) > 0

        try:
            return self._link.run(look)
        except Away:
            return False

    # -- what `SharedCounts` asks -------------------------------------------------------------------------

    def take(self, kind: Kind, mine: int, most: float) -> bool:
        """Whether this process may have so many, with those of all others. Without Redis: it may."""
        if kind not in SHARED or most == float("inf"):
            return True
        key = self._link.key
        arguments = key("member", "-")[:-1], self.me, kind, mine, most, round(1000 * LIVES_S)
        try:
            return bool(self._link.run(lambda redis: redis.eval(TAKE, 1, key("members"), *arguments)))
        except Away:
            return True

    def changed(self, kind: Kind) -> None:
        """Somebody may wait for a place that is free now."""
        if kind in SHARED:
            self._changed.set()

    # -- asking -------------------------------------------------------------------------------------------

    def ask(self, question: str, fields: JsonDict) -> list[JsonDict]:
        """What the members of other servers answer; who takes too long is left out."""
        with self._question(question, fields, self._others) as asked:
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
    def _question(self, question: str, fields: JsonDict, of: Iterable[str]) -> Iterator[_Asked]:
        asked = _Asked()
        with self._lock:
            self._n_asked += 1
            number = self._n_asked
            self._asked[number] = asked
        told = orjson.dumps({"from": self.me, "n": number, "question": question, "fields": fields})
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
        channel = self._link.key("to", self.me)
        while not self._closing:
            try:
                self._link.run(lambda redis: self._hear(redis, channel))
            except Away:
                time.sleep(LISTEN_S)

    def _hear(self, redis: Any, channel: str) -> None:
        with redis.pubsub(ignore_subscribe_messages=True) as heard:
            heard.subscribe(channel)
            while not self._closing and self._link.up:
                message = heard.get_message(timeout=LISTEN_S)
                if message is not None and len(message["data"]) <= LONGEST:
                    try:
                        self._take(orjson.loads(message["data"]))
                    except Exception:  # one message's fault must not make this process deaf
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

    # -- beating ------------------------------------------------------------------------------------------

    def _beat_on(self) -> None:
        while not self._closing:
            if self._changed.wait(BEAT_S):
                time.sleep(SOON_S)
                self._changed.clear()
            if not self._closing:
                self._join()

    def _join(self) -> None:
        if not self._link.up and not self._link.try_to_join():
            self._alone()
            return
        try:
            self._link.run(self._beat)
            self.on_beat()
        except Away:
            self._alone()
        except Exception:
            log.exception("this server could not tell the others what it has open")

    def _beat(self, redis: Any) -> None:
        members = self._link.key("members")
        mine: dict[str, int] = {kind: self._counts.mine(kind) for kind in SHARED}
        with redis.pipeline(transaction=True) as pipe:
            key = self._link.key("member", self.me)
            pipe.hset(key, mapping={"peers": orjson.dumps(self._counts.my_peers()), **mine})
            pipe.pexpire(key, round(1000 * LIVES_S))
            pipe.sadd(members, self.me)
            pipe.smembers(members)
            found = [name.decode() for name in pipe.execute()[-1]]
        with redis.pipeline(transaction=False) as pipe:
            for name in found:
                pipe.hmget(self._link.key("member", name), *SHARED, "peers")
            told = dict(zip(found, pipe.execute(), strict=True))
        gone = [name for name, of in told.items() if of[0] is None]
        if gone:
            redis.srem(members, *gone)
        peers = np.zeros(PEERS, np.int64)
        living: dict[str, Figures] = {}
        for name, (*figures, theirs) in told.items():
            if name in gone or self.of_my_server(name):  # those are in the memory that workers share
                continue
            living[name] = {kind: int(n or 0) for kind, n in zip(SHARED, figures, strict=True)}
            for place, n in orjson.loads(theirs or b"[]"):
                peers[place % PEERS] += n
        self._note(living, peers)

    def _alone(self) -> None:
        self._note({}, np.zeros(PEERS, np.int64))

    def _note(self, others: dict[str, Figures], peers: npt.NDArray[np.int64]) -> None:
        names = {member.partition(".")[0] for member in others}
        before = {member.partition(".")[0] for member in self._others}
        self._others, self._counts.far_peers = others, peers
        if names != before:
            log.info("%d servers are one service", 1 + len(names))
