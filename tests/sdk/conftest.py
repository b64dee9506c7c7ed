"""A model in this process, and a recording of some seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emotion_stream import EmotionModel
from stream.types import SAMPLE_RATE
from tests.stream.models.emotion2vec.conftest import need_funasr


@pytest.fixture(scope="package")
def model() -> Iterator[EmotionModel]:
    with EmotionModel(device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def speech(demo_samples: np.ndarray) -> np.ndarray:
    return demo_samples[: 6 * SAMPLE_RATE]


@pytest.fixture
def recording(tmp_path: Path, speech: np.ndarray) -> Path:
    """Two channels at 44.1 kHz, of which one is quieter."""
    import soxr

    loud = soxr.resample(speech, SAMPLE_RATE, 44_100).astype(np.float32)
    path = tmp_path / "speech.flac"
    soundfile.write(path, np.stack([loud, loud / 4], axis=1), 44_100)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small emotion2vec of random weights: what it says means nothing."""
    need_funasr()
    from bench.emotion2vec_random import make_folder

    return make_folder(tmp_path_factory.mktemp("emotion2vec_small"), "small", head_gain=3.0)
