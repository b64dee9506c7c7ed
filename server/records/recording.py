"""The recorder: an observer that writes down what sessions were told, and what was heard where that is wanted.

On the hot path it puts references into a queue, which is bounded; a thread of its own writes them down every two
seconds, so that whatever happens to the process, no more than that is missing. A record that cannot be written is
given up with a log line and a count; its session goes on.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from server import system, wire
from server.config import Config
from server.metrics import Metrics
from server.observers import SessionEvent, SessionInfo, SessionSummary
from server.paths import HOME
from server.records import session_record as files
from server.storage import OutputStore, id_of
from server.tenants import DEFAULT, TenantStores
from stream.dynamics import Conversation
from stream.types import LABELS, N_LABELS, Floats, FramesScored, JsonDict
from stream.windowed_sums import GRID, WindowedSums, split_on_grid

log = logging.getLogger("recording")

WRITE_S = 2.0
SWEEP_S = TOUCH_S = 600.0
MAX_WAITING = 200_000  # events to be written down; more are left out
MAX_SOUND_BYTES = 128_000_000  # of audio to be written down
MAX_SAMPLES = (1 << 31) - (1 << 24)  # of a WAV file: 37 hours
# By their names on the wire; scores become half seconds of the `timeline`.
KINDS = {"utterance_result": "utterances", "alert": "alerts", "speech": "speech", "lost": "lost"}


class Recorder:
    """An Observer and an AudioObserver. Nothing is written before `start`."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        keep = config.recording
        self.stores = TenantStores(config.files.folder, keep.keep_days, keep.keep_gb, config.files.mode)
        self._limits = [str(keep.keep_days), str(keep.keep_gb)]
        self._metrics = metrics
        self._queue: deque[tuple[str, str, Any]] = deque()  # session id, what, of it
        self._sound_bytes = 0
        self._received: dict[tuple[str, str | None], int] = {}  # samples so far
        self._writers: dict[str, _SessionWriter] = {}
        self._lock = threading.Lock()  # of what is counted here; held for an addition
        self._closed: deque[_SessionWriter] = deque()  # to be finished
        self._stop = threading.Event()
        self._enabled = keep.sessions
        self._thread: threading.Thread | None = None

    # -- called by sessions: quick, never blocking ---------------------------------------------------

    def on_open(self, info: SessionInfo) -> None:
        self._queue.append((info.key, "opened", info))

    def on_event(self, session_id: str, channel: str | None, event: SessionEvent) -> None:
        if len(self._queue) < MAX_WAITING:
            self._queue.append((session_id, "event", (channel, event)))

    def on_close(self, summary: SessionSummary) -> None:
        self._queue.append((summary.session_id, "closed", summary))

    def on_audio(self, session_id: str, channel: str | None, samples: Floats) -> None:
        with self._lock:
            start = self._received.get((session_id, channel), 0)
            self._received[session_id, channel] = start + len(samples)
            if self._sound_bytes + samples.nbytes > MAX_SOUND_BYTES or start > MAX_SAMPLES:
                return  # a stretch of silence in the recording
            self._sound_bytes += samples.nbytes
        self._queue.append((session_id, "audio", (channel, start, samples)))

    # -- the writer ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Finish what an earlier process left; write; remove what is old, also when nothing is kept any more."""
        if self._enabled and (why := self.stores.of(DEFAULT).why_not()):
            log.error("sessions cannot be recorded: %s", why)
        for store in self.stores.all().values():
            for draft in sorted(store.root.glob(f".session_*/{files.JOURNAL}")):
                self._recover(store, draft.parent)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write down what there is, once the sessions have been closed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        sweep_at = 0.0
        while True:
            ending = self._stop.wait(WRITE_S)
            self._write()
            if ending:
                return
            if time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + SWEEP_S
                self._sweep()

    def _write(self) -> None:
        for number in range(len(self._queue)):
            session_id, what, item = self._queue.popleft()
            if what == "opened":
                self._writers[session_id] = writer = _SessionWriter(item)
                self._guarded(writer, partial(writer.open, self.stores.of(item.tenant)))
            elif what == "audio":
                with self._lock:
                    self._sound_bytes -= item[2].nbytes
                writer = self._writers[session_id]
                self._guarded(writer, partial(writer.sound, *item))
            elif what == "closed":
                writer = self._writers.pop(session_id)
                self._guarded(writer, partial(writer.close, item))
                self._closed.append(writer)
                with self._lock:
                    self._received = {key: n for key, n in self._received.items() if key[0] != session_id}
            elif not (writer := self._writers[session_id]).failed:
                writer.note(*item)
            if number % files.YIELD_EVERY == files.YIELD_EVERY - 1:
                _cooperative_yield()
        for writer in self._writers.values():
            self._guarded(writer, writer.flush)
            _cooperative_yield()
        while self._closed:  # last: if the process ends here, their journals are whole
            writer = self._closed.popleft()
            self._guarded(writer, writer.finish)
            self._metrics.records.labels("failed" if writer.failed else "saved").inc()

    def _guarded(self, writer: _SessionWriter, act: Callable[[], None]) -> None:
        """A record that cannot be written is given up, in one line; its session has nothing to do with that."""
        if writer.failed:
            return
        try:
            act()
        except (OSError, ValueError) as broken:
            writer.give_up()
            why = getattr(broken, "strerror", None) or broken
            log.error("a session cannot be recorded: %s", why, extra={"session": writer.session_id})

    def _recover(self, store: OutputStore, draft: Path) -> None:
        """Finish the record of a session that its server did not outlive; another server's is left alone."""
        try:
            with (draft / files.JOURNAL).open("rb") as journal:
                system.lock(journal)
                head = files.finish(draft, _cooperative_yield)
                store.let_in(draft)
                draft.rename(store.root / id_of(draft))
        except BlockingIOError:
            return
        except (OSError, ValueError) as broken:
            log.warning("the record of a session that was cut off cannot be finished: %s", broken)
            return
        self._metrics.records.labels("saved" if head["complete"] else "incomplete").inc()
        log.info("finished the record of an earlier session", extra={"session": head.get("session_id")})

    def _sweep(self) -> None:
        """In a process of its own: looking at thousands of folders would hold up everybody who speaks."""
        for store in self.stores.all().values():
            try:
                subprocess.run(
                    [sys.executable, "-m", "server.storage", str(store.root), *self._limits, "0", "session"],
                    stdout=subprocess.DEVNULL,
                    cwd=HOME,
                    check=False,
                )
            except OSError as broken:
                log.error("old records cannot be swept: %s", broken)


