"""Emotion2Vec, the `EmotionModel`: live windows to frame scores, whole recordings to one row; and embeddings."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from stream.models.emotion2vec.dense import ComputeTarget
from stream.models.emotion2vec.encoder import MICRO_BATCH, Encoder, YieldPoint, no_op
from stream.models.emotion2vec.graphs import Graphs
from stream.models.emotion2vec.hub import Hub
from stream.models.emotion2vec.labels import TokenMap
from stream.models.emotion2vec.memory import OomBackoff
from stream.models.emotion2vec.windows import WindowRule, crossfade, pack_state
from stream.prior import BALANCED, Prior, log_weights, name_of
from stream.types import (
    HOP,
    IMPOSSIBLE,
    SAMPLE_RATE,
    Floats,
    FrameScores,
    ModelSpec,
    RecordingWindow,
    Window,
    samples_for,
)

log = logging.getLogger("model")

Precision = Literal["float32", "bfloat16", "float16", "int8", "auto"]


@dataclass(frozen=True)
class Options:
    """How to load and run a checkpoint."""

    hub: Hub = "modelscope"
    precision: Precision = "float32"  # auto: bfloat16 where the device multiplies it faster; nothing else
    allow_pickle: bool = False  # let model.pt run code when it is read: for files of your own only
    rule: WindowRule = field(default_factory=WindowRule)
    longest_s: float = (
        30.0  # a longer recording is scored in segments of this length (`stream.full_recording`)
    )
    cuda_graphs: bool = False
    prior: Prior = BALANCED  # what is likely before anything is heard


@dataclass(frozen=True)
class _Job:
    """What holds for every window of a batch."""

    since: int  # of the model's frames, the first to score
    take: int  # and how many
    ahead: int  # frames after those, whose logits the next window fades from
    recording: bool = False
    embed: bool = False
    background: bool = False

    @classmethod
    def of(cls, window: Window) -> _Job:
        recording = isinstance(window, RecordingWindow)
        if recording:  # every second frame is one of the model's
            since, take, ahead = window.left_frames // 2, (window.n_frames + 1) // 2, 0
        else:
            since, take, ahead = window.left_frames, window.n_frames, window.right_frames
        return cls(since, take, ahead, recording, window.embed, window.background)


class Emotion2Vec:
    """Keeps nothing between calls but how large a batch fits. `score` is called from one thread at a time."""

    def __init__(
        self, name: str, encoder: Encoder, tokens: TokenMap, options: Options, terms: str = ""
    ) -> None:
        self._encoder, self._rule = encoder, options.rule
        self.tokens, self.license = tokens, terms
        device = encoder.target.device
        self._possible = np.array([row is not None for row in tokens.rows])
        self._rows = np.array([row or 0 for row in tokens.rows])
        self._log_weights = log_weights(options.prior)
        self._on_cpu: Encoder | None = None
        self._graphs = Graphs(self._forward) if options.cuda_graphs and device.type == "cuda" else None
        # Called between the layers of background work on a CPU; `score` may be called in there (`Interruptible`).
        self.yield_point: YieldPoint = no_op
        self.scoring = OomBackoff(
            self._run,
            self._run_on_cpu if device.type == "cuda" else None,
            torch.cuda.empty_cache if device.type == "cuda" else lambda: None,
        )
        rule = self._rule
        self.spec = ModelSpec(
            name=name,
            device=str(device),
            dtype=encoder.target.name,
            hop_frames=rule.hop,
            lookahead_frames=rule.hop - 1 + rule.right,
            state_size=rule.state_size,
            supported_labels=tokens.supported_labels,
            left_frames=rule.left,
            right_frames=rule.right,
            fixed_hop=True,
            best_batch=256 if device.type == "cuda" else MICRO_BATCH,
            embedding_size=encoder.width,
            recording_frames=round(options.longest_s * SAMPLE_RATE) // HOP,
            prior=name_of(options.prior),
        )

    @property
    def fallbacks(self) -> dict[str, int]:
        """How often memory was short: `halved` a batch, or sent a window to the `cpu`."""
        return dict(self.scoring.counts)

    def score(self, windows: list[Window]) -> list[FrameScores]:
        """Score windows that are alike (`stream.batching.Kind`).

        Logits of frames (n_frames, 9) with weights of 1; of a recording one row, and its number of 20 ms frames
        for a weight. Raises ValueError for windows that are not alike, or whose samples do not match their frames.
        """
        if not windows:
            return []
        job = _Job.of(windows[0])
        for w in windows:
            wanted = samples_for(w.left_frames + w.n_frames + w.right_frames)
            spare = len(w.samples) - wanted
            if not (0 <= spare < HOP if job.recording else spare == 0):
                raise ValueError(f"{len(w.samples)} samples in a window of {wanted}")
            if len(w.samples) != len(windows[0].samples) or _Job.of(w) != job:
                raise ValueError("a batch of windows that are not alike")
        logits, *rest = self.scoring(np.stack([w.samples for w in windows]), job)
        embeddings = rest[0] if rest else [None] * len(windows)
        return [self._answer(*each, job) for each in zip(windows, logits, embeddings, strict=True)]

    def classify(self, embedding: Floats) -> Floats:
        """Logits (9,) of an embedding (embedding_size,). The head is linear, and an embedding the mean of the
        frames: these are the logits of the recording or the utterance itself."""
        with torch.inference_mode():
            features = torch.from_numpy(np.array(embedding, np.float32)).to(self._encoder.target.device)
            return self._labeled(self._encoder.logits(features).cpu().numpy())

    def _answer(self, window: Window, logits: Floats, embedding: Floats | None, job: _Job) -> FrameScores:
        """A live window's logits are those of its frames, which fade in, and of those ahead, which are kept in the
        state for the next window."""
        mine = None if embedding is None else embedding.copy()  # a view would keep the whole batch alive
        if job.recording:
            return FrameScores(logits, np.full(1, job.take, np.float32), None, mine)
        own = np.ascontiguousarray(logits[: job.take])
        if self._rule.state_size and not window.starts_span:
            own = crossfade(own, window.first_frame, window.state)
        ahead = logits[job.take :][: self._rule.right]
        after = pack_state(self._rule, window.first_frame + job.take, ahead)
        return FrameScores(own, np.ones(job.take, np.float32), after, mine)

    def _run(self, batch: Floats, job: _Job) -> tuple[Floats, ...]:
        """Windows (n, samples) → logits (n, rows, 9), and embeddings (n, width) where they are asked for."""
        with torch.inference_mode():
            samples = self._upload(batch)
            if self._graphs and not job.recording and not job.embed:
                return (self._labeled(self._graphs(samples, job.since).cpu().numpy()),)
            return self._score(self._encoder, samples, job)

    def _run_on_cpu(self, batch: Floats, job: _Job) -> tuple[Floats, ...]:
        if self._on_cpu is None:
            self._on_cpu = self._encoder.moved(ComputeTarget(torch.device("cpu"), torch.float32))
        with torch.inference_mode():
            return self._score(self._on_cpu, torch.from_numpy(batch), job)

    def _score(self, encoder: Encoder, samples: torch.Tensor, job: _Job) -> tuple[Floats, ...]:
        yield_point = self.yield_point if job.background and not samples.is_cuda else no_op
        features = encoder.features(samples, not job.recording, job.since, yield_point)
        if job.recording or job.embed:
            mean = features[:, : job.take].mean(1, dtype=torch.float64).float()
        # The head is linear: what it says of the mean of the frames is the mean of what it says of them.
        logits = self._labeled(encoder.logits(mean[:, None] if job.recording else features).cpu().numpy())
        return (logits, mean.cpu().numpy()) if job.embed else (logits,)

    def _forward(self, samples: torch.Tensor, since: int = 0) -> torch.Tensor:
        return self._encoder.logits(self._encoder.features(samples, True, since))

    def _labeled(self, heads: Floats) -> Floats:
        """The head's scores (…, tokens) in the order of LABELS (…, 9), and what the prior adds to them."""
        shifted = heads[..., self._rows] + self._log_weights
        ordered: Floats = np.where(self._possible, shifted, np.float32(IMPOSSIBLE))
        return ordered

    def _upload(self, batch: Floats) -> torch.Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(batch))
        device = self._encoder.target.device
        if device.type != "cuda":
            return samples
        return samples.pin_memory().to(device, non_blocking=True)
