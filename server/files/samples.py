"""Reference samples: recordings, or embeddings of them, to which every recording is compared (`files.samples`)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from server.config import Config, ConfigError
from server.engine import Engine
from server.errors import ClientError
from server.files.decode import SUFFIXES
from server.files.find import recognize_file
from server.files.recognize import RecognizeOptions
from server.files.result import clean_name
from server.files.similarity import Samples
from server.paths import HOME
from stream.types import Floats

MAX_SAMPLES = 20
MAX_BYTES = 20_000_000  # of one file
MAX_S = 120  # of one recording

Embed = Callable[[Path], Floats | None]  # the embedding of a recording; None where nobody speaks


def load(config: Config, size: int, embed: Embed) -> Samples | None:
    """Those in the folder `files.samples`, recordings by `embed`; None where no folder is named.

    `size`: numbers of the model's embeddings. Raises ConfigError that names what is wrong.
    """
    if not config.files.samples:
        return None
    folder = HOME / Path(config.files.samples).expanduser()
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".npy", *SUFFIXES))
    except OSError as broken:
        raise _wrong(folder, broken.strerror or "cannot be read") from None
    if not 0 < len(paths) <= MAX_SAMPLES:
        raise _wrong(
            folder, f"holds {len(paths)} recordings and .npy files; 1 to {MAX_SAMPLES} are compared with"
        )
    if not size:
        raise _wrong(folder, f"the model {config.model.name} gives no embeddings to compare")
    names = tuple(clean_name(path.stem) for path in paths)
    if len(set(names)) < len(names):
        raise _wrong(folder, "holds two samples of one name")
    return Samples(names, np.stack([_embedding(path, size, embed) for path in paths]))


def load_here(config: Config, engine: Engine) -> Samples | None:
    """The same, by an engine in this process, which has loaded."""
    assert engine.spec is not None

    def embed(path: Path) -> Floats | None:
        options = RecognizeOptions(embed=True, max_s=MAX_S)
        return recognize_file(path, engine, config, options).embedding

    return load(config, engine.spec.embedding_size, embed)


def _embedding(path: Path, size: int, embed: Embed) -> Floats:
    """Of length 1."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES / 1e6:g} MB")
        found = _read(path, size) if path.suffix.lower() == ".npy" else embed(path)
    except ClientError as refused:
        raise _wrong(path, refused.message) from None
    except (OSError, ValueError, EOFError) as wrong:
        raise _wrong(path, str(wrong)) from None
    if found is None or not found.any():
        raise _wrong(path, "there is no speech in it")
    unit: Floats = (found / np.linalg.norm(found)).astype(np.float32)
    return unit


def _read(path: Path, size: int) -> Floats:
    """Raises ValueError."""
    found = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    if found.dtype.kind != "f" or found.shape != (size,) or not np.isfinite(found).all():
        raise ValueError(
            f"{found.dtype} {found.shape}: an embedding of this model is {size} finite numbers; give the recording"
        )
    return np.asarray(found, np.float32)


def _wrong(path: Path, why: str) -> ConfigError:
    return ConfigError(f"files.samples: {path}: {why}")
