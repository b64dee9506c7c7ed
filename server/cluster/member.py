"""A socket process as a member of the service: who else serves, and what all of them have open.

Each member writes down every second what it has open; who writes nothing for `LIVES_S` is no more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from server.cluster.link import Away, RedisLink
from server.cluster.questions import Questions
from server.counts import PEERS, Kind, SharedCounts
from stream.types import JsonDict

log = logging.getLogger("cluster")

BEAT_S = 1.0
LIVES_S = 4.0
SOON_S = 0.05  # between two beats, when what is open changes
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


class Member:
    """Every method may be called from any thread. `on_beat` is called about once a second."""

    def __init__(self, link: RedisLink, server: str, process: str, counts: SharedCounts) -> None:
        """`server`: a name that no other server has; `process`: one among its own."""
        self.me, self._server = f"{server}.{process}", server
        self._link, self._counts = link, counts
        self.questions = Questions(link, self.me)
        self._others: dict[str, Figures] = {}  # members of other servers, and what they have open
        self._changed, self._closing = threading.Event(), False
        self.on_beat: Callable[[], None] = lambda: None
        counts.far = self

    def start(self) -> None:
        """Joins first, if Redis answers."""
        self.questions.start()
        self._join()
        threading.Thread(target=self._beat_on, name="member", daemon=True).start()

    def close(self) -> None:
        """It serves no more: the others need not wait until it is missed."""
        self._closing = True
        self._changed.set()
        self.questions.close()
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

    # -- what `SharedCounts` asks -------------------------------------------------------------------------

    def take(self, kind: Kind, mine: int, most: float) -> bool:
        """Whether this process may have so many, with those of all others. Without Redis: it may."""
        if kind not in SHARED or most == inf:
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

    def ask(self, question: str, fields: JsonDict) -> list[JsonDict]:
        """What members of other servers answer; who takes too long is left out."""
        return self.questions.ask(list(self._others), question, fields)

    # -- beating ------------------------------------------------------------------------------------------

    def _beat_on(self) -> None:
        while not self._closing:
            if self._changed.wait(BEAT_S):
                time.sleep(SOON_S)
                self._changed.clear()
            if not self._closing:
                self._join()

    def _join(self) -> None:
        if not self._link.up:
            if not self._link.try_to_join():
                self._alone()
                return
            self.questions.listening.wait(BEAT_S)  # who is a member, and does not listen, counts as dead
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
