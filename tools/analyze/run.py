"""`./run.sh analyze`: files and folders → one result per line; with --out, a table (`batch`)."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from server import custom_labels, wire
from server.config import Config, ConfigError
from server.engine import Engine
from server.errors import ClientError
from server.files import find, samples
from server.files.recognize import RecognizeOptions
from server.language import in_language, of_terminal
from server.local_engine import cluster_engine, local_engine
from stream.types import JsonDict
from tools.analyze import batch
from tools.analyze.batch import BatchJob


def main(
    paths: list[Path],
    granularity: str,
    config: Config,
    as_json: bool,
    job: BatchJob | None = None,
    on_cluster: bool = False,
) -> int:
    """Print a result per file; the exit status: 0, 1 when a file could not be read, 2 when nothing could start.

    With a `job`, that is done instead. `on_cluster`: scored by the Ray cluster of the settings.
    """
    errors = Console(stderr=True)
    with ExitStack() as stack:
        try:
            recordings = find.find(paths) if job is None else []
            labels = custom_labels.load(config)
            engine = cluster_engine(config) if on_cluster else local_engine(config)
            stack.callback(engine.close)
            if labels:
                custom_labels.check(labels, engine, 60)
            references = samples.load_here(config, engine)
        except (ConfigError, ValueError, OSError, ImportError) as wrong:
            said = in_language(str(wrong), of_terminal(os.environ))
            errors.print(said, markup=False, highlight=False, soft_wrap=True)
            return 2
        options = RecognizeOptions(granularity, custom_labels=labels, samples=references)
        if job is not None:
            options = replace(options, granularity=job.granularity, embed=job.embeddings)
            return batch.main(job, engine, config, options, errors)
        return _print(recordings, options, engine, config, as_json, errors)


def _print(
    recordings: list[Path],
    options: RecognizeOptions,
    engine: Engine,
    config: Config,
    as_json: bool,
    errors: Console,
) -> int:
    if not recordings:
        errors.print("No recordings there. Read are: " + " ".join(sorted(find.SUFFIXES)), highlight=False)
        return 2
    spec = engine.spec
    assert spec is not None
    failed = 0
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=errors, redirect_stdout=False) as progress:
        task = progress.add_task(f"scoring with {spec.name}", total=len(recordings))
        for path in recordings:
            result = _one(path, options, engine, config)
            failed += "error" in result
            line = _line(result, options.granularity, as_json)
            if sys.stdout.isatty():  # above the bar, which shares the terminal
                errors.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                print(line, flush=True)
            progress.advance(task)
    return 1 if failed else 0


def _one(path: Path, options: RecognizeOptions, engine: Engine, config: Config) -> JsonDict:
    try:
        return {"file": str(path), **find.recognize_file(path, engine, config, options).result()}
    except ClientError as refused:
        return {"file": str(path), "error": {"code": refused.code, "message": f"{path}: {refused.message}"}}


def _line(result: JsonDict, granularity: str, as_json: bool) -> str:
    if as_json or granularity == "frame":
        return wire.Json.dumps(result)
    if "error" in result:
        return f"{'—':10}       {result['error']['message']}"
    n = len(result["utterances"])
    return (
        f"{result['emotion']:10} {result['confidence']:4.0%}  {result['file']}"
        f"  ({result['duration_s']:.1f} s, {n} utterance{'' if n == 1 else 's'})"
        + ("" if result["verdict"] == "normal" else f"  {result['verdict']}")
    )
