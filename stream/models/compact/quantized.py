"""The encoder's products in bytes: weights with a scale per column, what comes in with a fixed one.

`int8.npz` beside the weights has what was measured on speech (`training.quantize`): scale and zero of what comes
into each product; by what its columns are divided first, so that none is lost among larger ones; and its bias,
with what rounding adds on average taken off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stream.types import Floats

NORMS = {
    "qkv": "norm1",
    "wide": "norm2",
}  # what a product's columns are divided by goes into the norm before it


def quantized(arrays: dict[str, Floats], folder: Path) -> dict[str, np.ndarray]:
    """The arrays that the int8 graph wants, by name, of those in weights.npz. Raises FileNotFoundError."""
    wanted: dict[str, np.ndarray] = dict(arrays)
    with np.load(folder / "int8.npz", allow_pickle=False) as measured:
        for name in {key.rpartition(".")[0] for key in measured.files}:
            divisors = measured[f"{name}.divisors"]
            weight = wanted.pop(f"{name}.weight") * divisors
            scale = np.abs(weight).max(1) / 127
            wanted[f"{name}.weight.int8"] = np.round(weight / scale[:, None]).astype(np.int8).T
            wanted[f"{name}.weight.scale"] = scale
            wanted |= {f"{name}.{what}": measured[f"{name}.{what}"] for what in ("scale", "zero", "bias")}
            layer, _, product = name.rpartition(".")
            if product in NORMS:
                for part in ("weight", "bias"):
                    norm = f"{layer}.{NORMS[product]}.{part}"
                    wanted[norm] = wanted[norm] / divisors
    return wanted
