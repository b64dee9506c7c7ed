"""Who observes what a session tells its owner: the desk's board, the recorder, whoever passes alerts on.

An observer is called by the session with its lock held, for every event and in order: it must be quick, must not
wait, call back into the session, or change what it is given. It gets events in frames, not the owner's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from server.tenants import DEFAULT, qualified
from stream.dynamics import Conversation
from stream.rules import AlertStatus
from stream.types import Floats, JsonDict, StreamEvent

Level = Literal["info", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("info", "warning", "critical")  # of alerts, the worst last


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
    tenant: str = DEFAULT

    @property
    def key(self) -> str:
        """Its id among those of all tenants: by this the other calls name it."""
        return qualified(self.tenant, self.session_id)


@dataclass(frozen=True)
class AlertEvent:
    """A rule was raised, cleared, or noted something, in words."""

    rule: str
    level: Level
    state: AlertStatus
    frame: int
    message: str
    message_zh: str | None  # None: the rule has no Chinese text
    probs: Floats | None = field(
        default=None, compare=False
    )  # (N_LABELS,): what it was measured in, if anything


SessionEvent = StreamEvent | AlertEvent | Conversation


@dataclass(frozen=True, eq=False)
class Counters:
    """What became of the frames of a channel, or of several together."""

    speech: int
    lost: int
    by_label: npt.NDArray[np.int64]  # (N_LABELS,): scored frames by likeliest label

    def __add__(self, other: Counters) -> Counters:
        return Counters(self.speech + other.speech, self.lost + other.lost, self.by_label + other.by_label)


@dataclass(frozen=True, eq=False)
class SessionSummary:
    """How a session went."""

    session_id: str
    reason: str  # why it ended
    audio_s: float  # received; the time of one channel
    counters: Mapping[str | None, Counters]  # by channel
    utterances: tuple[JsonDict, ...]  # the last ones, as their owner was told of them
    leftover_bytes: int = 0  # of a sample that never became whole
    dynamics: Conversation | None = None  # of a call of two that were both heard, from its beginning
    moved: bool = False  # it goes on in another worker

    @property
    def total(self) -> Counters:
        """The sums over all channels."""
        return reduce(add, self.counters.values())


class Observer(Protocol):
    """Told of all that happens in a session, in its order."""

    def on_open(self, info: SessionInfo) -> None:
        """A session has begun."""
        ...

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        """An event, as it goes to the session's owner. `channel` None: of the session's only one, or of both."""
        ...

    def on_close(self, summary: SessionSummary) -> None:
        """A session has ended."""
        ...


class AudioObserver(Protocol):
    """Who keeps what is scored. Called as an Observer is."""

    def on_audio(self, session_id: str, channel: str | None, samples: Floats) -> None:
        """Samples (n,) at 16 kHz that follow those before, as they are about to be scored."""
        ...
