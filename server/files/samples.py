"""Reference samples: recordings, or embeddings of them, to which every recording is compared (`files.samples`).

An embedding does not say which model it is of. The result.json that it was made with does: it may lie beside it.
"""

from __future__ import annotations

import io
import json
import logging
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
from server.files.similarity import MAX_S, Samples
from server.paths import HOME
from stream import fingerprint
from stream.types import Floats, ModelSpec

MAX_SAMPLES = 20
MAX_BYTES = 20_000_000  # of one file
RESULT = ".result.json"  # with which the name of an embedding's result ends

log = logging.getLogger("files")

Embed = Callable[[Path], Floats | None]  # the embedding of a recording; None where nobody speaks


def load(config: Config, spec: ModelSpec, embed: Embed) -> Samples | None:
    """Those in the folder `files.samples`, recordings by `embed`; None where no folder is named.

    `spec`: of the model that compares. Raises ConfigError that names what is wrong.
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
    if not spec.embedding_size:
        raise _wrong(folder, f"the model {spec.name} gives no embeddings to compare")
    names = tuple(clean_name(_name(path)) for path in paths)
    if len(set(names)) < len(names):
        raise _wrong(folder, "holds two samples of one name")
    return Samples(names, np.stack([_embedding(path, spec, embed) for path in paths]))


def load_here(config: Config, engine: Engine) -> Samples | None:
    """The same, by an engine in this process, which has loaded."""
    assert engine.spec is not None

    def embed(path: Path) -> Floats | None:
        options = RecognizeOptions(embed=True, max_s=MAX_S)
        return recognize_file(path, engine, config, options).embedding

    return load(config, engine.spec, embed)


def _name(path: Path) -> str:
    """An embedding that the page of files has saved as `calm.embedding.npy` is `calm`."""
    return path.stem.removesuffix(".embedding") if path.suffix.lower() == ".npy" else path.stem


def _embedding(path: Path, spec: ModelSpec, embed: Embed) -> Floats:
    """Of length 1."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES / 1e6:g} MB")
        found = _read(path, spec) if path.suffix.lower() == ".npy" else embed(path)
    except ClientError as refused:
        raise _wrong(path, refused.message) from None
    except (OSError, ValueError, EOFError) as wrong:
        raise _wrong(path, str(wrong)) from None
    if found is None or not found.any():
        raise _wrong(path, "there is no speech in it")
    unit: Floats = (found / np.linalg.norm(found)).astype(np.float32)
    return unit


def _read(path: Path, spec: ModelSpec) -> Floats:
    """Raises ValueError and OSError."""
    found, size = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False), spec.embedding_size
    if found.dtype.kind != "f" or found.shape != (size,) or not np.isfinite(found).all():
        raise ValueError(
            f"{found.dtype} {found.shape}: an embedding of this model is {size} finite numbers; give the recording"
        )
    _check_made(path.with_name(_name(path) + RESULT), spec)
    return np.asarray(found, np.float32)


def _check_made(result: Path, spec: ModelSpec) -> None:
    """By the result that an embedding was made with: whether by this model. Raises ValueError and OSError."""
    made = _fields(result)
    model, theirs = made.get("model", spec.name), made.get("model_fingerprint", "")
    if model != spec.name:
        raise ValueError(f"it was made by {model}, and this is {spec.name}; give the recording")
    if theirs and not fingerprint.alike(theirs, spec.fingerprint):
        raise ValueError(f"it was made by a {model} with other weights; give the recording")
    if not theirs:
        log.warning(
            "files.samples: nothing says that %s is an embedding of this model: no fingerprint in %s",
            result.name.removesuffix(RESULT),
            result.name,
        )


def _fields(result: Path) -> dict[str, str]:
    """What a result says of the model that made it; empty where there is no such file. Raises ValueError."""
    if not result.exists():
        return {}
    if result.stat().st_size > MAX_BYTES:
        raise ValueError(f"{result.name}: larger than {MAX_BYTES / 1e6:g} MB")
    found = json.loads(result.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{result.name} holds no result")
    return {name: str(found[name]) for name in ("model", "model_fingerprint") if name in found}


def _wrong(path: Path, why: str) -> ConfigError:
    return ConfigError(f"files.samples: {path}: {why}")
