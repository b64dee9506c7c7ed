"""The records of one model that have an embedding, and these as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from stream.types import Floats
from tools.folder import Record
from tools.items import EMBEDDING, Broken, Item
from tools.matrix import Line, Progress, matrices, quiet

BLOCK = 4096  # rows that are looked at together: 13 MB of them


class Records(Sequence[Record]):
    """Records as they are asked for: a hundred thousand of them would take more memory than their embeddings."""

    def __init__(self, held: Sequence[tuple[Item, Line]]) -> None:
        self._held = held

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> Records: ...
    def __getitem__(self, at: int | slice) -> Record | Records:
        if isinstance(at, slice):
            return Records(self._held[at])
        item, line = self._held[at]
        return line.record(item)

    def find(self, folder: Path) -> int | None:
        """Which of them lies in `folder`, a resolved path."""
        for at, (item, _) in enumerate(self._held):
            if item.home.endswith(folder.name) and item.folder.resolve() == folder:
                return at
        return None


@dataclass(frozen=True, eq=False)
class Vectors:
    records: Records
    rows: Floats  # (n, size), memory-mapped: to be looked at in `blocks`
    model: str
    without: int  # records that have none
    broken: tuple[Broken, ...]


def vectors(top: Path, model: str | None = None, progress: Progress = quiet) -> Vectors:
    """Those of one model below `top`. Raises ValueError when there are none, or of several models, and OSError."""
    found = matrices(top, progress)
    broken = [*found.broken, *(one for line in found.lines for one in line.broken)]
    models = {line.model for line in found.lines if line.model}
    if not models:
        first = f"; the first that could not be read, {broken[0].name}: {broken[0].why}" if broken else ""
        raise ValueError(f"{top}: no results there (result.json, or what `analyze --out` has written){first}")
    if model is not None and model not in models:
        raise ValueError(f"No results of {model} there; of: {', '.join(sorted(models))}")
    sizes = Counter(
        (line.model, line.size) for line in found.lines if line.size and model in (None, line.model)
    )
    if not sizes:
        bad = next((one for one in broken if one.name.endswith(EMBEDDING)), None)
        raise ValueError(
            f"None of the embeddings could be read; the first: {bad.why}"
            if bad
            else "No embeddings there. `analyze DIR --out DIR --embeddings` saves them,"
            " as does extract_embedding over REST."
        )
    with_some = sorted({name for name, _ in sizes})
    if len(with_some) > 1:
        raise ValueError(
            f"Embeddings of several models cannot be compared ({', '.join(with_some)}): choose with --of"
        )
    chosen, size = sizes.most_common(1)[0][0]
    pairs = [pair for pair in zip(found.items, found.lines, strict=True) if pair[1].model == chosen]
    broken += [
        Broken(
            f"{line.record(item).name}/{EMBEDDING}",
            f"{line.size} numbers, where others of {chosen} have {size}: other weights, or another model",
        )
        for item, line in pairs
        if line.size not in (0, size)
    ]
    kept = [pair for pair in pairs if pair[1].size == size]
    without = sum(not item.embedded for item, _ in pairs)
    return Vectors(Records(kept), found.rows[chosen, size], chosen, without, tuple(broken))


def blocks(rows: Floats) -> Iterator[tuple[int, Floats]]:
    """`rows` in parts, each with the number of its first: so a matrix of any length takes little memory."""
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK]
