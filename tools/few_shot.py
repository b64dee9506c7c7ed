"""Teaching from few examples: embeddings with a user's own labels → a classifier, and how good it will be.

Standardized embeddings, multinomial logistic regression with an L2 penalty, every label weighing the same. The
figure is cross-validated: no clip is judged by a classifier that has heard it, and the strength of the penalty is
chosen anew inside every fold. Where clips come from several sub-folders per label (speakers, days, calls), a
sub-folder is never on both sides.

The interval holds two doubts. Few clips: each label's recall could be as Jeffreys' posterior says, given how many
of its clips were found, a clip counting for 0.7, since folds share what they learn from (Nadeau and Bengio,
*Inference for the Generalization Error*, 2003). Few sub-folders: clips of one voice succeed and fail together, so
whole sub-folders are drawn with replacement too, and the wider of the two counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from stream.types import Floats, JsonDict
from tools import pictures
from tools.threads import one_thread

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FEWEST = 3  # clips per label
FEW = 10  # clips per label: below, the interval says little
FOLDS, REPEATS = 5, 4
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of scikit-learn; small: strongly regularized
DRAWS = 4000
LEVEL = (2.5, 97.5)


class BadExamples(ValueError):
    """Examples that nothing can be learned from; the text says why and what to do."""


@dataclass(frozen=True, eq=False)
class Examples:
    rows: Floats  # (n, size)
    labels: Integers  # (n,): indices into `names`
    names: tuple[str, ...]
    groups: Integers | None  # (n,): sub-folders; None: there are none to keep apart


@dataclass(frozen=True, eq=False)
class Classifier:
    """A classifier of embeddings: softmax(weights @ ((x - mean) / scale) + bias)."""

    mean: Floats  # (size,)
    scale: Floats  # (size,)
    weights: Floats  # (n_labels, size)
    bias: Floats  # (n_labels,)
    penalty: float

    def probs(self, rows: Floats) -> Numbers:
        """(n, n_labels)"""
        logits = ((rows - self.mean) / self.scale) @ self.weights.T.astype(np.float64) + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What cross-validation found."""

    names: tuple[str, ...]
    confusion: Numbers  # (n_labels, n_labels): clips by label and answer, the mean over repeats
    uar: float
    low: float
    high: float
    accuracy: float
    grouped: bool  # sub-folders were kept apart

    @property
    def clips(self) -> Integers:
        """Of each label (n_labels,)."""
        clips: Integers = np.rint(self.confusion.sum(axis=1)).astype(np.int64)
        return clips

    @property
    def chance(self) -> float:
        return 1 / len(self.names)

    @property
    def better_than_chance(self) -> bool:
        return self.low > self.chance

    def to_json(self) -> JsonDict:
        recall = np.diagonal(self.confusion) / self.clips
        return {
            "uar": round(self.uar, 4),
            "uar_interval_95": [round(self.low, 4), round(self.high, 4)],
            "chance": round(self.chance, 4),
            "better_than_chance": self.better_than_chance,
            "accuracy": round(self.accuracy, 4),
            "recall": {name: round(float(r), 4) for name, r in zip(self.names, recall, strict=True)},
            "clips": {name: n for name, n in zip(self.names, self.clips.tolist(), strict=True)},
            "confusion": self.confusion.round(2).tolist(),
            "folds_keep_sub_folders_together": self.grouped,
        }


def check(examples: Examples) -> None:
    """Raises BadExamples."""
    names = examples.names
    if len(names) < 2:
        raise BadExamples("Two labels or more are needed: a folder with a sub-folder of recordings for each")
    counts = np.bincount(examples.labels, minlength=len(names))
    few = [f"{name} {n}" for name, n in zip(names, counts, strict=True) if n < FEWEST]
    if few:
        raise BadExamples(
            f"Every label needs {FEWEST} clips or more, better {FEW} to 20; too few: {', '.join(few)}"
        )


def groups_of(labels: Sequence[int], folders: Sequence[str]) -> Integers | None:
    """Numbers of sub-folders, when every label has clips from two or more; else None."""
    per: dict[int, set[str]] = {}
    for label, folder in zip(labels, folders, strict=True):
        per.setdefault(label, set()).add(folder)
    if any(len(held) < 2 for held in per.values()):
        return None
    order = {name: at for at, name in enumerate(dict.fromkeys(folders))}
    return np.array([order[folder] for folder in folders], np.int64)


def fit(examples: Examples, seed: int = 0) -> Classifier:
    """From all examples, with the penalty that cross-validates best among them."""
    check(examples)
    with _quiet():
        return _fit(examples, _penalty(examples, seed))


