"""`Emotion2VecPlus`, the class that guides to Emotion2Vec+ write code against, on top of `emotion_stream`.

What those programs do with an answer works on it as it is: dictionaries that `json.dump` takes, arrays that NumPy
and scikit-learn take. Errors are those of `emotion_stream`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emotion_stream import EmotionModel

__version__ = "0.2.0"  # emotion-stream's
__all__ = ["Emotion2VecPlus"]

OVERRIDE = "EMOTION2VEC_PLUS_MODEL"  # the model to load, whatever the program names
SIZES = ("large", "base", "seed")


class Emotion2VecPlus:
    """A model, loaded. Threads may share it."""

    def __init__(
        self, model_path: str | Path | None = None, device: str = "auto", *, model_name: str | None = None
    ) -> None:
        """`model_path`: a folder with a checkpoint. `model_name`: `large`, `base`, `seed`, or any name that
        `emotion-stream models` lists; `large` where neither is given. `device`: `auto`, `cpu`, `cuda` or `cuda:N`.

        The environment variable EMOTION2VEC_PLUS_MODEL names the model instead of both, for programs that one does
        not want to change; a warning says so. Raises ValueError, ImportError and OSError for what cannot be had;
        the text says what to do.
        """
        if model_path is not None and model_name is not None:
            raise ValueError("give model_path or model_name, not both")
        asked = str(model_path) if model_path is not None else model_name or "large"
        chosen = os.environ.get(OVERRIDE) or asked
        if chosen != asked:
            warnings.warn(
                f"{OVERRIDE}={chosen} is used instead of {asked} / 使用 {chosen}，而不是 {asked}",
                stacklevel=2,
            )
        self.model = EmotionModel(f"emotion2vec_plus_{chosen}" if chosen in SIZES else chosen, device)

    def load_audio(self, path: str | Path) -> tuple[npt.NDArray[np.float32], int]:
        """A recording's samples, float32 (n,) from -1 to 1, its channels mixed, and their rate in Hz."""
        return self.model.load_audio(path)

    def inference(
        self,
        waveform: Any,
        sample_rate: int = 16_000,
        granularity: str = "utterance",
        return_embedding: bool = False,
    ) -> dict[str, Any]:
        """The fields of result.json for an array (n,) or (n, channels): floats from -1 to 1, int16 or int32.

        `granularity`: `utterance` (`emotion`, `confidence`, `scores`) or `frame` (`frame_scores` (frames, 9),
        `frame_emotions`, `frame_confidences`). With `return_embedding` also `embedding`, a list of floats, unless
        nobody speaks. All of it can be written as JSON.
        """
        found = self.model.inference(waveform, sample_rate, granularity, return_embedding)  # type: ignore[arg-type]
        told = found.to_dict()
        return told if found.embedding is None else {**told, "embedding": found.embedding.tolist()}

    def extract_embedding(self, source: Any, sample_rate: int = 16_000) -> npt.NDArray[np.float32]:
        """The embedding, float32 (embedding_size,), of a recording by its path, or of an array. Raises
        emotion_stream.EmotionError, NO_AUDIO where nobody speaks."""
        return self.model.extract_embedding(source, sample_rate)

    def classify_embedding(self, embedding: Any) -> dict[str, float]:
        """Probabilities by label of an embedding (embedding_size,). Raises ValueError for what is none."""
        return self.model.classify_embedding(embedding)
