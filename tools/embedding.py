"""Reading embedding.npy from anybody: no pickle, nothing allocated on a header's word, clear reasons."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import numpy as np

from stream.types import Floats

MAX_NUMBERS = 1 << 16  # far above any model's; files beyond are not read
_MAX_BYTES = 4 * MAX_NUMBERS + 12_000  # with room for the header
_MAX_HEADER = 10_000


class BadEmbedding(ValueError):
    """The file holds no embedding that can be used; the text says why, without the file's name."""


def load(path: Path) -> Floats:
    """The embedding in `path`: float32 (n,), finite, not all zero. Raises BadEmbedding, and OSError."""
    held = path.stat()
    if not stat.S_ISREG(held.st_mode):
        raise BadEmbedding("not a file")
    if held.st_size > _MAX_BYTES:
        raise BadEmbedding(
            f"{held.st_size:,} bytes: too large for an embedding (at most {MAX_NUMBERS:,} numbers)"
        )
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    _check_header(data)
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as wrong:
        raise BadEmbedding(f"cannot be read: {wrong}") from None
    embedding: Floats = np.ascontiguousarray(loaded, np.float32)
    if not np.isfinite(embedding).all():
        raise BadEmbedding("holds numbers that are not finite")
    if not embedding.any():
        raise BadEmbedding("holds zeros only")
    return embedding


def _check_header(data: bytes) -> None:
    """Shape and type, before anything is allocated on their account."""
    if not data:
        raise BadEmbedding("empty")
    if data[:6] != np.lib.format.MAGIC_PREFIX:
        raise BadEmbedding("not a NumPy .npy file")
    head = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise BadEmbedding(f"version {version[0]}.{version[1]} of the .npy format; 1.0 and 2.0 are read")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(head, max_header_size=_MAX_HEADER)
    except BadEmbedding:
        raise
    except Exception as wrong:  # whatever a hostile header brings numpy's parser to raise
        raise BadEmbedding(f"its header cannot be read: {str(wrong)[:200]}") from None
    if dtype.hasobject:
        raise BadEmbedding("holds Python objects, which are not loaded: they can run code")
    if dtype.kind != "f" or dtype.itemsize != 4:
        raise BadEmbedding(f"holds {dtype}; an embedding is float32")
    if len(shape) == 2:
        raise BadEmbedding(f"has the shape {tuple(shape)} (a row per frame?); an embedding is 1-D")
    if len(shape) != 1:
        raise BadEmbedding(f"has the shape {tuple(shape)}; an embedding is 1-D")
    if not 0 < shape[0] <= MAX_NUMBERS:
        raise BadEmbedding(f"claims {shape[0]:,} numbers; 1 to {MAX_NUMBERS:,} are read")
    if len(data) - head.tell() != 4 * shape[0]:
        raise BadEmbedding(f"claims {shape[0]:,} numbers and holds {(len(data) - head.tell()) / 4:g}")
