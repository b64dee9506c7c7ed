"""The parent of a server with several workers: it holds the address, the engine and the workers; it serves nobody.

`server.run` is started here once more for each worker, with the socket that listens as an inherited descriptor.
One that ends is replaced at once, or ever slower when it does not live long. Nothing is cooperative here.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType

from server import hub, logs, process_env, system
from server.config import Config
from server.counts import SharedCounts, new_key
from server.engine import EngineSettings
from server.engine.child import private_folder
from server.engine.process import ProcessEngine
from server.live.elsewhere import sweep
from server.metrics import Metrics
from server.paths import HOME
from server.ready import announce
from server.workers import pages
from server.workers.exchange import Exchange, Peer
from server.workers.link import SESSIONS, Place
from stream.types import JsonDict, ceil_div

log = logging.getLogger("workers")

TICK_S, CALM_S = 0.05, 0.2  # between two looks at the workers, until all are ready and then
SWEEP_S = 2.0
LIVED_S = 10.0  # a worker that ends sooner is replaced ever more slowly
MAX_PAUSE_S = 5.0
HANGS_S = 15.0  # without a word for so long
LAPSE_S = 0.5  # as of `server.engine.process`: more, and this process stood still
LATER_S = 5.0  # that a worker may take beyond server.drain_s


@dataclass
class _Worker:
    """One place among the workers, and who has it now."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    peer: Peer | None = None
    inbox: str = ""
    began_s: float = 0.0
    looked_s: float = 0.0
    lives: int = 0
    pause_s: float = 0.0
    not_before_s: float = field(default=0.0)


def serve(config: Config, args: JsonDict) -> int:
    """Serve with several workers, until told to stop; `args`: those of `server.run`. The exit status."""
    logs.configure(config.server.log_level, config.server.log_format)
    for warning in config.warnings:
        log.warning("%s", warning)
    where = config.server
    try:
        bound, audiosocket = hub.listen_all(where.host, where.port, config.doors.audiosocket_port)
    except OSError as taken:
        log.error("cannot listen on %s", taken)
        return 1
    listening = [each for each in (bound, audiosocket) if each is not None]
    for each in listening:
        each.setblocking(False)  # several wait for the same connection, and one gets it
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in system.ENDING:
        if signal.getsignal(number) != signal.SIG_IGN or number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
    folder = private_folder()
    try:
        parent = Parent(config, args, folder, *(each.fileno() for each in listening))
        log.info(
            "listening on http://%s:%d with %d workers, loading model %s",
            where.host,
            bound.getsockname()[1],
            where.n_workers,
            config.model.name,
        )
        return parent.run(stop, bound.getsockname()[1])
    finally:
        for each in listening:
            each.close()
        shutil.rmtree(folder, ignore_errors=True)


def _for_all(settings: EngineSettings, n_workers: int) -> EngineSettings:
    """With room for the windows of files of all workers, whose shares are rounded up."""
    share = ceil_div(settings.max_background, n_workers)
    return replace(settings, max_background=n_workers * share)


