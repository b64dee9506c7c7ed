"""What the sessions of keys with limits take: counted when they open and close, their audio once a second."""

from __future__ import annotations

from server.access.identity import Identity
from server.access.usage import Usage
from server.errors import ClientError
from server.live.session import LiveSession


class Metering:
    """Called by the registry, with or without its lock."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._counted: dict[str, float] = {}  # session id → seconds of audio that were counted

    def admit(self, identity: Identity, moved: bool) -> None:
        """A session is about to open. Raises ClientError."""
        self._usage.open_session(identity, again=moved)

    def refused(self, identity: Identity) -> None:
        """It has not opened, for another reason."""
        self._usage.close_session(identity)

    def opened(self, session: LiveSession) -> None:
        if session.identity.limits.audio_minutes_per_day is not None:
            self._counted[session.session_id] = session.received_s

    def closed(self, session: LiveSession) -> None:
        self.count(session)
        self._counted.pop(session.session_id, None)
        self._usage.close_session(session.identity)

    def count(self, session: LiveSession) -> None:
        """Count what was heard since the last time; a session whose key has had too much takes no more."""
        before = self._counted.get(session.session_id)
        received_s = session.received_s
        if before is None or received_s <= before:
            return
        self._counted[session.session_id] = received_s
        try:
            self._usage.audio(session.identity, received_s - before)
        except ClientError as enough:
            session.refusal = enough
