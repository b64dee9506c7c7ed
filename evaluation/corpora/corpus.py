"""What is known of a public corpus of labeled speech, and what is found in one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


class NotThisCorpus(Exception):
    """A folder that does not hold the corpus it is said to hold; the text says what is missing."""


@dataclass(frozen=True)
class FoundRecording:
    """One recording, told in the words of its corpus."""

    path: Path
    speaker: str  # within the corpus; empty: not told
    emotion: str  # where it is no key of `Corpus.labels`, it has no label of ours
    gender: str = ""  # f, m, or empty
    split: str = ""  # train, val or test, where the corpus has splits of its own
    language: str = ""  # where the corpus has several


Find = Callable[
    [Path], Iterator[FoundRecording | Path]
]  # a folder → what is in it; a Path: a file that it cannot place


@dataclass(frozen=True)
class Corpus:
    """A corpus as published. `find` raises NotThisCorpus."""

    title: str
    language: str  # BCP 47
    license: str
    source: str  # where it is described and had from
    labels: dict[str, str]  # its words → our labels; recordings of others are left out
    find: Find

    @property
    def commercial(self) -> bool:
        """Whether a model that was trained on it may be sold."""
        return commercial(self.license)


# Without spaces and hyphens, in capitals.
_FREE = ("CC0", "CCBY", "ODBL", "MIT", "APACHE", "BSD", "PUBLICDOMAIN")


def commercial(license_name: str) -> bool:
    """Whether a license of this name lets a model be sold that was trained on what is under it.

    Not where nothing is stated, and not those of Creative Commons with NC (no profit) or ND: weights are made from
    the recordings and are no copies of them.
    """
    name = re.sub(r"[\s_-]", "", license_name.upper())
    return name.startswith(_FREE) and not (name.startswith("CC") and re.search("N[CD]", name))


def gender_of(word: str) -> str:
    """`f` or `m`, of F, female, w, woman, Male …; empty where it is neither."""
    return {"f": "f", "w": "f", "m": "m"}.get(word.strip().lower()[:1], "")
