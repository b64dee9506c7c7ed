"""How far a figure would move had other people been recorded: 95 % intervals by a bootstrap over speakers.

Clips of one speaker resemble each other, so whole speakers are drawn, with replacement (the cluster bootstrap:
Davison and Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8; Field and Welsh, 2007). A clip
without a named speaker stands for itself. Percentile intervals, `DRAWS` draws, seeded.

Each corpus is drawn by itself: its share of the clips is no matter of chance.

Three departures, said in the report. With fewer than FEW speakers that interval is too narrow, at two of them
absurdly so: it is then widened to hold the interval over clips too. A share of none or all is the same in every
draw, which proves nothing: it gets the exact binomial bound over clips (Clopper and Pearson, 1934). And the error
of calibration is never negative, hence biased upwards, in each draw more than in the data: its draws are moved so
that their mean is the figure itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from evaluation.metrics import Integers, Numbers, confusion, figures

DRAWS = 1000
FEW = 10  # speakers
LEVEL = (2.5, 97.5)  # percentiles
BIASED = ("ece", "ece_mass")

Figures = dict[str, Numbers]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure and its interval; arrays () or, for recalls, (N_LABELS,). NaN: not known."""

    value: Numbers
    low: Numbers
    high: Numbers


@dataclass(frozen=True, eq=False)
class Voices:
    """Which clips belong together."""

    group: Integers  # (n_clips,): 0 to n_groups - 1, in the order of appearance
    n_speakers: int  # named ones
    n_unnamed: int  # clips without a name

    @property
    def over_clips(self) -> bool:
        """Whether there are no speakers to draw from."""
        return self.n_speakers < 2

    @property
    def few(self) -> bool:
        """Whether the interval over speakers alone would be too narrow."""
        return not self.over_clips and int(self.group.max()) + 1 < FEW


@dataclass(frozen=True, eq=False)
class Drawn:
    """Sums over clips: of what was measured, and of every draw; over speakers and, where they are few, clips."""

    total: Numbers  # (k,)
    draws: tuple[Numbers, ...]  # one or two of (DRAWS, k)


@dataclass(frozen=True, eq=False)
class Assessment:
    """Figures of some clips, and what they are in every draw."""

    table: Numbers  # (SIZE,)
    figures: Figures  # () and (N_LABELS,)
    draws: tuple[Figures, ...]  # (DRAWS,) and (DRAWS, N_LABELS)

    def estimate(self, name: str) -> Estimate:
        found = hull(self.figures[name], [draws[name] for draws in self.draws], centered=name in BIASED)
        clips = confusion(self.table).sum(axis=-1)
        if name == "recall":
            return doubt(found, clips)
        return doubt(found, clips.sum()) if name in ("uar", "wa") else found


def voices(speakers: Sequence[str]) -> Voices:
    """`speakers` (n_clips): a name, unique among all corpora, or nothing."""
    named = set(speakers) - {""}
    alone = len(named) < 2
    keys = [f"clip {i}" if alone or not name else f"of {name}" for i, name in enumerate(speakers)]
    order = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    group = np.array([order[key] for key in keys], np.int64)
    return Voices(group, len(named), sum(not name for name in speakers))


def draw(rows: Numbers, who: Voices, seed: int) -> Drawn:
    """rows (n_clips, k), what each clip adds to the sums."""
    groups = np.zeros((int(who.group.max()) + 1, rows.shape[1]))
    np.add.at(groups, who.group, rows)
    schemes = [groups, rows] if who.few else [groups]
    return Drawn(rows.sum(axis=0), tuple(times_drawn(len(part), seed) @ part for part in schemes))


def join(parts: Sequence[Drawn]) -> Drawn:
    """All clips of several corpora."""
    n = max(len(part.draws) for part in parts)
    return Drawn(
        np.sum([part.total for part in parts], axis=0),
        tuple(np.sum([part.draws[min(i, len(part.draws) - 1)] for part in parts], axis=0) for i in range(n)),
    )


def assess(drawn: Drawn) -> Assessment:
    """Of tables (`metrics.tabulate`), one row per clip."""
    return Assessment(drawn.total, figures(drawn.total), tuple(figures(rows) for rows in drawn.draws))


def mean(parts: Sequence[Assessment]) -> Assessment:
    """The mean over corpora: one counts as much as another, however many clips it has. Without recalls."""
    n = max(len(part.draws) for part in parts)
    names = [name for name in parts[0].figures if name != "recall"]

    def average(each: Sequence[Figures]) -> Figures:
        return {name: np.mean([one[name] for one in each], axis=0) for name in names}

    return Assessment(
        table=np.sum([part.table for part in parts], axis=0),
        figures=average([part.figures for part in parts]),
        draws=tuple(average([part.draws[min(i, len(part.draws) - 1)] for part in parts]) for i in range(n)),
    )


def share(drawn: Drawn) -> Estimate:
    """The share of hits; drawn are rows of (hit, 1)."""
    hits, clips = drawn.total
    with np.errstate(invalid="ignore"):
        found = hull(np.asarray(hits / clips), [rows[:, 0] / rows[:, 1] for rows in drawn.draws])
    return doubt(found, np.asarray(clips))


@lru_cache(maxsize=32)
def times_drawn(n: int, seed: int) -> Numbers:
    """How often each of n is drawn: (DRAWS, n), rows sum to n."""
    return np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), DRAWS).astype(np.float64)


def hull(value: Numbers, draws: Sequence[Numbers], centered: bool = False) -> Estimate:
    """The interval that holds the percentile intervals of all `draws` (DRAWS, …)."""
    ends = []
    for drawn in draws:
        known = np.where(np.isnan(drawn).all(axis=0), 0.0, drawn)
        shift = np.nan_to_num(value) - np.nanmean(known, axis=0) if centered else 0.0
        ends.append(np.maximum(np.nanpercentile(known, LEVEL, axis=0) + shift, 0))
    low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
    unknown = np.isnan(value)
    return Estimate(value, np.where(unknown, np.nan, low), np.where(unknown, np.nan, high))


def doubt(estimate: Estimate, n: Numbers) -> Estimate:
    """Shares of `n` clips; those of none or all of them get the exact bound on their open side."""
    bound = 1 - ((1 - LEVEL[1] / 100) ** (1 / np.maximum(n, 1)))
    value = estimate.value
    return Estimate(
        value,
        low=np.where(value == 1, np.minimum(estimate.low, 1 - bound), estimate.low),
        high=np.where(value == 0, np.maximum(estimate.high, bound), estimate.high),
    )
