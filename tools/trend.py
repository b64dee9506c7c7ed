"""Emotions over time: recordings counted by hour or day, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from server.language import Language
from stream.types import LABELS, Floats
from tools import pictures
from tools.folder import Record
from tools.output import table
from tools.words import emotion_name, t

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

By = Literal["hour", "day"]
When = Literal["scored", "recorded"]
# How matplotlib writes dates: years, months, days, hours, minutes, seconds; its own names are English.
DATES: dict[Language, dict[str, list[str]]] = {
    "en": {},
    "zh": {
        "formats": ["%Y年", "%m月", "%d日", "%H:%M", "%H:%M", "%S.%f"],
        "zero_formats": ["", "%Y年", "%m月", "%m月%d日", "%H:%M", "%H:%M"],
        "offset_formats": ["", "%Y年", "%Y年%m月", "%Y年%m月%d日", "%Y年%m月%d日", "%Y年%m月%d日 %H:%M"],
    },
}
WIDTH = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, eq=False)
class Bin:
    """One hour or day."""

    start: datetime  # in the zone that is drawn
    recordings: int  # in which somebody spoke
    silent: int  # in which nobody did: they are in none of the figures below
    shares: Floats  # (N_LABELS,) of recordings by emotion; NaN where nobody spoke
    scores: Floats  # (N_LABELS,) mean
    confidence: float  # mean


@dataclass(frozen=True, eq=False)
class Trend:
    by: By
    when: When
    zone: str  # in words
    bins: tuple[Bin, ...]  # in order; times without recordings have none
    untimed: int  # records that do not tell when
    language: Language = "en"


def trend(
    records: Sequence[Record],
    by: By,
    zone: tzinfo | None = None,
    when: When = "scored",
    language: Language = "en",
) -> Trend:
    """`zone` None: that of this machine. `language`: of its words, and of the picture's."""
    held: dict[float, tuple[datetime, list[Record]]] = {}
    offsets: dict[str, None] = {}
    untimed = 0
    for record in sorted(records, key=lambda r: r.scored):
        at = record.scored if when == "scored" else record.recorded
        if at is None:
            untimed += 1
            continue
        local = at.astimezone(zone)
        offsets[f"{local:%Z}"] = None
        start = local.replace(minute=0, second=0, microsecond=0)
        start = start.replace(hour=0, fold=0) if by == "day" else start
        # By its moment: in the night when clocks go back an hour comes twice, and is two.
        held.setdefault(start.timestamp(), (start, []))[1].append(record)
    bins = [_bin(*held[moment]) for moment in sorted(held)]
    return Trend(by, when, _words(zone, list(offsets), language), tuple(bins), untimed, language)


def csv(found: Trend) -> str:
    header = ["start", "recordings", "without_speech", "mean_confidence"]
    header += [f"share_{label}" for label in LABELS] + [f"mean_{label}" for label in LABELS]
    rows = []
    for one in found.bins:
        start = one.start.date() if found.by == "day" else one.start
        numbers = [
            "" if np.isnan(v) else round(float(v), 6) for v in (one.confidence, *one.shares, *one.scores)
        ]
        rows.append([start.isoformat(), one.recordings, one.silent, *numbers])
    return table(header, rows)


def draw(found: Trend, width: float = 10.5) -> Figure:
    """Shares as bars, scores as lines, and how many recordings are behind them. Raises pictures.Missing."""
    with pictures.fonts(found.language):
        return _draw(found, width)


