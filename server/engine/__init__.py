"""Engines score windows. What they promise, whatever runs behind them:

every window that `submit` accepts is answered exactly once, with scores or with the reason why there are none,
from any thread and in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from stream.batching import BatchLimits
from stream.types import Answer, ModelSpec, Window


@dataclass(frozen=True)
class Timing:
    """How long a window waited for its batch and how long that took, in seconds."""

    queue_s: float = 0.0
    infer_s: float = 0.0


Reply = Callable[[Window, Answer, Timing], None]

# Called by an engine for every batch that it has scored, whoever its windows are of and however they fared, before
# they are answered: with the number of windows, how many seconds they took together, whether they were of files.
OnBatch = Callable[[int, float, bool], None]


class Busy(Exception):
    """The engine holds as many windows of this kind, live or background, as it may."""


@dataclass(frozen=True)
class EngineSettings:
    """What an engine needs to know, apart from where it runs."""

    model: str = "compact"
    kind: Literal["process", "ray"] = "process"  # where replicas run: on this machine, or on a Ray cluster
    replicas: int = 1  # model processes, which share the work
    ray_address: str = "auto"  # of the cluster; auto: the one that this machine is part of
    device: str = "auto"
    gpu: str | None = None  # the only one that a model process sees, as CUDA names it; None: all
    model_options: dict[str, str | bool] = field(default_factory=dict)  # see `load_model`
    threads: int = 1  # of all replicas together
    batching: BatchLimits = field(default_factory=BatchLimits)
    max_queue: int = 1024  # live windows held
    max_background: int = 64  # and background windows, those of files, beside them
    deadline_s: float = 8.0  # a live window without an answer by then gets one that says so
    background_deadline_s: float = 120.0  # a background window does when none at all was scored for so long
    # A child without a heartbeat for this long is killed and replaced; None: what the model says of itself.
    heartbeat_timeout_s: float | None = None
    spare: bool = False  # another child of each replica that has loaded takes over then, at once


@dataclass(frozen=True)
class ReplicaHealth:
    """How one of an engine's replicas is, and what it has done; its successors continue the counts."""

    number: int  # from 0 on
    up: bool
    outstanding: int  # windows it was given and has not answered
    restarts: int
    windows: int  # scored, and in how many batches and seconds
    batches: int
    busy_s: float
    device: str | None  # None until it has loaded


@dataclass(frozen=True)
class Health:
    """How an engine is, for `/readyz` and the status."""

    up: bool
    waiting: int  # windows accepted and not answered yet
    restarts: int
    error: str | None = None  # why it is not up
    fatal: bool = False  # it will not come up by itself: the settings are wrong
    # How often the model ran short of memory, by remedy (`stream.types.CountsFallbacks`).
    fallbacks: dict[str, int] = field(default_factory=dict)
    replicas: tuple[ReplicaHealth, ...] = ()  # of an engine that has any; their restarts are its own


class Engine(Protocol):
    """What scores windows, wherever it runs."""

    @property
    def spec(self) -> ModelSpec | None:
        """The model behind it; None until it has loaded."""
        ...

    def submit(self, window: Window, reply: Reply) -> None:
        """Accept a window, or raise Busy. `reply` is called once, later, or during this call.

        Live windows go first; a background window runs when no live one is due (`stream.batching`).
        """
        ...

    def health(self) -> Health:
        """How it is now; any thread may ask."""
        ...

    def close(self) -> None:
        """Answer what is still held and stop. Windows submitted later are answered with a failure."""
        ...
