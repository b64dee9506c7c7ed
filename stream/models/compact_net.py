"""The network of the `compact` model: samples to features, features to logits, all of it causal.

One `forward(features, state)` serves training and inference, whole files and windows of any length, so that
their scores agree by construction. Nothing here knows of sessions, files or label names; `compact` (the
adapter) and `training` call it. Layout is (batch, time, channels) throughout: every layer is then a plain
matrix product over the last axis, which is what a CPU does best with batches of a few short windows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream.types import FRAME, HOP, N_LABELS, SAMPLE_RATE, samples_for

N_FFT = 512
GROUP = 5  # frames per step of the slow path: 50 ms
TASTE = 5  # frames that the fast path sees at once
SCAN = 100  # frames per step of the running means: bounds the decay matrix for whole files
FLOOR = 1e-8  # mel power of digital silence: far below the noise of 16-bit audio
QUIET = -12.0  # nats: anything 52 dB below the running level counts as silence, whatever made it
PITCH_HZ = (60.0, 450.0)


@dataclass(frozen=True)
class NetConfig:
    """Sizes of the network. The state's size follows from them."""

    n_mels: int = 64
    n_lags: int = 40  # lags of the autocorrelation, spaced evenly in log frequency over PITCH_HZ
    fast: int = 96  # channels at 100 Hz
    width: int = 160  # channels at 20 Hz
    expand: int = 2
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    dropout: float = 0.15
    memory_frames: float = 1000.0  # time constant of the running means: 10 s
    prior_frames: float = 60.0  # weight of the average speaker in a running mean

    @classmethod
    def of(cls, values: dict[str, Any]) -> NetConfig:
        return cls(**{**values, "dilations": tuple(values["dilations"])})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def n_raw(self) -> int:
        """Values per frame out of `features`."""
        return self.n_mels + self.n_lags

    @property
    def n_in(self) -> int:
        """Values per frame into the first layer: two copies of the mels, the lags, four of prosody."""
        return 2 * self.n_mels + self.n_lags + 4

    @property
    def slow_size(self) -> int:
        """State that outlives a span: sums of mels, count, power, and the sums of pitch and voicing."""
        return self.n_mels + 4

    @property
    def cache_sizes(self) -> tuple[int, ...]:
        """State of one span: frames for the fast path, one cache per block, the GRU."""
        blocks = (2 * dilation * self.width for dilation in self.dilations)
        return ((TASTE - 1) * self.n_in, *blocks, self.width)

    @property
    def embedding_size(self) -> int:
        """What the head of the slow path reads: the last block's output and the GRU's."""
        return 2 * self.width

    @property
    def state_size(self) -> int:
        return self.slow_size + sum(self.cache_sizes)