def cross_validate(examples: Examples, seed: int = 0) -> CrossValidation:
    """How the classifier of `fit` will do on clips it has not heard, as far as these can tell."""
    check(examples)
    n, k = len(examples.labels), len(examples.names)
    answers = np.zeros((n, k))  # how often each clip was given each label, as a share of the repeats
    with _quiet():
        for repeat in range(REPEATS):
            for train, test in _folds(examples, FOLDS, seed + repeat):
                part = _take(examples, train)
                classifier = _fit(part, _penalty(part, seed + repeat))
                answers[test, classifier.probs(examples.rows[test]).argmax(axis=1)] += 1 / REPEATS
    confusion = np.stack([answers[examples.labels == label].sum(axis=0) for label in range(k)])
    recall = np.diagonal(confusion) / confusion.sum(axis=1)
    low, high = _interval(examples, answers, confusion, seed)
    return CrossValidation(
        names=examples.names,
        confusion=confusion,
        uar=float(recall.mean()),
        low=min(low, float(recall.mean())),
        high=max(high, float(recall.mean())),
        accuracy=float(np.trace(confusion) / n),
        grouped=examples.groups is not None,
    )


def _interval(examples: Examples, answers: Numbers, confusion: Numbers, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    found, clips = np.diagonal(confusion), confusion.sum(axis=1)
    worth = 1 / (1 / REPEATS + FOLDS / (FOLDS - 1))
    sure, unsure = worth * found + 0.5, worth * (clips - found) + 0.5
    draws = rng.beta(sure, unsure, size=(DRAWS, len(found))).mean(axis=1)
    ends = [np.percentile(draws, LEVEL)]
    if examples.groups is not None:
        n_groups, k = int(examples.groups.max()) + 1, len(examples.names)
        hits, held = np.zeros((n_groups, k)), np.zeros((n_groups, k))
        right = answers[np.arange(len(answers)), examples.labels]
        np.add.at(hits, (examples.groups, examples.labels), right)
        np.add.at(held, (examples.groups, examples.labels), 1)
        times = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), DRAWS).astype(np.float64)
        with np.errstate(invalid="ignore"):
            ends.append(np.percentile(np.nanmean((times @ hits) / (times @ held), axis=1), LEVEL))
    low, high = np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]
    return float(low), float(high)


def _folds(examples: Examples, n: int, seed: int) -> list[tuple[Integers, Integers]]:
    """Stratified; with groups, a group is on one side only. Every training side has every label."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels, groups = examples.labels, examples.groups
    if groups is None:
        n = min(n, int(np.bincount(labels).min()))
        splitter = StratifiedKFold(n, shuffle=True, random_state=seed)
    else:
        n = min(n, *(len(set(groups[labels == label].tolist())) for label in range(len(examples.names))))
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    if n < 2:
        return []
    pairs = [(train, test) for train, test in splitter.split(examples.rows, labels, groups) if len(test)]
    return [pair for pair in pairs if len(set(labels[pair[0]].tolist())) == len(examples.names)]


def _penalty(examples: Examples, seed: int) -> float:
    """The penalty under which clips that were left out are least surprising; the strongest of equals."""
    folds = _folds(examples, 3, seed)
    if not folds:
        return PENALTIES[len(PENALTIES) // 2]
    losses = []
    for penalty in PENALTIES:
        loss = 0.0
        for train, test in folds:
            probs = _fit(_take(examples, train), penalty).probs(examples.rows[test])
            loss -= float(np.log(probs[np.arange(len(test)), examples.labels[test]] + 1e-9).sum())
        losses.append(loss)
    return PENALTIES[int(np.argmin(losses))]


def _fit(examples: Examples, penalty: float) -> Classifier:
    """In the space that the examples span: exact under an L2 penalty, and far smaller than the embedding's."""
    from sklearn.linear_model import LogisticRegression

    rows = examples.rows.astype(np.float64)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[scale < 1e-6] = 1.0
    spread = (rows - mean) / scale
    _, lengths, axes = np.linalg.svd(spread, full_matrices=False)
    axes = axes[lengths > 1e-9 * max(lengths[0], 1e-9)]
    model = LogisticRegression(C=penalty, class_weight="balanced", solver="newton-cholesky")
    model.fit(spread @ axes.T, examples.labels)
    weights, bias = model.coef_ @ axes, model.intercept_
    if len(weights) == 1:  # two labels: one row tells them apart
        weights, bias = np.vstack([-weights, weights]) / 2, np.array([-bias[0], bias[0]]) / 2
    return Classifier(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        weights=np.asarray(weights, np.float32),
        bias=np.asarray(bias, np.float32),
        penalty=penalty,
    )


def _take(examples: Examples, which: Integers) -> Examples:
    groups = None if examples.groups is None else examples.groups[which]
    return Examples(examples.rows[which], examples.labels[which], examples.names, groups)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without scikit-learn's remarks on folds, on one thread. Raises pictures.Missing."""
    if find_spec("sklearn") is None:
        raise pictures.missing("Teaching", "scikit-learn")
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore", UserWarning)
        yield
