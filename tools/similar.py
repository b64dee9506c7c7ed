"""Which recordings sound alike: the cosine of their embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.config import Config
from server.files.find import recognize_file
from server.files.recognize import RecognizeOptions
from stream.types import Floats
from tools import embedding, folder
from tools.folder import Record
from tools.items import EMBEDDING, RESULT
from tools.output import table
from tools.vectors import Vectors, blocks


@dataclass(frozen=True, eq=False)
class Match:
    record: Record
    cosine: float


@dataclass(frozen=True, eq=False)
class Query:
    """What is to be compared."""

    embedding: Floats  # (size,)
    model: str | None  # whose it is; None: not known
    folder: Path | None  # the result that it is from, so that it is not found again


def nearest(
    query: Floats, among: Vectors, n: int, center: bool = False, leave_out: int | None = None
) -> list[Match]:
    """The `n` records whose embeddings point most nearly where `query` (size,) does; not that at `leave_out`.

    Embeddings of a model share a part: their mean. `center` takes that away first, and compares what differs.
    Raises ValueError for embeddings that cannot be compared.
    """
    rows = among.rows
    if query.shape != rows.shape[1:]:
        raise ValueError(
            f"The query has {len(query)} numbers, the embeddings of {among.model} {rows.shape[1]}:"
            " they come from different models"
        )
    others = np.ones(len(rows), bool)
    if leave_out is not None:
        others[leave_out] = False
    if not others.any():
        raise ValueError("There is nothing in that folder but the query itself.")
    mean = np.zeros(len(query))
    if center:
        if others.sum() < 3:
            raise ValueError("--center needs three recordings or more: their mean is what is taken away")
        for start, block in blocks(rows):
            mean += block[others[start : start + len(block)]].sum(axis=0, dtype=np.float64)
        mean /= others.sum()
    wanted = query.astype(np.float64) - mean
    cosines = np.zeros(len(rows))
    for start, block in blocks(rows):
        spread = block - mean
        lengths = np.linalg.norm(spread, axis=1) * np.linalg.norm(wanted)
        here = cosines[start : start + len(block)]
        np.divide(spread @ wanted, lengths, out=here, where=lengths > 0)
    order = np.lexsort((np.arange(len(rows)), -np.round(cosines, 9)))
    return [Match(among.records[i], float(cosines[i])) for i in order[others[order]][:n].tolist()]


def read_query(path: Path, config: Callable[[], Config]) -> Query:
    """A recording, scored with `config()`; a folder of one result; or an embedding.npy.

    Raises ValueError, OSError, ImportError and ClientError.
    """
    if path.is_dir():
        beside = path / EMBEDDING
        if not beside.exists():
            raise ValueError(f"{path}: holds no {EMBEDDING}")
        its_model = folder.record(path, path.name).model if (path / RESULT).exists() else None
        return Query(_load(beside), its_model, path.resolve())
    if path.suffix == ".npy":
        return Query(_load(path), None, path.resolve().parent if path.name == EMBEDDING else None)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    from server.local_engine import local_engine

    loaded = config()
    engine = local_engine(loaded)
    found = recognize_file(path, engine, loaded, RecognizeOptions(embed=True)).embedding
    if found is None or engine.spec is None:
        raise ValueError(f"{path}: there is no speech in it, so there is no embedding")
    return Query(found, engine.spec.name, None)


def as_csv(matches: Sequence[Match]) -> str:
    header = ["rank", "name", "cosine", "emotion", "confidence", "duration_s"]
    rows = []
    for rank, match in enumerate(matches, 1):
        one = match.record
        sure = f"{one.confidence:.6f}"
        rows.append((rank, one.name, f"{match.cosine:.6f}", one.emotion, sure, one.duration_s))
    return table(header, rows)


def as_json(matches: Sequence[Match]) -> str:
    found = [
        {
            "name": m.record.name,
            "cosine": round(m.cosine, 6),
            "emotion": m.record.emotion,
            "confidence": round(m.record.confidence, 6),
            "folder": str(m.record.folder),
        }
        for m in matches
    ]
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def as_text(matches: Sequence[Match]) -> str:
    rows = ((m.cosine, m.record.emotion, m.record.confidence, m.record.name) for m in matches)
    return "".join(
        f"{cosine:7.4f}  {emotion:10} {sure:4.0%}  {name}\n" for cosine, emotion, sure, name in rows
    )


def _load(path: Path) -> Floats:
    try:
        return embedding.load(path)
    except embedding.BadEmbedding as wrong:
        raise ValueError(f"{path}: {wrong}") from None