class Block(nn.Module):
    """Residual: causal depthwise convolution (kernel 3, dilated), norm, two matrices."""

    def __init__(self, width: int, expand: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(torch.randn(3, width) / math.sqrt(3))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, steps, width), cache (B, 2 * dilation, width) -> the same two."""
        n, d = x.shape[1], self.dilation
        past = torch.cat([cache, x], dim=1)
        # Three shifted products instead of a grouped convolution: several times faster at these sizes.
        mixed = torch.addcmul(past[:, 2 * d :] * self.taps[2], past[:, d : d + n], self.taps[1])
        mixed = torch.addcmul(mixed, past[:, :n], self.taps[0])
        return x + self.drop(self.down(F.silu(self.up(self.norm(mixed))))), past[:, n:]


class CompactNet(nn.Module):
    """Log-mels and periodicity, running normalisation, a fast path (100 Hz), a slow path (20 Hz), one head."""

    window: Tensor
    mel: Tensor
    lag_cos: Tensor
    lag_pitch: Tensor
    mean_shape: Tensor
    in_scale: Tensor
    in_shift: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = c = config
        n_bins = N_FFT // 2 + 1
        low, high = (math.log(f) for f in PITCH_HZ)
        log_f0 = torch.linspace(low, high, c.n_lags, dtype=torch.float64)
        angle = (SAMPLE_RATE / log_f0.exp())[None, :] * torch.arange(n_bins)[:, None] * (2 * math.pi / N_FFT)
        # Periodicity lives below 2 kHz; above it noise and formants only blur the peaks.
        voiced = (torch.arange(n_bins) >= 2) & (torch.arange(n_bins) <= 2000 * N_FFT // SAMPLE_RATE)
        self.register_buffer("window", torch.hann_window(FRAME))
        self.register_buffer("mel", torch.zeros(n_bins, c.n_mels))
        self.register_buffer("lag_cos", (torch.cos(angle) * voiced[:, None]).float())
        self.register_buffer("lag_pitch", (log_f0 - log_f0.mean()).float())
        self.register_buffer("mean_shape", torch.zeros(c.n_mels))
        self.register_buffer("in_scale", torch.ones(c.n_in))
        self.register_buffer("in_shift", torch.zeros(c.n_in))
        self.taste = nn.Linear(TASTE * c.n_in, c.fast)
        self.gather = nn.Linear(GROUP * c.fast, c.width)
        self.blocks = nn.ModuleList(Block(c.width, c.expand, d, c.dropout) for d in c.dilations)
        self.gru = nn.GRU(c.width, c.width, batch_first=True)
        self.drop = nn.Dropout(c.dropout)
        self.head_slow = nn.Linear(2 * c.width, N_LABELS + 1)  # the last column is the attention
        self.head_fast = nn.Linear(c.fast, N_LABELS + 1, bias=False)

    def features(self, samples: Tensor) -> Tensor:
        """samples float32 (B, N >= 400) at 16 kHz -> (B, T, n_raw): log mel power, then autocorrelation.

        The mels are librosa's `melspectrogram(center=False)` of the same window and filters. The
        autocorrelation is that of the magnitude spectrum (compression flattens the formants), normalised
        to its value at lag 0.
        """
        frames = samples.unfold(1, FRAME, HOP) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, N_FFT))
        power = spectrum.square().sum(-1)
        mels = (power @ self.mel + FLOOR).log()
        magnitude = power.sqrt()
        first, last = 2, 2000 * N_FFT // SAMPLE_RATE + 1
        magnitude = magnitude[..., first:last]
        lags = magnitude @ self.lag_cos[first:last] / (magnitude.sum(-1, keepdim=True) + 1e-4)
        return torch.cat([mels, lags], dim=-1)

    def initial_state(self, batch: int) -> Tensor:
        """The state of a session that has heard nothing: zeros, (batch, state_size)."""
        return torch.zeros(batch, self.config.state_size, device=self.mel.device)

    def _running(self, x: Tensor, sums: Tensor) -> Tensor:
        """Exponentially fading sums of x (B, T, K) from sums (B, K): (B, T, K), the last row is the new state."""
        rows = []
        steps = torch.arange(min(SCAN, x.shape[1]), device=x.device, dtype=torch.float32)
        decay = math.exp(-1 / self.config.memory_frames)
        ages = steps[:, None] - steps[None, :]
        kernel = torch.where(ages >= 0, decay ** ages.clamp(min=0), 0.0)
        for part in torch.split(x, SCAN, dim=1):
            n = part.shape[1]
            rows.append(kernel[:n, :n] @ part + (decay ** (steps[:n] + 1))[:, None] * sums[:, None])
            sums = rows[-1][:, -1]
        return torch.cat(rows, dim=1)

    def normalise(self, raw: Tensor, slow: Tensor) -> tuple[Tensor, Tensor]:
        """raw (B, T, n_raw), slow (B, slow_size) -> inputs (B, T, n_in), slow after the last frame.

        Two copies of the mels: relative to the running level (keeps timbre and tilt) and relative to the
        running mean of each band (removes voice and channel). Prosody: voicing, pitch, pitch relative to
        the voice's own running mean, level. No absolute level goes in: that of a corpus names the corpus.
        """
        c = self.config
        mels, lags = raw[..., : c.n_mels], raw[..., c.n_mels :]
        voicing = lags.amax(-1, keepdim=True)
        pitch = (torch.softmax(20.0 * lags, -1) @ self.lag_pitch)[..., None]
        voiced = voicing.clamp(min=0).square()
        power = mels.exp().mean(-1, keepdim=True)
        # Relative to its first frame nothing is known: the constant makes the count exact from frame one.
        sums = self._running(
            torch.cat([mels, torch.ones_like(power), power, pitch * voiced, voiced], -1), slow
        )
        mel_sum, count, power_sum, pitch_sum, voiced_sum = torch.split(sums, [c.n_mels, 1, 1, 1, 1], -1)
        level = (power_sum / count).log()
        prior = c.prior_frames
        mean = (mel_sum + prior * (self.mean_shape + level)) / (count + prior)
        relative = (mels - level).clamp(min=QUIET)
        own_pitch = pitch_sum / (voiced_sum + 2.0)
        loudness = (power.log() - level).clamp(min=QUIET)
        channel = (mels - mean).clamp(min=QUIET)
        inputs = torch.cat([relative, channel, lags, voicing, pitch, pitch - own_pitch, loudness], -1)
        return torch.addcmul(self.in_shift, inputs, self.in_scale), sums[:, -1]

    def forward(self, raw: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """raw (B, T, n_raw), state (B, state_size) -> logits (B, T, 9), weights (B, T) > 0, the new state.

        T is a multiple of GROUP, except in the last window of a span: its last frame is repeated to fill
        the group, and what those repeats give is dropped.
        """
        slow = state[:, : self.config.slow_size]
        inputs, slow = self.normalise(raw, slow)
        logits, weights, _, caches = self.score(inputs, state[:, self.config.slow_size :])
        return logits, weights, torch.cat([slow, caches], dim=1)

    def hear(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """samples (B, N), state -> logits, weights, embedding (B, embedding_size), the new state."""
        inputs, slow = self.normalise(self.features(samples), state[:, : self.config.slow_size])
        logits, weights, hidden, caches = self.score(inputs, state[:, self.config.slow_size :])
        shares = F.pad(weights, (0, -weights.shape[1] % GROUP)).view(weights.shape[0], -1, GROUP).sum(-1)
        embedding = (shares[:, None] @ hidden)[:, 0] / shares.sum(1, keepdim=True)
        return logits, weights, embedding, torch.cat([slow, caches], dim=1)

    def score(self, inputs: Tensor, caches: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """inputs (B, T, n_in) of `normalise`, caches (B, sum(cache_sizes)) -> logits, weights, what the head reads
        at every step (B, steps, embedding_size), caches."""
        c = self.config
        n_batch, n_frames = inputs.shape[:2]
        cached = torch.split(caches, list(c.cache_sizes), dim=1)
        missing = -n_frames % GROUP
        if missing:
            inputs = torch.cat([inputs, inputs[:, -1:].expand(-1, missing, -1)], dim=1)
        past = torch.cat([cached[0].view(n_batch, TASTE - 1, c.n_in), inputs], dim=1)
        kept = [past[:, -(TASTE - 1) :].flatten(1)]
        fast = F.silu(self.taste(past.unfold(1, TASTE, 1).transpose(2, 3).flatten(2)))
        slow = self.gather(fast.reshape(n_batch, -1, GROUP * c.fast))
        for block, cache, dilation in zip(self.blocks, cached[1:-1], c.dilations, strict=True):
            slow, cache = block(slow, cache.view(n_batch, 2 * dilation, c.width))
            kept.append(cache.flatten(1))
        memory, last = self.gru(slow, cached[-1][None].contiguous())
        kept.append(last[0])
        hidden = torch.cat([slow, memory], dim=-1)
        steps = self.head_slow(self.drop(hidden))
        out = (steps[:, :, None] + self.head_fast(self.drop(fast)).unflatten(1, (-1, GROUP))).flatten(1, 2)
        out = out[:, :n_frames]
        # Bounded on both sides, so that no single frame can own, or be lost to, an utterance.
        weights = 0.02 + out[..., N_LABELS].sigmoid()
        return out[..., :N_LABELS], weights, hidden, torch.cat(kept, dim=1)


def pool(logits: Tensor, weights: Tensor) -> Tensor:
    """Frames (B, T, 9), weights (B, T) -> the utterance (B, 9), as `stream.types.FrameScores` means it."""
    return (weights[..., None] * logits).sum(1) / weights.sum(1, keepdim=True)


class _FromSamples(nn.Module):
    """`CompactNet.hear` as a module, which is what can be traced."""

    def __init__(self, net: CompactNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.net.hear(samples, state)


def traced(
    net: CompactNet, n_frames: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """`CompactNet.hear` for windows of `n_frames` in batches of any size.

    Nearly all windows are one hop, and in small batches a third of their cost is Python between operators.
    """
    example = torch.zeros(3, samples_for(n_frames)), net.initial_state(3)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # branches on the number of frames are taken once and for all: as meant
        trace = torch.jit.trace(  # type: ignore[no-untyped-call]
            _FromSamples(net).eval(), example, check_trace=False
        )
        frozen: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]] = torch.jit.freeze(trace)
    return frozen
