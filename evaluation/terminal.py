"""What a person sees in the terminal: a bar while it runs, then one table."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from evaluation.about import About
from evaluation.intervals import Estimate
from evaluation.results import WHOLE, Results
from evaluation.wording import interval, mark, mean_mark, percentage


def bar(console: Console) -> Progress:
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=console, redirect_stdout=False)


def summary(results: Results, about: About) -> list[Table]:
    """UAR by condition, corpus and time; then what was called `unknown`. Eighty columns wide."""
    title = f"{about.model}: UAR among the corpus' labels, with 95 % intervals; calibration error of all nine"
    uar = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    uar.add_column("")
    for time in (WHOLE, *about.times):
        uar.add_column("whole" if time == WHOLE else f"live {time} s", justify="right", no_wrap=True)
    uar.add_column("ECE", justify="right", no_wrap=True)
    for condition in about.conditions:
        panels = [results.panels[condition, time] for time in (WHOLE, *about.times)]
        uar.add_row(f"[bold]{condition}[/]")
        for corpus in panels[0].restricted:
            flag = mark(results, corpus)
            cells = [cell(panel.restricted[corpus].estimate("uar"), flag) for panel in panels]
            uar.add_row(f"  {escape(corpus)}", *cells, cell(panels[0].nine[corpus].estimate("ece"), flag))
        if panels[0].mean_restricted and panels[0].mean_nine and len(panels[0].restricted) > 1:
            flag = mean_mark(results)
            cells = [cell(p.mean_restricted.estimate("uar"), flag) for p in panels if p.mean_restricted]
            uar.add_row("  mean", *cells, cell(panels[0].mean_nine.estimate("ece"), flag), style="bold")
    title = "Called `unknown`, of what the gate let through"
    unknown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("condition", "without speech", "of clips", "speech", "of clips"):
        unknown.add_column(name, justify="left" if name == "condition" else "right")
    for condition, check in results.unknown.items():
        unknown.add_row(
            condition,
            percentage(check.found) if check.found else "–",
            f"{check.noise_heard}/{check.noise}",
            percentage(check.false) if check.false else "–",
            f"{check.speech_heard}/{check.speech}",
        )
    return ([uar] if results.emotional else []) + [unknown]


def cell(estimate: Estimate, flag: str) -> str:
    """The interval below its figure: narrow terminals have room for that."""
    return interval(estimate, flag).replace(" (", "\n").replace(")", "")
