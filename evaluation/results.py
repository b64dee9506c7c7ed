"""What was heard → what it is worth: figures per condition, time and corpus, the check on `unknown`, life.

Two ways to count. *Restricted*: the scores renormalized over the labels that the corpus has, the way figures of
the literature are made; a clip about which nothing was said is a wrong answer, so that a gate which drops hard
clips cannot raise a figure. *Nine-way*: what the product says, `unknown` where nothing was said, as it says of a
recording without speech. Means are over the corpora that have at least two labels.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation import life
from evaluation.conditions import UNKNOWN
from evaluation.dataset import Clip
from evaluation.intervals import Assessment, Drawn, Estimate, Voices, assess, draw, join, mean, share, voices
from evaluation.life import Life
from evaluation.listen import Heard
from evaluation.metrics import Numbers, restrict, tabulate
from stream.types import N_LABELS, Floats

WHOLE = "whole"
AIM_FOUND, AIM_FALSE = 0.90, 0.02  # of noise found to be `unknown`; of speech called so

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Readings:
    """What was said of clips in one condition at one time: probs (n_clips, N_LABELS), NaN rows: nothing.

    `ongoing` (n_clips,): whether the speech still went on at that time.
    """

    probs: Floats
    ongoing: Flags
    speech_frames: npt.NDArray[np.int64]
    alerts: tuple[tuple[int, ...], ...]  # the labels of those that were raised in all of the clip


@dataclass(frozen=True, eq=False)
class Panel:
    """Figures of one condition at one time. `mean` is None where no corpus has two labels."""

    restricted: dict[str, Assessment]  # by corpus, of those with two labels or more
    nine: dict[str, Assessment]  # by corpus
    mean_restricted: Assessment | None
    mean_nine: Assessment | None
    pooled: Assessment  # nine-way, all clips
    ongoing: dict[str, float]  # by corpus: share of clips whose speech still went on


@dataclass(frozen=True, eq=False)
class UnknownCheck:
    """Clips labeled `unknown`, and speech called `unknown`, whole and nine-way, in one condition."""

    noise: int
    noise_heard: int  # those that the gate let through
    found: Estimate | None  # of those let through
    found_of_all: Estimate | None  # silence about noise counts as found, as in the product
    speech: int
    speech_heard: int
    false: Estimate | None  # of those let through
    false_of_all: Estimate | None


@dataclass(frozen=True, eq=False)
class Results:
    clips: list[Clip]
    corpora: tuple[str, ...]
    labels: Mapping[str, tuple[int, ...]]
    who: dict[str, Voices]  # by corpus
    answers: dict[tuple[str, str], Readings]  # by condition and time
    panels: dict[tuple[str, str], Panel]
    unknown: dict[str, UnknownCheck]  # by condition
    life: dict[str, Life]  # by condition

    @property
    def emotional(self) -> list[str]:
        """Corpora with two labels or more: the others have nothing to be told apart."""
        return [corpus for corpus in self.corpora if len(self.labels[corpus]) > 1]

    def rows(self, corpus: str) -> list[int]:
        return [i for i, clip in enumerate(self.clips) if clip.corpus == corpus]

    def silent(self, condition: str, corpus: str) -> int:
        """Clips in which the gate found no speech."""
        return int(np.isnan(self.answers[condition, WHOLE].probs[self.rows(corpus), 0]).sum())


def gather(heard: Sequence[Heard], times: Sequence[str]) -> dict[str, Readings]:
    """What was heard of all clips in one condition, by time: `whole`, then `times`."""
    nothing = np.full(N_LABELS, np.nan, np.float32)

    def answers(said: list[Floats | None], ongoing: list[bool]) -> Readings:
        rows = np.stack([nothing if row is None else row for row in said])
        frames = np.array([one.speech_frames for one in heard])
        return Readings(rows, np.array(ongoing), frames, tuple(one.alerts for one in heard))

    found = {WHOLE: answers([one.whole for one in heard], [one.whole is not None for one in heard])}
    for at, time in enumerate(times):
        found[time] = answers([one.live[at] for one in heard], [one.ongoing[at] for one in heard])
    return found


def judge(
    clips: list[Clip],
    labels: Mapping[str, tuple[int, ...]],
    answers: dict[tuple[str, str], Readings],
    seed: int,
) -> Results:
    """All figures of `answers` about `clips`, whose corpora have `labels`."""
    corpora = tuple(dict.fromkeys(clip.corpus for clip in clips))
    who = {c: voices([clip.speaker for clip in clips if clip.corpus == c]) for c in corpora}
    mine = {c: np.array([i for i, clip in enumerate(clips) if clip.corpus == c]) for c in corpora}
    # One corpus is drawn alike in every condition: what differs is then the condition.
    seeds = {c: zlib.crc32(f"{seed}/{c}".encode()) for c in corpora}
    truth = np.array([clip.label for clip in clips])

    def drawn(rows: Numbers, corpus: str) -> Drawn:
        return draw(rows, who[corpus], seeds[corpus])

    panels = {}
    for key, said in answers.items():
        full = told(said.probs)
        nine = {c: assess(drawn(tabulate(truth[i], full[i]), c)) for c, i in mine.items()}
        restricted = {
            c: assess(drawn(tabulate(truth[i], restrict(said.probs[i], labels[c])), c))
            for c, i in mine.items()
            if len(labels[c]) > 1
        }
        tables = tabulate(truth, full)
        panels[key] = Panel(
            restricted=restricted,
            nine=nine,
            mean_restricted=mean(list(restricted.values())) if restricted else None,
            mean_nine=mean([nine[c] for c in restricted]) if restricted else None,
            pooled=assess(join([drawn(tables[i], c) for c, i in mine.items()])),
            ongoing={c: float(said.ongoing[i].mean()) for c, i in mine.items()},
        )

    def rate(hits: Flags, chosen: Flags) -> Estimate | None:
        rows = np.stack([hits & chosen, chosen], axis=1).astype(np.float64)
        return share(join([drawn(rows[i], c) for c, i in mine.items()])) if chosen.any() else None

    unknown = {
        condition: check_unknown(truth == UNKNOWN, said.probs, rate)
        for (condition, time), said in answers.items()
        if time == WHOLE
    }
    emotional = [c for c in corpora if len(labels[c]) > 1]
    of_clips = [clip.corpus for clip in clips]
    lives = {
        condition: life.judge(
            life.ToJudge(of_clips, truth, said.probs, said.speech_frames, said.alerts), who, seeds, emotional
        )
        for (condition, time), said in answers.items()
        if time == WHOLE
    }
    return Results(clips, corpora, labels, who, answers, panels, unknown, lives)


def check_unknown(
    noise: Flags, probs: Floats, rate: Callable[[Flags, Flags], Estimate | None]
) -> UnknownCheck:
    """Of clips that are `noise` (n,) and `probs` (n, N_LABELS; rows of NaN: no speech found).

    `rate(hits, chosen)`: the share of hits among the chosen, with its interval.
    """
    heard = ~np.isnan(probs[:, 0])
    called = told(probs).argmax(axis=1) == UNKNOWN
    return UnknownCheck(
        noise=int(noise.sum()),
        noise_heard=int((noise & heard).sum()),
        found=rate(called, noise & heard),
        found_of_all=rate(called, noise),
        speech=int((~noise).sum()),
        speech_heard=int((~noise & heard).sum()),
        false=rate(called, ~noise & heard),
        false_of_all=rate(called, ~noise),
    )


def told(probs: Floats) -> Floats:
    """probs (n, N_LABELS) with `unknown` for certain where nothing was said (rows of NaN)."""
    silence = np.eye(N_LABELS, dtype=np.float32)[UNKNOWN]
    result: Floats = np.where(np.isnan(probs[:, :1]), silence, probs)
    return result
