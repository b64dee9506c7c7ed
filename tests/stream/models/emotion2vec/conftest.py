"""A small emotion2vec of the real architecture with random weights, made and judged through funasr's own class.

What it says of any sound means nothing; that it says the same by both ways is what is tested.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.types import SAMPLE_RATE, Floats

HEAD_GAIN = 3.0  # scores of random weights would be nearly the same for every sound; these are not


def need_funasr() -> None:
    """Skip without it. `pytest.importorskip` would import all of it: 6 s of CPU, where its one class takes 0.2."""
    if find_spec("funasr") is None:
        pytest.skip(
            "funasr is not installed: emotion2vec cannot be built without it", allow_module_level=True
        )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_funasr()
    from bench.emotion2vec_random import make_folder

    return make_folder(tmp_path_factory.mktemp("emotion2vec_small"), "small", head_gain=HEAD_GAIN)


@pytest.fixture(scope="session")
def theirs(folder: Path) -> Iterator[Any]:
    """`funasr.AutoModel` on the same folder: the oracle."""
    pytest.importorskip("funasr")  # which lets nothing through of all that it warns of
    import torch
    from funasr import AutoModel

    threads, level = torch.get_num_threads(), logging.getLogger().level
    model = AutoModel(model=str(folder), device="cpu", ncpu=1, disable_update=True, disable_pbar=True)
    logging.getLogger().setLevel(level)
    yield model
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def ours(folder: Path) -> Any:
    from stream.models.emotion2vec import load

    return load(str(folder), "cpu")


def sound(seconds: float, seed: int = 0) -> Floats:
    """Something with pitch, syllables and noise; not speech."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    f0 = 120 + 30 * np.sin(2 * np.pi * 0.7 * t + seed)
    buzz = sum(np.sin(k * 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE) / k for k in range(1, 9))
    loud = 0.5 + 0.5 * np.sin(2 * np.pi * 3.1 * t + 2 * seed)
    return np.asarray(0.1 * loud * buzz + 0.01 * rng.standard_normal(len(t)) + 0.01, np.float32)
