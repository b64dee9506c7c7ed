"""Weights, the shipped ones in `weights/compact/`, as plain arrays for every runtime: nothing here needs torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stream.types import Floats, JsonDict

FOLDER = Path(__file__).parents[3] / "weights" / "compact"


def read_card(folder: Path = FOLDER) -> JsonDict:
    """`config.json`: sizes of the network, labels, temperature, gain. Raises FileNotFoundError."""
    card: JsonDict = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return card


def are_in(folder: Path) -> bool:
    """Whether a folder holds weights of compact."""
    return all((folder / name).is_file() for name in ("config.json", "weights.npz"))


def read_measured(folder: Path = FOLDER) -> JsonDict | None:
    """How far to believe it, with the default prior, as CARD.md has it: `ModelSpec.measured`. None: not told."""
    file = folder / "measured.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def read_arrays(folder: Path = FOLDER) -> dict[str, Floats]:
    """`weights.npz`, widened to float32: parameters are kept in half precision. Raises FileNotFoundError."""
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}
