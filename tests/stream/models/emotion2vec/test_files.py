"""A file with emotion2vec over REST: verdict and embedding of funasr's `generate`, which hears it as one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from stream.full_recording import score_recording
from tests.server.conftest import no_traceback, running
from tests.server.recordings import wav

pytestmark = pytest.mark.slow


def test_a_file_is_heard_as_one_and_its_utterances_as_live(
    folder: Path, ours: Any, demo_pcm: bytes, demo_samples: np.ndarray, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "engine__deadline_ms": 60_000,
        "model__precision": "float32",
        "model__prior": "balanced",
    }
    with running(model__name=str(folder), model__device="cpu", files__outputs=tmp_path, **settings) as server:
        answer = requests.post(
            server.url + "/api/v1/emotion/recognize",
            files={"audio_file": ("x.wav", wav(demo_pcm))},
            data={"extract_embedding": "true"},
            timeout=100,
        )
        assert answer.status_code == 200, answer.text
        said = answer.json()
        embedding = np.load(
            io.BytesIO(requests.get(server.url + said["files"]["embedding"], timeout=10).content)
        )
        no_traceback(server.log())
    wanted = score_recording([demo_samples], ours, embed=True)
    np.testing.assert_allclose(list(said["scores"].values()), wanted.probs(), atol=1e-5)
    assert wanted.embedding is not None and embedding.shape == (ours.spec.embedding_size,)
    np.testing.assert_allclose(embedding, wanted.embedding, atol=1e-4)
    assert len(said["utterances"]) >= 3
