"""Who hears what a session tells its owner: the desk's board, the recorder, whoever passes alerts on.

A listener is called by the session with its lock held, for every event and in order: it must be quick, must not
wait, call back into the session, or change what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stream.types import Floats, JsonDict


@dataclass(frozen=True)
class SessionInfo:
    """Who is speaking, as far as the client says so."""

    session_id: str
    started_utc: str  # ISO 8601
    started_s: float  # time.monotonic()
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    channels: int = 1
    model: str = ""
    watch: str = "both"  # whose voice is scored, of a session with two channels: both, agent or customer


class Listener(Protocol):
    def opened(self, info: SessionInfo) -> None:
        """A session has begun."""
        ...

    def told(self, session_id: str, event: str, payload: JsonDict) -> None:
        """An event that goes to the session's owner, as it goes."""
        ...

    def closed(self, session_id: str, summary: JsonDict) -> None:
        """A session has ended."""
        ...


class AudioListener(Protocol):
    """Who keeps what is scored. Called as a Listener is."""

    def heard(self, session_id: str, channel: str | None, samples: Floats) -> None:
        """Samples (n,) at 16 kHz that follow those before, as they are about to be scored."""
        ...
