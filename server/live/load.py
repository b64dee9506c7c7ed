"""How busy the server is, measured, and the steps it takes so that those whom it has admitted stay live.

Pure rules, time passed in. `Load` turns what was measured in the last second into one of LEVELS; each level
includes those before it. `Headroom` says how many more channels may be opened: like a TCP connection that starts
slowly, it never admits on a guess more than what is being served already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["normal", "slower", "files_paused", "refusing", "shedding"]
LEVELS: tuple[Level, ...] = ("normal", "slower", "files_paused", "refusing", "shedding")
# From which share of real time that the model, or the socket process, is busy; and from which share of max_lag_ms
# on. Shedding comes from lag alone: a server that is just busy has nothing to give up.
BUSY = (0.70, 0.85, 0.95, float("inf"))
LAG = (0.30, 0.50, 0.70, 1.00)
STAYS = 0.7  # a level is left below this share of where it was entered: it may be what brought the load down
CALM_S = 2.0  # and after this long there, one level at a time
SLOWDOWN = (1, 2, 4, 4, 4)  # how many hops a window has at least, by level
TARGET = 0.80  # share of real time up to which new sessions are taken
FIRST = 48  # channels that a server without any may open at once
RETRY_AFTER_S = 2


@dataclass(frozen=True)
class Measured:
    """Of the last second: how much of it the model and the socket process were busy, and how late results are."""

    engine_busy: float = 0.0
    server_busy: float = 0.0
    lag_s: float = 0.0  # p95 over channels of the time for which their oldest unscored speech has been due

    @property
    def busy(self) -> float:
        return max(self.engine_busy, self.server_busy)


class Load:
    """The level of a server, from one second to the next."""

    def __init__(self, max_lag_s: float) -> None:
        self._max_lag_s = max_lag_s
        self._calm_since: float | None = None
        self.measured = Measured()
        self.index = 0

    @property
    def level(self) -> Level:
        return LEVELS[self.index]

    @property
    def files_paused(self) -> bool:
        return self.index >= LEVELS.index("files_paused")

    @property
    def slowdown(self) -> int:
        """How many hops a window is to have at least."""
        return SLOWDOWN[self.index]

    def update(self, measured: Measured, now: float) -> bool:
        """Take a second's figures in. True when the level has changed."""
        self.measured = measured
        wanted = self._wanted(1.0)
        if wanted >= self.index:
            self._calm_since = None
            changed, self.index = wanted != self.index, wanted
            return changed
        if self._wanted(STAYS) >= self.index:
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < CALM_S:
            return False
        self._calm_since = now
        self.index -= 1
        return True

    def _wanted(self, share: float) -> int:
        lag = self.measured.lag_s / self._max_lag_s
        reached = [
            self.measured.busy >= share * busy or lag >= share * late
            for busy, late in zip(BUSY, LAG, strict=True)
        ]
        return max((i + 1 for i, holds in enumerate(reached) if holds), default=0)


class Headroom:
    """How many channels may still be opened until the next second's figures are there."""

    def __init__(self, first: int = FIRST) -> None:
        """`first`: channels that may be opened at once while there are none."""
        self._first = float(first)
        self._left = self._first

    def update(self, load: Load, n_channels: int) -> None:
        """`n_channels`: open now."""
        if load.level in ("refusing", "shedding"):
            self._left = 0.0
            return
        busy = load.measured.busy
        if not n_channels or busy <= 0:
            self._left = max(self._first, float(n_channels))
            return
        # Half of what the rule of three says: what is admitted now shows in the figures only a second later.
        room = n_channels * (TARGET / busy - 1) / 2
        self._left = min(max(room, 0.0 if busy >= TARGET else 2.0), max(self._first, float(n_channels)))

    def take(self, n_channels: int) -> bool:
        """Whether there is room for as many more; it is taken then."""
        if n_channels > self._left:
            return False
        self._left -= n_channels
        return True
