"""`./run.sh analyze`: files and folders → one result per line."""

from __future__ import annotations

import sys
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

from server import files, wire
from server.config import Config
from stream.models.registry import load_model
from stream.types import EmotionModel, JsonDict


def main(paths: list[Path], granularity: str, config: Config, as_json: bool) -> int:
    """Print a result per file; the exit status: 0, 1 when a file could not be read, 2 when nothing could start."""
    errors = Console(stderr=True)
    try:
        recordings = files.find(paths)
        model = _load(config)
    except (ValueError, OSError, ImportError) as wrong:
        errors.print(str(wrong), markup=False, highlight=False, soft_wrap=True)
        return 2
    if not recordings:
        errors.print("No recordings there. Read are: " + " ".join(sorted(files.SUFFIXES)), highlight=False)
        return 2
    failed = 0
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=errors, redirect_stdout=False) as progress:
        task = progress.add_task(f"scoring with {model.spec.name}", total=len(recordings))
        for path in recordings:
            result = _one(path, granularity, model, config)
            failed += "error" in result
            line = _line(result, granularity, as_json)
            if sys.stdout.isatty():  # above the bar, which shares the terminal
                errors.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                print(line, flush=True)
            progress.advance(task)
    return 1 if failed else 0


def _one(path: Path, granularity: str, model: EmotionModel, config: Config) -> JsonDict:
    try:
        found = files.analyze(path, model, config.stream_config(model.spec), granularity)
    except files.UnreadableFile as broken:
        return {"file": str(path), "error": {"code": "BAD_AUDIO", "message": str(broken)}}
    return {"file": str(path), **found.result(granularity)}


def _line(result: JsonDict, granularity: str, as_json: bool) -> str:
    if as_json or granularity == "frame":
        return wire.Json.dumps(result)
    if "error" in result:
        return f"{'—':10}       {result['error']['message']}"
    n = len(result["utterances"])
    return (
        f"{result['emotion']:10} {result['confidence']:4.0%}  {result['file']}"
        f"  ({result['duration_s']:.1f} s, {n} utterance{'' if n == 1 else 's'})"
    )


def _load(config: Config) -> EmotionModel:
    if config.model.name != "fake":
        import torch

        torch.set_num_threads(config.engine.threads)
    return load_model(config.model.name, config.model.device, config.model.options)
