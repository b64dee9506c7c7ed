"""Two people on a line: who is raised, who is calm, and what that makes of their conversation. No clock.

A mood is a mean over somebody's own last seconds of speech, so that it outlasts the other's turn. Between the
two thresholds it stays what it was; after long silence nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

MoodState = Literal["raised", "calm"] | None  # None: not enough was said lately

MIN_RAISED = 500  # frames: who was raised for shorter than this has nothing to recover from


@dataclass(frozen=True)
class MoodConfig:
    """In frames; the level is a share of the scores, 0 to 1."""

    labels: tuple[int, ...]
    above: float
    below: float
    memory: int  # of speech: the time constant of the mean
    min_speech: int  # before there is a mood at all
    forget: int  # of silence: after it there is none any more


class Mood:
    """One person's, told on the grid."""

    def __init__(self, config: MoodConfig) -> None:
        self._config = config
        self._labels = list(config.labels)
        self.state: MoodState = None
        self._sum = self._weight = 0.0
        self._n_frames = self._spoke_at = 0

    def step(self, n_frames: int, sums: np.ndarray, at: int) -> MoodState:
        """Take in a stretch up to frame `at`: scores (N_LABELS,) added up over `n_frames` frames."""
        config = self._config
        if n_frames:
            kept = float(np.exp(-n_frames / config.memory))
            self._sum = kept * self._sum + (1 - kept) * float(sums[self._labels].sum()) / n_frames
            self._weight = kept * self._weight + (1 - kept)
            self._n_frames += n_frames
            self._spoke_at = at
        elif at - self._spoke_at >= config.forget:
            self._reset()
        if self._n_frames and self._n_frames >= config.min_speech:
            level = self._sum / self._weight
            if level > config.above:
                self.state = "raised"
            elif level < config.below:
                self.state = "calm"
        return self.state

    def _reset(self) -> None:
        self.state = None
        self._sum = self._weight = 0.0
        self._n_frames = 0


class MoodTransition:
    """How one person's mood went: whether it rose from calm, and whether it came back after lasting."""

    def __init__(self) -> None:
        self._before: MoodState = None  # the last mood there was
        self._since = 0
        self.escalated = False  # raised, and calm before
        self.recovered = False  # calm, after having been raised for long

    def step(self, state: MoodState, at: int) -> None:
        """Take the mood at frame `at`; None leaves it as it was."""
        if state is None or state == self._before:
            return
        if state == "raised":
            self.escalated, self.recovered = self._before == "calm", False
        else:
            self.recovered = self._before == "raised" and at - self._since >= MIN_RAISED
            self.escalated = False
        self._before, self._since = state, at