class _SessionWriter:
    """One session's record in the making. Raises OSError where the disk does."""

    def __init__(self, info: SessionInfo) -> None:
        self.session_id = info.session_id
        self.failed = False
        self._info = info
        self._stack = ExitStack()  # holds the folder
        self._folder = Path()
        self._journal: IO[bytes] | None = None
        self._lines: list[bytes] = []
        self._tallies: dict[str | None, WindowedSums] = {}
        self._touched_s = 0.0

    def open(self, store: OutputStore) -> None:
        info = self._info
        began = datetime.fromisoformat(info.started_utc).timestamp()
        self._folder = self._stack.enter_context(store.folder("session", suffix=info.session_id, now=began))
        self._journal = self._stack.enter_context((self._folder / files.JOURNAL).open("ab", buffering=0))
        system.lock(self._journal, wait=True)  # while it is held, this process lives
        about = {k: v for k, v in asdict(info).items() if k not in ("started_s", "tenant")}
        self._lines.append(files.line("opened", about))

    def note(self, channel: str | None, event: SessionEvent) -> None:
        if isinstance(event, FramesScored):
            tally = self._tallies.setdefault(channel, WindowedSums(GRID))
            for at, part in split_on_grid(event.first_frame, event.probs):
                self._close_half_seconds(channel, tally, at)
                tally.add(part)
            return
        if isinstance(event, Conversation):
            return  # the summary has it
        name, payload = wire.to_wire(self.session_id, channel, event, self._info.model)
        record = {k: v for k, v in payload.items() if k not in ("session_id", *files.OMITTED)}
        self._lines.append(files.line(KINDS[name], record))

    def sound(self, channel: str | None, start: int, samples: Floats) -> None:
        files.write_audio(self._folder / files.audio_name(channel), start, samples)

    def flush(self) -> None:
        assert self._journal is not None
        if self._lines:
            self._journal.write(b"".join(self._lines))
            self._lines.clear()
            self._touched_s = time.monotonic()
        elif time.monotonic() - self._touched_s > TOUCH_S:
            self._touched_s = time.monotonic()
            os.utime(self._folder / files.JOURNAL)  # a folder in which nothing happens is taken for a crash's

    def close(self, summary: SessionSummary) -> None:
        """The last line of the journal."""
        for channel, tally in self._tallies.items():
            self._close_half_seconds(channel, tally, tally.at + GRID)
        head = wire.summary(summary)
        del head["utterances"], head["session_id"]  # which the first line has, as its tenant calls it
        if "channels" in head:
            head["by_channel"] = head.pop("channels")
        head["ended_utc"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._lines.append(files.line("closed", head))
        self.flush()

    def finish(self) -> None:
        files.finish(self._folder, _cooperative_yield)
        self._stack.close()  # now it is there under its name

    def give_up(self) -> None:
        self.failed = True
        self._lines.clear()
        with suppress(OSError, _GivenUp), self._stack:
            raise _GivenUp  # the folder goes with it

    def _close_half_seconds(self, channel: str | None, tally: WindowedSums, to: int) -> None:
        while tally.at + GRID <= to:
            tally.tick()
            if tally.newest:
                self._lines.append(files.line("timeline", _row(channel, tally)))


def _row(channel: str | None, tally: WindowedSums) -> JsonDict:
    """A half second in the record: mean scores, and how many frames had which likeliest label."""
    sums = tally.last(GRID)
    counts = sums[N_LABELS:].round().astype(int).tolist()
    return {
        "start_ms": wire.ms(tally.at - GRID),
        "end_ms": wire.ms(tally.at),
        **({} if channel is None else {"channel": channel}),
        "frames": tally.newest,
        **wire.scores((sums[:N_LABELS] / tally.newest).astype(np.float32)),
        "by_label": {label: n for label, n in zip(LABELS, counts, strict=True) if n},
    }


class _GivenUp(Exception):
    pass


def _cooperative_yield() -> None:
    """Let those who speak have a step."""
    time.sleep(0)
