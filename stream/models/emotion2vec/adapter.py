"""Emotion2Vec: live windows to frame scores (`EmotionModel`), recordings to utterance scores and embeddings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch

from stream.codec import Resampler
from stream.models.emotion2vec.dense import Place
from stream.models.emotion2vec.encoder import TOGETHER, Encoder
from stream.models.emotion2vec.folder import Hub
from stream.models.emotion2vec.graphs import Graphs
from stream.models.emotion2vec.labels import TokenMap
from stream.models.emotion2vec.memory import Halving
from stream.models.emotion2vec.windows import WindowRule, fade, pieces, remember
from stream.types import (
    IMPOSSIBLE,
    Floats,
    FrameScores,
    ModelSpec,
    Window,
    samples_for,
    softmax,
)

log = logging.getLogger("model")

Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True)
class Options:
    """How to load and run a checkpoint."""

    hub: Hub = "modelscope"
    precision: Precision = "float32"  # auto: bfloat16 where the device multiplies it faster
    allow_pickle: bool = False  # let model.pt run code when it is read: for files of your own only
    rule: WindowRule = field(default_factory=WindowRule)
    longest_s: float = 30.0  # a longer recording is scored in windows of this length
    cuda_graphs: bool = False


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard in one recording."""

    probs: Floats  # (N_LABELS,), sums to 1
    logits: Floats  # (N_LABELS,): the mean over frames
    embedding: Floats  # (width,): the mean of the frames' features
    n_frames: int  # of 20 ms
    n_windows: int


