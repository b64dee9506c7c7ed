"""Figures of merit. Labels and probabilities in, numbers out; numpy only.

Everything here is a function of *tables*: what each clip adds to a confusion matrix and to bins of confidence.
Tables add up, so a bootstrap draw is a weighted sum of rows, and a thousand draws are one matrix product
(`evaluation.intervals`). `figures` takes tables with any leading axes.

UAR, the mean of the labels' recalls, is the figure of the speech-emotion literature since the 2009 Interspeech
challenge (Schuller et al.): one answer for everything has 1 / (number of labels), however uneven these are.
Calibration error: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with 15 bins of one width;
and with 15 bins of one mass (Nguyen and O'Connor, EMNLP 2015), which leave no bin nearly empty.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.types import N_LABELS, Floats

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

N_BINS = 15
NOTHING = N_LABELS  # the column of the confusion matrix for clips without an answer
_CONFUSION = N_LABELS * (N_LABELS + 1)
_BINS = 3 * N_BINS  # per bin: clips, sum of confidence, right answers
SIZE = _CONFUSION + 2 * _BINS + 1  # of a row; last: sum of squared errors


def restrict(probs: Floats, allowed: tuple[int, ...]) -> Floats:
    """probs (n, N_LABELS) renormalized over the labels `allowed`, the others 0.

    NaN rows (no answer) stay NaN, and so do become rows that give none of those labels a chance.
    """
    kept = np.zeros_like(probs)
    kept[:, list(allowed)] = probs[:, list(allowed)]
    with np.errstate(invalid="ignore"):
        shares = kept / kept.sum(axis=1, keepdims=True)
    shares[np.isnan(probs[:, 0])] = np.nan
    return np.asarray(shares, np.float32)


def said(probs: Floats) -> Integers:
    """The likeliest label of each row (n, N_LABELS); NOTHING for rows of NaN."""
    best: Integers = np.where(np.isnan(probs[:, 0]), NOTHING, np.nan_to_num(probs).argmax(axis=1))
    return best


def tabulate(truth: Integers, probs: Floats) -> Numbers:
    """Tables (n, SIZE), a row per clip, of labels `truth` (n,) and `probs` (n, N_LABELS).

    A row of NaN in `probs` is a clip without an answer: a wrong one in the confusion matrix, and none to the
    figures about confidence. Bins of one mass are made for these clips: add up only rows of one call.
    """
    answers = said(probs)
    tables = np.zeros((len(truth), SIZE))
    tables[np.arange(len(truth)), truth * (N_LABELS + 1) + answers] = 1
    spoke = np.flatnonzero(answers != NOTHING)
    if not len(spoke):
        return tables
    sure = probs[spoke].max(axis=1).astype(np.float64)
    right = answers[spoke] == truth[spoke]
    for at, edges in ((_CONFUSION, even_edges()), (_CONFUSION + _BINS, np.quantile(sure, even_edges()))):
        which = at + 3 * np.searchsorted(edges[1:-1], sure, side="left")
        for column, value in enumerate((1.0, sure, right)):
            tables[spoke, which + column] = value
    tables[spoke, -1] = np.square(probs[spoke] - np.eye(N_LABELS)[truth[spoke]]).sum(axis=1)
    return tables


def figures(tables: Numbers) -> dict[str, Numbers]:
    """Figures (…) of tables (…, SIZE); `recall` is (…, N_LABELS), NaN for labels without a clip.

    `uar` and `macro_f1` are means over the labels that have clips; `wa`, weighted accuracy, is the share of clips
    that were answered rightly; `brier` is the mean squared distance between scores and truth, 0 to 2.
    """
    matrix = confusion(tables)
    right = np.diagonal(matrix[..., :N_LABELS], axis1=-2, axis2=-1)
    clips, called = matrix.sum(axis=-1), matrix[..., :N_LABELS].sum(axis=-2)
    spoke = bins(tables)[..., 0].sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / clips
        f1 = np.where(clips > 0, 2 * right / (clips + called), np.nan)
        return {
            "uar": _mean_of_known(recall),
            "wa": right.sum(axis=-1) / clips.sum(axis=-1),
            "macro_f1": _mean_of_known(f1),
            "ece": _calibration_error(bins(tables)),
            "ece_mass": _calibration_error(bins(tables, mass=True)),
            "brier": tables[..., -1] / spoke,
            "recall": recall,
        }


def confusion(tables: Numbers) -> Numbers:
    """Clips by truth and answer (…, N_LABELS, N_LABELS + 1); the last column: no answer."""
    return tables[..., :_CONFUSION].reshape(*tables.shape[:-1], N_LABELS, N_LABELS + 1)


def bins(tables: Numbers, mass: bool = False) -> Numbers:
    """Per bin of confidence: clips, sum of confidence, right answers (…, N_BINS, 3)."""
    at = _CONFUSION + (_BINS if mass else 0)
    return tables[..., at : at + _BINS].reshape(*tables.shape[:-1], N_BINS, 3)


def even_edges() -> Numbers:
    """Of bins of one width, each open below and closed above (N_BINS + 1,)."""
    return np.linspace(0, 1, N_BINS + 1)


def _mean_of_known(values: Numbers) -> Numbers:
    """Mean over the last axis without its NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Numbers = np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
    return mean


def _calibration_error(bins: Numbers) -> Numbers:
    """Mean distance between confidence and accuracy, bins weighing as many clips as they hold."""
    gap = np.abs(bins[..., 1] - bins[..., 2]).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        error: Numbers = gap / bins[..., 0].sum(axis=-1)
    return error
