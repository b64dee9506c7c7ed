"""The shipped weights, in `weights/compact/`, as plain arrays for every runtime: nothing here needs torch."""

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


def read_measured(folder: Path = FOLDER) -> JsonDict:
    """How far to believe it, with the default prior, as CARD.md has it, for people: `ModelSpec.measured`."""
    measured: JsonDict = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    return measured


def read_arrays(folder: Path = FOLDER) -> dict[str, Floats]:
    """`weights.npz`, widened to float32: parameters are kept in half precision. Raises FileNotFoundError."""
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}
