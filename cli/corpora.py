"""`./run.sh corpora`: public corpora of labeled speech, and a manifest of those that somebody has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.options import say, tell
from evaluation.corpora import CORPORA, Corpus, CorpusCounts, write
from evaluation.corpora.corpus import NotThisCorpus
from evaluation.dataset import MANIFEST

SHOWN = 3  # offenders that are named


def show(only_commercial: bool) -> None:
    """Which there are."""
    table = Table(box=None, pad_edge=False)
    for head in ("name", "corpus", "language", "license", "commercial", "where"):
        table.add_column(head, overflow="fold")
    for name, corpus in CORPORA.items():
        if corpus.commercial or not only_commercial:
            may = "yes" if corpus.commercial else "no"
            table.add_row(name, corpus.title, corpus.language, corpus.license, may, corpus.source)
    Console().print(table)


def folders(given: Iterable[str], only_commercial: bool) -> dict[str, Path]:
    """`NAME=FOLDER`s. Raises typer.BadParameter."""
    found: dict[str, Path] = {}
    for one in given:
        name, equals, folder = one.partition("=")
        corpus: Corpus | None = CORPORA.get(name.strip().lower())
        if corpus is None or not equals or not folder:
            raise typer.BadParameter(f"{one}: give NAME=FOLDER, with a name of: {', '.join(CORPORA)}")
        if only_commercial and not corpus.commercial:
            raise typer.BadParameter(
                f"{one}: the license of {corpus.title}, {corpus.license}, does not let a model be sold"
            )
        found[name.strip().lower()] = Path(folder)
    return found


def add(given: Iterable[str], out: Path, only_commercial: bool) -> None:
    """Write the manifest, and tell what is in it. Ends with 2 where a folder is not what it is said to be."""
    asked = folders(given, only_commercial)
    columns = (
        TextColumn("{task.description}"),
        TextColumn("{task.completed} recordings"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            tasks = {name: progress.add_task(name, total=None) for name in asked}
            told = write(out, asked, lambda name, n: progress.advance(tasks[name], n))
    except (NotThisCorpus, OSError, ValueError) as wrong:
        say(str(wrong))
        raise typer.Exit(2) from None
    for name, one in told.items():
        tell(f"{name}: {_counts(one.splits)}; {_counts(one.labels)}")
        for line in _left_out(one):
            tell(f"  {line}")
    tell(f"Written: {out / MANIFEST}")


def train(data: Path, out: Path, licenses: str, work: Path, quick: bool) -> None:
    """Run the recipe. Ends with 2 where the data or what it needs is not there."""
    try:
        from training import train as recipe
    except ImportError as missing:
        say(f"training needs a checkout, and ./run.sh install torch export ({missing.name} is missing)")
        raise typer.Exit(2) from None
    given = ["--data", data, "--out", out, "--work", work, "--licenses", licenses]
    given += ["--versions", 1, "--steps", 8, "--lessons", 4] if quick else []
    try:
        recipe.main([str(one) for one in given])
    except (ValueError, OSError) as wrong:
        say(str(wrong))
        raise typer.Exit(2) from None


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def _left_out(told: CorpusCounts) -> list[str]:
    lines = [f"left out, no label of ours: {_counts(told.no_label)}"] if told.no_label else []
    for paths, why in ((told.strange, "not named as its recordings are"), (told.broken, "no audio in them")):
        if paths:
            first = ", ".join(path.name for path in paths[:SHOWN]) + (", …" if len(paths) > SHOWN else "")
            lines.append(f"left out, {why}: {len(paths)} ({first})")
    return lines
