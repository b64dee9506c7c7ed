"""Custom labels, made by `./run.sh tools teach`: a linear classifier on a model's embeddings.

A folder with `card.json` and `weights.npz`: plain arrays, nothing is unpickled. It belongs to the model whose
embeddings it was trained on; `refusal` says why another one will not do. Training is in `tools.lesson`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream import fingerprint
from stream.types import DIGITS, Floats, JsonDict, ModelSpec

CARD, WEIGHTS = "card.json", "weights.npz"
FORMAT = 1
MAX_LABELS = 100
MAX_SIZE = 1 << 16  # numbers of an embedding
# Fields, and what they are called in the archive. There the fingerprint has been `probe` since version 0.1:
# any version reads the folders of any other.
_ARRAYS = {"mean": "mean", "scale": "scale", "weights": "weights", "bias": "bias", "fingerprint": "probe"}


class BadCustomLabels(ValueError):
    """A folder that holds no custom labels that can be used; the text says why."""


@dataclass(frozen=True, eq=False)
class CustomLabels:
    """A classifier: softmax(weights @ ((embedding - mean) / scale) + bias)."""

    name: str
    labels: tuple[str, ...]
    model: str  # the model's name
    mean: Floats  # (size,)
    scale: Floats  # (size,), > 0
    weights: Floats  # (n_labels, size)
    bias: Floats  # (n_labels,)
    fingerprint: Floats  # (size,): of the model (`stream.fingerprint`)
    figures: JsonDict  # how good it is, for people

    def judge(self, embedding: Floats) -> JsonDict:
        """`name, label, confidence, scores {label: p}` of an embedding (size,)."""
        at = (embedding.astype(np.float64) - self.mean) / self.scale
        logits = self.weights @ at + self.bias
        odds = np.exp(logits - logits.max())
        values = np.round(odds / odds.sum(), DIGITS).tolist()
        best = int(logits.argmax())
        return {
            "name": self.name,
            "label": self.labels[best],
            "confidence": values[best],
            "scores": dict(zip(self.labels, values, strict=True)),
        }

    def refusal(self, spec: ModelSpec, found: Floats | None) -> str | None:
        """Why it cannot be used with this model, whose fingerprint is `found`; None when it can."""
        if spec.name != self.model:
            return f"the labels {self.name!r} belong to {self.model}, not to {spec.name}: teach them again"
        if spec.embedding_size != len(self.mean):
            sizes = f"{len(self.mean)} numbers, those of this {spec.name} {spec.embedding_size}"
            return f"the labels {self.name!r} were trained on embeddings of {sizes}: teach them again"
        if found is None or not fingerprint.same(found, self.fingerprint):
            return f"the labels {self.name!r} belong to a {self.model} with other weights: teach them again"
        return None

    def save(self, folder: Path) -> None:
        """Write what `load` reads into an existing folder."""
        card = {
            "format": FORMAT,
            "name": self.name,
            "labels": list(self.labels),
            "model": self.model,
            "embedding_size": len(self.mean),
            "figures": self.figures,
        }
        np.savez(folder / WEIGHTS, **{key: getattr(self, name) for name, key in _ARRAYS.items()})
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        (folder / CARD).write_text(text, encoding="utf-8")


def load(folder: Path) -> CustomLabels:
    """Read what `save` has written. Raises BadCustomLabels."""
    try:
        card = _card(folder / CARD)
        arrays = _arrays(folder / WEIGHTS, len(card["labels"]), card["embedding_size"])
    except OSError as wrong:
        raise BadCustomLabels(f"{folder}: no custom labels there: {wrong.strerror or wrong}") from None
    except ValueError as wrong:
        raise BadCustomLabels(f"{folder}: {wrong}") from None
    return CustomLabels(
        name=card["name"],
        labels=tuple(card["labels"]),
        model=card["model"],
        figures=card["figures"],
        **arrays,
    )


def _card(path: Path) -> JsonDict:
    if path.stat().st_size > 1 << 20:
        raise ValueError(f"{CARD}: too large")
    card: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ValueError(f"{CARD}: not of format {FORMAT}")
    labels, size = card.get("labels"), card.get("embedding_size")
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise ValueError(f"{CARD}: 'labels' is not a list of names")
    if not 2 <= len(labels) == len(set(labels)) <= MAX_LABELS:
        raise ValueError(f"{CARD}: 2 to {MAX_LABELS} different labels are read, not {len(labels)}")
    if not isinstance(size, int) or not 0 < size <= MAX_SIZE:
        raise ValueError(f"{CARD}: 'embedding_size' is not a number up to {MAX_SIZE}")
    if not all(isinstance(card.get(name), str) and card[name] for name in ("name", "model")):
        raise ValueError(f"{CARD}: no text in 'name' or 'model'")
    if not isinstance(card.setdefault("figures", {}), dict):
        raise ValueError(f"{CARD}: 'figures' has no fields")
    return card


def _arrays(path: Path, n_labels: int, size: int) -> dict[str, Floats]:
    """The five arrays by field, after a look at the sizes that the archive states: none is unpacked on trust."""
    shapes = {"mean": (size,), "scale": (size,), "weights": (n_labels, size), "bias": (n_labels,)}
    shapes["fingerprint"] = (size,)
    try:
        with zipfile.ZipFile(path) as archive:
            most = 4 * (n_labels + 3) * (size + 1) + 10_000
            if sum(member.file_size for member in archive.infolist()) > most:
                raise ValueError(f"{WEIGHTS}: more than its card tells")
        with np.load(path, allow_pickle=False) as held:
            found = {name: held[key] for name, key in _ARRAYS.items()}
    except (zipfile.BadZipFile, KeyError, EOFError) as wrong:
        raise ValueError(f"{WEIGHTS}: {wrong}") from None
    for name, shape in shapes.items():
        array = found[name]
        if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{WEIGHTS}: {_ARRAYS[name]!r} is not {shape} finite numbers of type float32")
    if not (found["scale"] > 0).all():
        raise ValueError(f"{WEIGHTS}: 'scale' holds numbers that are not above 0")
    return found