class Emotion2Vec:
    """Keeps nothing between calls but how large a batch fits. `score` is called from one thread at a time."""

    def __init__(
        self, name: str, encoder: Encoder, tokens: TokenMap, options: Options, terms: str = ""
    ) -> None:
        self._encoder, self._rule, self._longest_s = encoder, options.rule, options.longest_s
        self.tokens, self.licence = tokens, terms
        device = encoder.place.device
        self._possible = np.array([row is not None for row in tokens.rows])
        self._rows = np.array([row or 0 for row in tokens.rows])
        self._on_cpu: Encoder | None = None
        forward: Any = (
            Graphs(self._forward) if options.cuda_graphs and device.type == "cuda" else self._forward
        )
        self.scoring = Halving(
            lambda batch, since: self._frames(batch, since, forward),
            self._frames_on_cpu if device.type == "cuda" else None,
            torch.cuda.empty_cache if device.type == "cuda" else lambda: None,
        )
        rule = self._rule
        self.spec = ModelSpec(
            name=name,
            device=str(device),
            dtype=str(encoder.place.dtype).removeprefix("torch."),
            hop_frames=rule.hop,
            lookahead_frames=rule.hop - 1 + rule.right,
            state_size=rule.state_size,
            can_say=tokens.can_say,
            left_frames=rule.left,
            right_frames=rule.right,
            fixed_hop=True,
            best_batch=256 if device.type == "cuda" else TOGETHER,
        )

    @property
    def fallbacks(self) -> dict[str, int]:
        """How often memory was short: `halved` a batch, or sent a window to the `cpu`."""
        return dict(self.scoring.counts)

    @property
    def embedding_size(self) -> int:
        return self._encoder.width

    def score(self, windows: list[Window]) -> list[FrameScores]:
        """Frame scores of windows of one `n_frames` and one length: logits (n_frames, 9), weights all 1.

        Raises ValueError for windows whose samples do not match their frames.
        """
        if not windows:
            return []
        for w in windows:
            wanted = samples_for(w.left_frames + w.n_frames + w.right_frames)
            if len(w.samples) != wanted or wanted != len(windows[0].samples):
                raise ValueError(
                    f"{len(w.samples)} samples in a window of {wanted}, in a batch of one length"
                )
        since = min(w.left_frames for w in windows)
        logits = self.scoring(np.stack([w.samples for w in windows]), since)
        return [
            self._answer(w, rows[w.left_frames - since :]) for w, rows in zip(windows, logits, strict=True)
        ]

    def hear(self, blocks: Iterable[Floats]) -> Heard:
        """Utterance scores and embedding of a recording of any length, in blocks (n,) at 16 kHz, in constant
        memory.

        Up to `longest_s` equal to funasr's `generate`; beyond, the mean over all frames of its windows.
        Raises ValueError for less than one frame (25 ms).
        """
        feature_sum = np.zeros(self.embedding_size)
        n_frames = n_windows = 0
        for piece in pieces(blocks, self._longest_s):
            with torch.inference_mode():
                x = self._encoder.features(self._upload(piece.samples[None]), both_phases=False)[0]
                feature_sum += (
                    x[piece.skip : piece.skip + piece.take].sum(0, dtype=torch.float64).cpu().numpy()
                )
            n_frames, n_windows = n_frames + piece.take, n_windows + 1
        if not n_frames:
            raise ValueError("a recording of less than 25 ms has no emotion")
        embedding = (feature_sum / n_frames).astype(np.float32)
        with torch.inference_mode():  # the head is linear: its mean is that of the frames' logits
            heads = self._encoder.logits(self._upload(embedding[None])).cpu().numpy()
        logits = self._labelled(heads)[0]
        return Heard(softmax(logits), logits, embedding, n_frames, n_windows)

    def score_file(self, path: Path) -> Heard:
        """`hear` a sound file of any rate and number of channels. Raises soundfile.SoundFileError, ValueError."""
        return self.hear(blocks_of(path))

    def warm_up(self) -> None:
        """Run a whole window of silence, so that the first speaker does not pay for first times."""
        rule = self._rule
        self.scoring(np.zeros((1, samples_for(rule.left + rule.hop + rule.right)), np.float32), rule.left)

    def _answer(self, window: Window, logits: Floats) -> FrameScores:
        """Of the frames of a whole window (frames, 9): those to score, faded in, and the state for the next
        one."""
        own = np.ascontiguousarray(logits[: window.n_frames])
        if self._rule.state_size and not window.starts_span:
            own = fade(own, window.first_frame, window.state)
        ahead = logits[window.n_frames :][: self._rule.right]
        after = remember(self._rule, window.first_frame + window.n_frames, ahead)
        return FrameScores(own, np.ones(window.n_frames, np.float32), after)

    def _frames(self, batch: Floats, since: int, forward: Any) -> Floats:
        """Logits of the 10 ms frames from `since` on of windows (n, samples) → (n, frames, 9)."""
        with torch.inference_mode():
            return self._labelled(forward(self._upload(batch), since).cpu().numpy())

    def _forward(self, samples: torch.Tensor, since: int = 0) -> torch.Tensor:
        return self._encoder.logits(self._encoder.features(samples, True, since))

    def _frames_on_cpu(self, batch: Floats, since: int) -> Floats:
        if self._on_cpu is None:
            self._on_cpu = self._encoder.moved(Place(torch.device("cpu"), torch.float32))
        encoder = self._on_cpu
        with torch.inference_mode():
            features = encoder.features(torch.from_numpy(batch), True, since)
            return self._labelled(encoder.logits(features).numpy())

    def _labelled(self, heads: Floats) -> Floats:
        """The head's scores (…, tokens) in the order of LABELS (…, 9)."""
        ordered: Floats = np.where(self._possible, heads[..., self._rows], np.float32(IMPOSSIBLE))
        return ordered

    def _upload(self, batch: Floats) -> torch.Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(batch))
        device = self._encoder.place.device
        if device.type != "cuda":
            return samples
        return samples.pin_memory().to(device, non_blocking=True)


def blocks_of(path: Path) -> Iterator[Floats]:
    """A file's samples at 16 kHz, mono, a second at a time."""
    with soundfile.SoundFile(path) as file:
        resampler, rate = Resampler(), file.samplerate
        for block in file.blocks(rate, dtype="float32", always_2d=True):
            mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
            yield resampler.push(np.ascontiguousarray(mono), rate)
        yield resampler.finish()