def _draw(found: Trend, width: float) -> Figure:
    say = partial(t, found.language)
    figure, (shares, scores, counts) = pictures.sheet(width, 8.4, rows=3)
    figure.get_layout_engine().set(hspace=0.06)
    at = [one.start.replace(tzinfo=None) for one in found.bins]
    wide = WIDTH[found.by] * 0.86
    middle = [start + WIDTH[found.by] / 2 for start in at]
    spoken = np.array([one.recordings > 0 for one in found.bins], bool)
    rows = np.array([np.nan_to_num(one.shares) for one in found.bins]).reshape(-1, len(LABELS))
    means = np.array([one.scores for one in found.bins]).reshape(-1, len(LABELS))
    below = np.zeros(len(at))
    ever = [i for i in range(len(LABELS)) if rows[:, i].any() or np.nanmax(means[:, i], initial=0) >= 0.02]
    for i in ever:
        shares.bar(
            middle,
            rows[:, i],
            wide,
            below,
            color=pictures.of_emotions()[i],
            label=emotion_name(found.language, LABELS[i]),
        )
        below += rows[:, i]
        _lines(scores, middle, means[:, i], found.by, pictures.of_emotions()[i])
    sure = np.array([one.confidence for one in found.bins])
    _lines(scores, middle, sure, found.by, pictures.colors()["ink"], style=":")
    scores.plot([], [], ":", color=pictures.colors()["ink"], label=say("confidence"))
    counts.bar(middle, [one.recordings for one in found.bins], wide, color=pictures.colors()["accent"])
    silent = [one.silent for one in found.bins]
    if any(silent):
        tops = [one.recordings for one in found.bins]
        counts.bar(middle, silent, wide, tops, color=pictures.colors()["unknown"], label=say("silent"))
        pictures.legend(counts, loc="upper right")
    pictures.title(shares, say("trend.shares", by=say(f"by.{found.by}"), zone=found.zone))
    pictures.title(scores, say("trend.scores"))
    pictures.title(counts, say("recordings"))
    for ax in (shares, scores):
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    counts.yaxis.get_major_locator().set_params(integer=True)
    if ever:
        pictures.legend(shares, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    pictures.legend(scores, loc="upper left", bbox_to_anchor=(1, 1))
    _dates((shares, scores, counts), at, found)
    if not spoken.any():
        shares.text(
            0.5,
            0.5,
            say("nobody"),
            transform=shares.transAxes,
            ha="center",
            color=pictures.colors()["soft"],
        )
    return figure


def _lines(ax: Axes, at: list[datetime], values: Floats, by: By, color: str, style: str = "-") -> None:
    """A line that breaks where a bin is missing: nothing is known between."""
    start = 0
    for i in range(1, len(at) + 1):
        if i == len(at) or at[i] - at[i - 1] > WIDTH[by] * 1.5:
            ax.plot(at[start:i], values[start:i], style, color=color, linewidth=1.6, marker="o", markersize=3)
            start = i


def _dates(axes: Sequence[Axes], at: Sequence[datetime], found: Trend) -> None:
    from matplotlib import dates

    if not at:
        return
    step, by = WIDTH[found.by], found.by
    for ax in axes:
        ax.set_xlim(at[0] - step * 0.3, max(at[-1], at[0] + step * 5) + step * 1.3)
        locator = dates.AutoDateLocator(minticks=2, maxticks=9)
        if by == "day":
            locator.intervald[dates.HOURLY] = []
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, **DATES[found.language]))


def _bin(start: datetime, records: Sequence[Record]) -> Bin:
    spoken = [record for record in records if record.speech]
    nothing = np.full(len(LABELS), np.nan, np.float32)
    scores = np.array([record.scores for record in spoken], np.float32)
    counts = np.bincount([LABELS.index(record.emotion) for record in spoken], minlength=len(LABELS))
    return Bin(
        start=start,
        recordings=len(spoken),
        silent=len(records) - len(spoken),
        shares=(counts / len(spoken)).astype(np.float32) if spoken else nothing,
        scores=scores.mean(axis=0) if spoken else nothing,
        confidence=float(np.mean([record.confidence for record in spoken])) if spoken else float("nan"),
    )


def _words(zone: tzinfo | None, offsets: list[str], language: Language) -> str:
    """What to call the zone: its name, and what it was called at the times drawn."""
    called = "/".join(offsets)
    if zone is None:
        here = t(language, "here")
        return f"{here} ({called})" if called else here
    name = str(zone)
    return name if not called or called == name else f"{name} ({called})"
