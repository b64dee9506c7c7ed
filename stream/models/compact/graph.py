"""Compact, the `EmotionModel`, computed by ONNX Runtime: for CPUs, without torch.

The graphs beside the weights (`training.graph` writes them) take any number of steps of 100 ms of any number of
sessions. That neither batch mates nor the cuts of a span matter is tried when the model is loaded; where they do,
windows are scored one by one and step by step, which is slower, and safe.

The state is laid out as torch's (`network`), and either runtime goes on from the other's. They round differently
before keys and values become bfloat16: scores differ by what that makes of a last digit, 1e-4.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stream.models.compact import embeddings
from stream.models.compact.calibration import Calibration, calibration
from stream.models.compact.files import FOLDER, read_arrays, read_card
from stream.models.compact.sizes import ANSWER_SHARES, ANSWERS, GROUP, Embedding, NetConfig
from stream.models.compact.step import ROWS, CompactStep, StepOutput, is_invariant
from stream.models.compact.windows import samples_of, spec_of, states_of
from stream.prior import BALANCED, Prior
from stream.types import (
    HOP,
    IMPOSSIBLE,
    N_LABELS,
    Floats,
    FrameScores,
    Window,
    ceil_div,
    samples_for,
)

log = logging.getLogger("model")

PRECISIONS = ("auto", "float32", "int8")
AUTO = "float32"


class CompactGraph:
    """An `EmotionModel` around a `CompactStep`. Keeps nothing between calls."""

    def __init__(
        self, step: CompactStep, calibration: Calibration, arrays: dict[str, Floats], embedding: Embedding
    ) -> None:
        """`arrays`: what `stream.models.compact.files` reads."""
        self._step, self._config = step, step.config
        self._heads = {name: arrays[name] for name in embeddings.NEEDED}
        self._temperature, self._gain = calibration.fitted.temperature, calibration.fitted.gain
        self._possible, self._log_weights = calibration.possible, calibration.log_weights
        self._embedding = embedding
        self.spec = spec_of(self._config, "cpu", step.precision, calibration, "onnx", embedding)
        self._together = is_invariant(step)
        step.shrink()
        if not self._together:
            log.warning(
                "%s results of ONNX Runtime depend on batch composition on this CPU; scoring windows step by step",
                step.precision,
            )

    def score(self, windows: list[Window]) -> list[FrameScores]:
        """Score windows of one common `n_frames`, or of up to HOP_FRAMES each: logits (n_frames, 9), weights
        (n_frames,), state, embedding."""
        batches = [windows] if self._together else [[window] for window in windows]
        return [scores for batch in batches if batch for scores in self._score(batch)]

    def classify(self, embedding: Floats) -> Floats:
        """Logits (9,) of an embedding (embedding_size,), gain included: where it follows the emotion, those of the
        speech itself; of a voice's nearly those."""
        logits = embeddings.classify(embedding, self._embedding, self._config, self._heads)
        return self._calibrated(logits) * np.float32(self._gain)

    def _calibrated(self, logits: Floats) -> Floats:
        shifted = (logits + self._log_weights) / self._temperature
        return np.where(self._possible, shifted, IMPOSSIBLE).astype(np.float32)

    def _embedded(self, parts: list[StepOutput], weights: Floats, n_frames: npt.NDArray[np.int64]) -> Floats:
        """(B, embedding_size), of frames that weigh so much (B, T)."""
        hidden = np.concatenate([part.hidden for part in parts], 1)
        _, answer = answers_of(hidden.shape[1], n_frames)
        share = np.zeros(hidden.shape[:2], np.float32)
        np.add.at(share, (np.arange(len(share))[:, None], answer), weights)
        share /= share.sum(1, keepdims=True)
        if (
            self._embedding == "voice"
        ):  # of a step's answers it has the last one's statistics: those of all of it
            hidden = np.concatenate([part.stats[..., : self._config.voice_size] for part in parts], 1)
            share = share.reshape(len(share), -1, ANSWERS).sum(2)
        mean: Floats = (share[:, None] @ hidden)[:, 0]
        return mean

    def _score(self, windows: list[Window]) -> list[FrameScores]:
        n_frames = np.array([window.n_frames for window in windows])
        n_steps = ceil_div(int(n_frames.max()), GROUP)
        samples, state = samples_of(windows), states_of(windows, self._config)
        missing = samples_for(n_steps * GROUP) - samples.shape[1]  # in a last group that is not full
        samples = np.pad(samples, ((0, 0), (0, max(0, missing))))
        at_once = max(1, ROWS // len(windows)) if self._together else 1
        parts = []
        for first in range(0, n_steps, at_once):
            n, at = min(at_once, n_steps - first), first * GROUP
            part = samples[:, at * HOP : at * HOP + samples_for(n * GROUP)]
            parts.append(self._step.run(part, state, np.minimum(n_frames - at, n * GROUP)))
            state = parts[-1].state
        heads = np.concatenate([part.heads for part in parts], 1)
        logits, weights = frames_of(heads, n_frames)
        logits = self._calibrated(logits)
        embedding = self._embedded(parts, weights, n_frames)
        # A state outlives its batch by far: without the copy it would keep the whole batch's states alive.
        return [
            FrameScores(
                logits[: window.n_frames],
                weights[: window.n_frames],
                state.copy(),
                embedding.astype(np.float32) if window.embed else None,
                self._gain,
            )
            for window, logits, weights, state, embedding in zip(
                windows, logits, weights, state, embedding, strict=True
            )
        ]


def answers_of(
    n_rows: int, n_frames: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Of every frame (B, n_rows / ANSWERS GROUP): whether its group is full, and which answer is its own. Of a
    group that is not full it is the last."""
    frame, n_frames = np.arange(n_rows // ANSWERS * GROUP), n_frames[:, None]
    full, answer = frame < n_frames // GROUP * GROUP, frame * ANSWERS // GROUP
    return full, np.where(full, answer, answer - answer % ANSWERS + ANSWERS - 1)


def frames_of(heads: Floats, n_frames: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """What the heads gave at each answer (B, T ANSWERS, N_LABELS + 1), frames of each row (B,) -> logits
    (B, T GROUP, N_LABELS) and weights (B, T GROUP) of every frame; those behind a row's last weigh nothing."""
    full, answer = answers_of(heads.shape[1], n_frames)
    given = np.take_along_axis(heads, answer[..., None], 1)
    share = np.where(full, np.array(ANSWER_SHARES, np.float32)[answer % ANSWERS], np.float32(1))
    return given[..., :N_LABELS], given[..., N_LABELS] * share * (
        np.arange(full.shape[1]) < n_frames[:, None]
    )


def load(
    folder: Path = FOLDER,
    precision: str = "auto",
    threads: int = 1,
    prior: Prior = BALANCED,
    embedding: Embedding = "emotion",
) -> CompactGraph:
    """The model with the weights in `folder`, on this machine's CPU, with `threads` of its own.

    `precision` of its products: `float32`, `int8`, or `auto`. Raises ValueError for another, FileNotFoundError
    without weights, ImportError without ONNX Runtime.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"compact does not compute in {precision} with ONNX Runtime; set model.precision to auto"
        )
    card, arrays = read_card(folder), read_arrays(folder)
    config = NetConfig.of(card["net"])
    step = CompactStep(config, folder, arrays, AUTO if precision == "auto" else precision, threads)
    return CompactGraph(step, calibration(card, prior), arrays, embedding)
