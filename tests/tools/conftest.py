"""Folders of results as the server writes them, with embeddings of four kinds of recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.types import LABELS, Floats

KINDS = (0, 3, 4, 6)  # angry, happy, neutral, sad
BEGAN = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)

Make = Callable[..., Path]


def scores(label: int, p: float = 0.6) -> list[float]:
    rest = round((1 - p) / 8, 6)
    return [p if i == label else rest for i in range(9)]


def result(label: int, at: datetime = BEGAN, **fields: Any) -> dict[str, Any]:
    rows = scores(label)
    return {
        "emotion": LABELS[label],
        "confidence": max(rows),
        "scores": dict(zip(LABELS, rows, strict=True)),
        "granularity": "utterance",
        "timestamp": f"{at:%Y-%m-%d %H:%M:%S}",
        "timestamp_utc": at.isoformat(),
        "model": "compact",
        "duration_s": 4.0,
        "utterances": [{"start_ms": 0, "end_ms": 4000}],
        **fields,
    }


def embeddings(n: int, size: int = 24, seed: int = 0) -> Floats:
    """Around four centers in turn, with a large part in common."""
    rng = np.random.default_rng(seed)
    centers = 6 + 2 * np.random.default_rng(7).normal(size=(4, size))
    return np.stack([centers[i % 4] + 0.5 * rng.normal(size=size) for i in range(n)]).astype(np.float32)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(n)`: a folder with n results, an hour apart."""

    def build(n: int, name: str = "results", **fields: Any) -> Path:
        top = tmp_path / name
        for i, row in enumerate(embeddings(n)):
            home = top / f"outputs_{i:04}"
            home.mkdir(parents=True)
            told = result(KINDS[i % 4], BEGAN + timedelta(hours=i), **fields)
            (home / "result.json").write_text(json.dumps(told), encoding="utf-8")
            np.save(home / "embedding.npy", row)
        return top

    return build
