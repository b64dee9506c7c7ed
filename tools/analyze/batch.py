"""`./run.sh analyze DIR --out DIR`: a folder of recordings → one table, resumable.

Several recordings are under way at once; what is done is in the journal (`journal`), so that a run that
ends early, by Ctrl-C or by the power, is gone on with by giving the same command. A recording that has changed, or
that was done with another model or other options, is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from server import custom_labels
from server.config import Config
from server.engine import Engine
from server.errors import ClientError
from server.files import find
from server.files.recognize import RecognizeOptions
from server.files.result import AUDIO, RESULT, into
from server.storage import DRAFT, replaced_folder
from stream.types import JsonDict
from tools.analyze import table as tables
from tools.analyze.journal import EACH, Entry, Journal, Stamp, shown

ERRORS_SHOWN = 50  # the others are in errors.txt
INTERRUPTED = 130


@dataclass(frozen=True)
class BatchJob:
    """What is wanted."""

    folder: Path
    out: Path
    table: str = "csv"  # or parquet
    each: bool = False  # outputs of every recording in a folder of its own
    embeddings: bool = False  # with embedding.npy
    granularity: str = "utterance"  # of those outputs
    jobs: int = 2  # recordings under way at once


@dataclass(frozen=True)
class Found:
    """What there is below a folder."""

    sizes: dict[str, os.stat_result]  # recordings, relative to the folder, in order
    errors: dict[str, str]  # what cannot be opened, and why


@dataclass
class _Counts:
    errors: dict[str, str]
    done: int = 0
    audio_s: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def pace(self) -> str:
        took = max(time.monotonic() - self.began, 1e-3)
        return f"{self.done / took:.1f} files/s, {self.audio_s / took:.0f}x real time"


class _Stopped(Exception):
    """Ctrl-C: a recording under way is given up."""


def main(job: BatchJob, engine: Engine, config: Config, options: RecognizeOptions, errors: Console) -> int:
    """The exit status: 0, 1 when a recording could not be read, 2 when nothing could start, 130 after Ctrl-C."""

    def tell(text: str) -> None:
        errors.print(text, markup=False, highlight=False, soft_wrap=True)

    try:
        tables.check(job.table)
        job.out.mkdir(parents=True, exist_ok=True)
        found = look(job.folder, job.out)
        if not found.sizes and not found.errors:
            tell("No recordings there. Read are: " + " ".join(sorted(find.SUFFIXES)))
            return 2
        with Journal(job.out) as journal:
            return _run(job, found, journal, engine, config, options, errors)
    except (OSError, tables.NoParquet) as wrong:
        tell(str(wrong))
        return 2


def look(top: Path, out: Path) -> Found:
    """Recordings below `top`, without those of `out` and of other results. Links to folders are not followed."""
    found, errors = dict[str, os.stat_result](), dict[str, str]()

    def unreadable(wrong: OSError) -> None:
        errors[os.path.relpath(wrong.filename, top)] = wrong.strerror or str(wrong)

    own = out.resolve()
    for at, folders, names in os.walk(top, onerror=unreadable):
        here = Path(at)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and (here / n).resolve() != own)
        for name in sorted(names):
            # `._x.wav` is what macOS leaves beside x.wav on other systems' disks: no audio.
            if Path(name).suffix.lower() not in find.SUFFIXES or name.startswith("._"):
                continue
            if name == AUDIO and RESULT in names:
                continue
            file = os.path.relpath(here / name, top)
            try:
                held = (here / name).stat()
            except OSError as wrong:
                errors[file] = wrong.strerror or str(wrong)
                continue
            if stat.S_ISREG(held.st_mode):
                found[file] = held
            else:
                errors[file] = "not a file"
    return Found(found, errors)


def _run(
    job: BatchJob,
    found: Found,
    journal: Journal,
    engine: Engine,
    config: Config,
    options: RecognizeOptions,
    errors: Console,
) -> int:
    # Those of a run that was killed: the journal is ours, so nobody writes there.
    for left in job.out.glob(f"{DRAFT}*"):
        shutil.rmtree(left, ignore_errors=True)
    made = _made(job, engine, config, options)
    stamps = {name: Stamp(held.st_size, held.st_mtime_ns, made) for name, held in found.sizes.items()}
    waiting = [name for name, stamp in stamps.items() if not _is_done(name, stamp, journal, job)]
    counts = _Counts(dict(found.errors))
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += [TimeRemainingColumn(), TextColumn("{task.fields[pace]}")]
    interrupted = False
    with Progress(*columns, console=errors) as progress:
        spec = engine.spec
        assert spec is not None
        skipped = len(stamps) - len(waiting)
        task = progress.add_task(f"scoring with {spec.name}", total=len(stamps), completed=skipped, pace="")
        workers = _Workers(job, waiting, engine, config, options)
        try:
            for name, outcome in workers.outcomes():
                if isinstance(outcome, str):
                    counts.errors[name] = outcome
                else:
                    journal.add(Entry(name, stamps[name], outcome))
                    counts.audio_s += outcome["duration_s"]
                counts.done += 1
                progress.update(task, advance=1, pace=counts.pace)
        except KeyboardInterrupt:
            interrupted = True
            journal.reread()
        finally:
            workers.stop()
    complete = [name for name, stamp in stamps.items() if journal.holds(name, stamp)]
    table = tables.write(journal.entries(complete), job.out, job.table)
    _report(job, counts, len(complete), skipped, table, interrupted, errors)
    return INTERRUPTED if interrupted else 1 if counts.errors else 0


def _made(job: BatchJob, engine: Engine, config: Config, options: RecognizeOptions) -> str:
    """A fingerprint of what shapes a result: the model's weights, as its own shows them, settings, options."""
    spec = engine.spec
    assert spec is not None
    weights = custom_labels.fingerprint_of(engine, 60)
    labels, samples = options.custom_labels, options.samples
    rules = [rule.model_dump(mode="json") for rule in config.rules]
    judge = [] if labels is None else [labels.name, labels.weights.tobytes().hex()]
    judge += [] if samples is None else [*samples.names, samples.embeddings.tobytes().hex()]
    says = [
        *(spec.name, spec.dtype, [] if weights is None else weights.round(2).tolist()),
        *(config.speech.model_dump(), config.stream.model_dump(), judge, rules),
        *([job.granularity, job.embeddings] if job.each else []),
    ]
    return hashlib.sha256(json.dumps(says).encode()).hexdigest()[:16]


