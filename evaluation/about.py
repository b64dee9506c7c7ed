"""Where an evaluation's figures come from: the model, the data, the settings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = frozenset({".npz", ".pt", ".safetensors", ".onnx"})


@dataclass(frozen=True)
class About:
    """Where the figures come from."""

    model: str
    weights: str  # a fingerprint of the files; empty: the model has none
    device: str
    dtype: str
    prior: str  # of the model (`model.prior`)
    rules: tuple[str, ...]  # that alerts were raised by
    cannot_say: tuple[str, ...]
    dataset: str
    split: str
    limit: int | None
    conditions: tuple[str, ...]
    times: tuple[str, ...]  # seconds, as given
    noise_db: float
    seed: int
    date: str
    took_s: float
    audio_s: float  # of all clips, once
    gate: str
    unreadable: tuple[tuple[str, str], ...]  # file, why


def fingerprint(model: str) -> str:
    """Twelve digits that tell these weights from others: SHA-256 of the model's files; empty without any."""
    folder = Path(model) if Path(model).is_dir() else ROOT / "weights" / model
    paths = [p for p in sorted(folder.glob("*")) if p.suffix in WEIGHTS or p.name == "config.json"]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12] if paths else ""