class Parent:
    """Looks after the workers, and has what they share."""

    def __init__(
        self, config: Config, args: JsonDict, folder: str, listening: int, audiosocket: int | None = None
    ) -> None:
        self._config, self._args, self._folder = config, args, folder
        self._listening, self._audiosocket = listening, audiosocket
        self._n = config.server.n_workers
        self._key = config.redis.key if config.redis.url else new_key()
        self._server, self._started_s = secrets.token_hex(8), time.monotonic()
        Path(folder, SESSIONS).mkdir()
        self._counts = SharedCounts.shared(Path(folder) / "counts", self._n, 0, self._key)
        self.engine = ProcessEngine(
            _for_all(config.engine_settings, self._n), config.server.log_level, config.server.log_format
        )
        self._metrics = Metrics()
        self._metrics.allow(config)
        self._metrics.watch_engine(self.engine.health, lambda: self.engine.spec)
        self._exchange = Exchange(folder, self.engine)
        self._exchange.answering["metrics"] = lambda _: {"families": pages.families(self._metrics)}
        self.engine.on_batch, self.engine.on_answered = self._on_batch, self._exchange.on_answered
        self._workers = [_Worker(number) for number in range(self._n)]

    def run(self, stop: threading.Event, port: int) -> int:
        self.engine.start()
        self._exchange.start()
        announced = failed = False
        swept = 0.0
        while not failed and not stop.wait(CALM_S if announced else TICK_S):
            if self.engine.health().fatal:
                log.error("%s", self.engine.health().error)
                failed = True
            for worker in self._workers:
                failed = failed or not self._look_after(worker, announced)
            if time.monotonic() > swept + SWEEP_S:
                swept = time.monotonic()
                living = {worker.inbox for worker in self._workers if worker.process is not None}
                due = time.time() - self._config.limits.resume_s - LATER_S
                sweep(Path(self._folder, SESSIONS), living, due)
            if not announced and all(w.peer is not None and w.peer.ready for w in self._workers):
                announced = self._exchange.complete = True
                assert self.engine.spec is not None
                announce(self._config.server, port, self.engine.spec)
        self._end()
        return 1 if failed else 0

    def _on_batch(self, n_windows: int, infer_s: float, background: bool) -> None:
        self._metrics.batch(n_windows, infer_s)
        self._exchange.on_batch(n_windows, infer_s, background)

    def _look_after(self, worker: _Worker, announced: bool) -> bool:
        """Start it, or its successor. False: it cannot start, and neither could another."""
        now = time.monotonic()
        if worker.peer is not None and worker.process is not None:
            worker.peer.silent_s += min(now - worker.looked_s, LAPSE_S)
            if worker.peer.silent_s > HANGS_S:
                log.error("worker %d hangs, and is killed", worker.number, extra={"pid": worker.process.pid})
                worker.process.kill()
                worker.peer.silent_s = 0.0
        worker.looked_s = now
        if worker.process is not None and (code := worker.process.poll()) is not None:
            how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
            log.error("worker %d ended: %s", worker.number, how, extra={"pid": worker.process.pid})
            self._forget(worker)
            if code > 0 and not announced:
                return False  # it has said why
            worker.pause_s = (
                0.0 if now - worker.began_s > LIVED_S else min(MAX_PAUSE_S, 2 * worker.pause_s + 0.1)
            )
            worker.not_before_s = now + worker.pause_s
        if worker.process is None and now >= worker.not_before_s:
            self._begin(worker)
        return True

    def _begin(self, worker: _Worker) -> None:
        worker.lives += 1
        worker.inbox = f"w{worker.number}-{worker.lives}"
        worker.began_s = time.monotonic()
        place = Place(
            worker.number,
            self._n,
            self._folder,
            worker.inbox,
            self._listening,
            self._key.hex(),
            self._started_s,
            os.getpid(),
            self._server,
            self._audiosocket,
        )
        worker.peer = self._exchange.open(worker.inbox, worker.number)
        args = json.dumps({**self._args, "place": asdict(place)})
        try:
            worker.process = subprocess.Popen(
                [sys.executable, "-m", "server.run", self._config.server.async_mode, args],
                cwd=HOME,
                env=process_env.of_server(),
                stdin=subprocess.DEVNULL,
                pass_fds=[fd for fd in (self._listening, self._audiosocket) if fd is not None],
            )
        except OSError as short:  # no memory, no processes: those that serve go on
            log.error("worker %d cannot be started: %s", worker.number, short)
            self._forget(worker)
            worker.not_before_s = time.monotonic() + MAX_PAUSE_S

    def _forget(self, worker: _Worker) -> None:
        worker.process = worker.peer = None
        self._exchange.forget(worker.inbox)
        self._counts.clear(worker.number)
        Path(self._folder, worker.inbox).unlink(missing_ok=True)

    def _end(self) -> None:
        """Workers first, while there is an engine for what they have to finish."""
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + self._config.server.drain_s + LATER_S
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("a worker does not end, and is killed", extra={"pid": process.pid})
                process.kill()
                process.wait()
        self._exchange.close()
        self.engine.close()
        log.info("stopped")
        for number in system.ENDING:  # as in `server.app`
            signal.signal(number, signal.SIG_IGN)