def _is_done(name: str, stamp: Stamp, journal: Journal, job: BatchJob) -> bool:
    kept = not job.each or (job.out / EACH / name / RESULT).is_file()
    return kept and journal.holds(name, stamp)


class _Workers:
    """Threads that recognize recordings, each the next that waits."""

    def __init__(
        self, job: BatchJob, names: list[str], engine: Engine, config: Config, options: RecognizeOptions
    ) -> None:
        self._job, self._engine, self._config = job, engine, config
        self._options = options
        self._left = len(names)
        self._next = iter(names)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._outcomes: queue.SimpleQueue[tuple[str, JsonDict | str | BaseException]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(min(job.jobs, len(names)))
        ]
        for thread in self._threads:
            thread.start()

    def outcomes(self) -> Iterator[tuple[str, JsonDict | str]]:
        """A result, or why there is none, of each; as they come."""
        while self._left:
            name, outcome = self._outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            self._left -= 1
            yield name, outcome

    def stop(self) -> None:
        """Returns when nothing is under way any more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                name = next(self._next, None)
            if name is None:
                return
            try:
                self._outcomes.put((name, self._one(name)))
            except _Stopped:
                return
            except ClientError as refused:
                self._outcomes.put((name, refused.message))
            except BaseException as wrong:  # a full disk, or a fault of ours: the run ends and says so
                self._outcomes.put((name, wrong))
                return

    def _one(self, name: str) -> JsonDict:
        path, home = self._job.folder / name, self._job.out / EACH / name
        if not self._job.each:
            found = find.recognize_file(path, self._engine, self._config, self._options, self._check_stop)
        else:
            home.parent.mkdir(parents=True, exist_ok=True)
            with replaced_folder(home, drafts=self._job.out) as draft:
                options = replace(self._options, create=into(draft))
                found = find.recognize_file(path, self._engine, self._config, options, self._check_stop)
        recorded = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        few = {k: v for k, v in found.head.items() if k != "granularity"}
        judged = {} if found.custom_label is None else {"taught": found.custom_label}
        said = {**found.verdict, "granularity": "utterance", **few, "recorded_utc": recorded}
        return {**said, **judged, "utterances": found.utterances}

    def _check_stop(self, report: JsonDict) -> None:
        if self._stop.is_set():
            raise _Stopped


def _report(
    job: BatchJob, counts: _Counts, n: int, skipped: int, table: Path, interrupted: bool, errors: Console
) -> None:
    def tell(text: str) -> None:
        errors.print(text, markup=False, highlight=False, soft_wrap=True)

    listed = [f"{shown(name)}: {why}" for name, why in sorted(counts.errors.items())]
    beside = job.out / "errors.txt"
    beside.write_text("".join(f"{line}\n" for line in listed), encoding="utf-8", errors="backslashreplace")
    if not listed:
        beside.unlink()
    before = f", {skipped} of them done before" if skipped else ""
    print(f"{n} recordings{before}; {counts.pace}. Written: {table}")
    if job.each:
        print(f"Outputs of each: {job.out / EACH}")
    if listed:
        tell(f"{len(listed)} could not be read:")
        for line in listed[:ERRORS_SHOWN]:
            tell(f"  {line}")
        if len(listed) > ERRORS_SHOWN:
            tell(f"  … and {len(listed) - ERRORS_SHOWN} more, in {beside}")
    if interrupted:
        tell("Interrupted. The same command goes on where this one stopped.")
