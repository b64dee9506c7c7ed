"""LoadWatch: measures every second how busy the server is, and has the level's steps taken."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from server.counts import SharedCounts
from server.errors import ClientError
from server.live.load import FIRST, LEVELS, RETRY_AFTER_S, Headroom, Load, Measured
from server.metrics import Metrics
from stream.types import JsonDict

log = logging.getLogger("load")

TICK_S = 0.2
MEASURE_S = 1.0
# A model that has answered nothing for so long is stuck, not slow: it will be replaced (`server.engine.process`),
# and what waits for it is scored then. For a while after that it is excused for being late.
STALL_S, EXCUSED_S = 1.0, 10.0
FRESH = 0.6  # weight of the last second in the figures

Lags = Callable[[float], list[float]]  # now → of each channel, in seconds


class LoadWatch:
    """`batch` is called by the engine, `admit` by whoever opens sessions; the rest on a thread of its own."""

    def __init__(
        self, max_lag_s: float, measured_admission: bool, metrics: Metrics, counts: SharedCounts | None = None
    ) -> None:
        """`measured_admission`: how many sessions there may be is measured, not configured. `counts`: of all
        workers, each of which measures itself and the engine that they share.
        """
        self._counts = counts or SharedCounts.alone()
        self._load, self._headroom = Load(max_lag_s), Headroom(FIRST // self._counts.n_workers)
        self._by_measure = measured_admission
        self._lock = threading.Lock()
        self._busy_s = 0.0  # of the engine with live windows, since it was last looked at
        self._answered_s = time.monotonic()  # when it last scored any
        self._excused_until = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.max_lag_s = max_lag_s
        self.lags: Lags = lambda now: []
        self.shed: Callable[[float, float], None] = lambda now, max_lag_s: None
        self.on_level: Callable[[Load], None] = lambda load: None
        metrics.load_level.set_function(lambda: float(self._load.index))
        metrics.lag.set_function(lambda: self._load.measured.lag_s)
        metrics.engine_busy.set_function(lambda: self._load.measured.engine_busy)
        metrics.server_busy.set_function(lambda: self._load.measured.server_busy)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()

    @property
    def level(self) -> str:
        return self._load.level

    @property
    def slowdown(self) -> int:
        return self._load.slowdown

    def status(self) -> JsonDict:
        """For /api/v1/status: of several workers the busiest, in each respect."""
        return {
            "level": LEVELS[max(self._counts.each("level"))],
            "lag_ms": max(self._counts.each("lag_ms")),
            "engine_busy": round(self._load.measured.engine_busy, 2),
            "server_busy": max(self._counts.each("busy")) / 100,
        }

    def batch(self, infer_s: float) -> None:
        """The engine was busy with live windows for so long."""
        with self._lock:
            self._busy_s += infer_s
            self._answered_s = time.monotonic()

    def admit(self, n_channels: int) -> None:
        """Raises ClientError OVERLOADED where there is no room for as many more channels."""
        with self._lock:
            refusing = self._load.level in ("refusing", "shedding")
            if not refusing and (not self._by_measure or self._headroom.take(n_channels)):
                return
        raise ClientError(
            "OVERLOADED",
            "the server takes no new sessions for the moment, so that those it has stay live; try again in"
            f" {RETRY_AFTER_S} s",
            retry_after_s=RETRY_AFTER_S,
        )

    def _run(self) -> None:
        began, cpu_began, late_s = time.monotonic(), time.process_time(), 0.0
        smooth = Measured()
        while True:
            planned = time.monotonic() + TICK_S
            if self._stop.wait(TICK_S):
                return
            now = time.monotonic()
            late_s += now - planned  # others had the processor, or the hub
            lags = sorted(self.lags(now))
            worst_s = lags[-1] if lags else 0.0
            lag_s = lags[int(0.95 * (len(lags) - 1))] if lags else 0.0
            if worst_s > STALL_S / 2 and now - self._answered_s > STALL_S:
                self._excused_until = now + EXCUSED_S
            if now < self._excused_until:
                lag_s = 0.0
            elif worst_s > self.max_lag_s:
                self.shed(now, self.max_lag_s)
            if now - began < MEASURE_S:
                continue
            took = now - began
            with self._lock:
                engine_busy, self._busy_s = self._busy_s / took, 0.0
            cpu = time.process_time()
            server_busy = max((cpu - cpu_began) / took, late_s / took)
            smooth = Measured(
                FRESH * min(1.0, engine_busy) + (1 - FRESH) * smooth.engine_busy,
                FRESH * min(1.0, server_busy) + (1 - FRESH) * smooth.server_busy,
                lag_s,
            )
            began, cpu_began, late_s = now, cpu, 0.0
            self._update(smooth, now, len(lags))

    def _update(self, measured: Measured, now: float, n_channels: int) -> None:
        before = self._load.index
        with self._lock:
            changed = self._load.update(measured, now)
            self._headroom.update(self._load, n_channels)
        self._counts.publish("level", self._load.index)
        self._counts.publish("lag_ms", round(1000 * measured.lag_s))
        self._counts.publish("busy", round(100 * measured.server_busy))
        if changed:
            rising = self._load.index > before
            log.log(
                logging.WARNING if rising else logging.INFO,
                "load: %s (before: %s)",
                self._load.level,
                LEVELS[before],
                extra={
                    "lag_ms": round(1000 * measured.lag_s),
                    "engine_busy": round(measured.engine_busy, 2),
                    "server_busy": round(measured.server_busy, 2),
                    "channels": n_channels,
                },
            )
            self.on_level(self._load)
