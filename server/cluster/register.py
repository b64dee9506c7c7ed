"""Whose a session is, among all processes of the service, and taking one over: as `live.elsewhere` asks.

A session stands in Redis under hashes of its token and of its id, for as long as its process refreshes them. Who
takes it over asks its process to let go; where that is no more, the trail that it left is enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from server.cluster.link import Away, RedisLink
from server.cluster.member import Member
from server.cluster.mirror import Mirror
from server.errors import ClientError
from stream.types import JsonDict

REFRESH_S = 2.0
REMAINS_S = 15.0  # beyond limits.resume_s, that what a dead process has left is there

# Make a session this process's, if it is `owner`'s still, and give its trail.
# KEYS: at, trail; ARGV: owner, me, milliseconds.
CLAIM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
local trail = redis.call('GET', KEYS[2])
redis.call('DEL', KEYS[2])
return trail
"""
# Keep keys that are this process's; give the places of those that are another's.
# KEYS: whose, trail, whose, trail, …; ARGV: me, milliseconds.
REFRESH = """
local taken = {}
for i = 1, #KEYS, 2 do
  local owner = redis.call('GET', KEYS[i])
  if not owner then
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
  elseif owner == ARGV[1] then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  else
    taken[#taken + 1] = (i - 1) / 2
  end
  redis.call('PEXPIRE', KEYS[i + 1], ARGV[2])
end
return taken
"""
FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


class Register:
    """`on_taken` is told the hash of the token of a session that another process has taken over meanwhile."""

    def __init__(self, link: RedisLink, member: Member, mirror: Mirror, ttl_s: float) -> None:
        self._link, self._member, self.mirror = link, member, mirror
        self._ttl_ms = round(1000 * ttl_s)
        self._ids: set[str] = set()
        self._refreshed_s = 0.0
        self.on_taken: Callable[[str], None] = lambda name: None

    def reserve(self, name: str) -> bool:
        """Whether the id of this hash is free in the whole service; it is this process's then, until `free`."""
        key, me = self._link.key("id", name), self._member.me
        with suppress(Away):
            if not self._link.run(lambda redis: redis.set(key, me, nx=True, px=self._ttl_ms)):
                return False
        self._ids.add(name)
        return True

    def free(self, name: str) -> None:
        self._ids.discard(name)
        key = self._link.key("id", name)
        with suppress(Away):
            self._link.run(lambda redis: redis.eval(FREE, 1, key, self._member.me))

    def left(self, name: str) -> None:
        """Another server goes on with the id of this hash."""
        self._ids.discard(name)

    def moved(self, name: str) -> None:
        """The id of this hash goes on here."""
        self._ids.add(name)
        with suppress(Away):
            key = self._link.key("id", name)
            self._link.run(lambda redis: redis.set(key, self._member.me, px=self._ttl_ms))

    def owner(self, name: str) -> str | None:
        """Which process of another server has the session of this hash, as far as is known."""
        with suppress(Away):
            told = self._link.run(lambda redis: redis.get(self._link.key("at", name)))
            if told and not self._member.of_my_server(told.decode()):
                return str(told.decode())
        return None

    def claim(
        self, name: str, owner: str, token: str, received: int | None
    ) -> tuple[bytes, JsonDict | None] | None:
        """The trail of the session, which is this process's now, and what its process said if it lives.

        None: it cannot move, or is somebody else's. Raises ClientError NOT_READY while that cannot be known.
        """
        asked: JsonDict = {"token": token, "received": received}
        had: JsonDict | None = None
        if self._member.questions.lives(owner):
            answer = self._member.questions.ask_one(owner, "release", asked)
            if answer is None:
                raise ClientError("NOT_READY", "the server that has this session does not answer; try again")
            had = answer if "events" in answer else None
            if had is not None and had["events"] is None:
                return None
        keys = self._link.key("at", name), self.mirror.key(name, owner)
        arguments = owner, self._member.me, self._ttl_ms
        with suppress(Away):
            trail = self._link.run(lambda redis: redis.eval(CLAIM, 2, *keys, *arguments))
            if trail:
                return bytes(trail), had
        return None

    def refresh(self) -> None:
        """Keep what is this process's. To be called about once a second."""
        now = time.monotonic()
        if now < self._refreshed_s + REFRESH_S:
            return
        self._refreshed_s = now
        names, me = self.mirror.names, self._member.me
        keys = [k for name in names for k in (self._link.key("at", name), self.mirror.key(name, me))]
        ids = list(self._ids)
        keys += [k for name in ids for k in 2 * (self._link.key("id", name),)]

        def send(redis: Any) -> Any:
            return redis.eval(REFRESH, len(keys), *keys, me, self._ttl_ms) if keys else []

        with suppress(Away):
            for place in self._link.run(send):
                if place < len(names):
                    self.on_taken(names[place])
                else:
                    self._ids.discard(ids[place - len(names)])
