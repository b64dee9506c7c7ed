"""The network of the `compact` model: samples to features, features to logits, all of it causal.

Three parts. *Features* (`features`): log-mels and periodicity of every frame. *The encoder* (`encoder`): the
beginning of a speech recognizer's encoder, pretrained on hundreds of thousands of hours of other people's speech,
made causal. *The heads*: a few small perceptrons that read running means and deviations of what it gives, and how
far these lie from those of the session. docs/decisions/0005 says what else was tried.

One `forward(features, state)` serves training and inference, whole files and windows of any length, so that their
scores agree by construction. Nothing here knows of sessions, files or label names; `compact` (the adapter) and
`training` call it. Layout is (batch, time, channels) throughout.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream.models.compact.encoder import CausalEncoder
from stream.models.compact.features import Features
from stream.models.compact.sizes import (
    ANSWER_SHARES,
    ANSWERS,
    CHUNK,
    DEVIATION_FLOOR,
    EMBEDDED_STEPS,
    GROUP,
    LEVEL_BANDS,
    LEVEL_RATIO,
    OUTLYING,
    QUIET,
    STEPS_PER_S,
    WARMUP_STEPS,
    NetConfig,
    beginnings,
)
from stream.models.packed import PackedLinear
from stream.types import N_LABELS, ceil_div


class Output(NamedTuple):
    """What the network makes of B windows of up to T frames."""

    logits: Tensor  # (B, T, N_LABELS)
    weights: Tensor  # (B, T), > 0
    emotion: Tensor  # (B, n_hidden): the weighted mean of the heads' last hidden layers
    voice: Tensor  # (B, voice_size): that of the means and deviations that they read
    state: Tensor  # (B, state_size), after the last frame of each


class Heads(nn.Module):
    """`n_heads` perceptrons side by side; their mean is the answer."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        n, (wide, narrow) = config.n_heads, config.hidden
        self.n_heads, self.dropout = n, config.dropout
        self.first = PackedLinear(config.n_stats, n * wide)
        self.second = nn.Parameter(torch.randn(n, wide, narrow) / math.sqrt(wide))
        self.second_bias = nn.Parameter(torch.zeros(n, 1, narrow))
        self.third = nn.Parameter(torch.randn(n, narrow, N_LABELS + 1) / math.sqrt(narrow))
        self.third_bias = nn.Parameter(torch.zeros(n, 1, N_LABELS + 1))

    def forward(self, stats: Tensor) -> Tensor:
        """stats (B, steps, n_stats) -> (B, steps, N_LABELS + 1): logits, and the attention's."""
        return self.each(stats).mean(0)

    def each(self, stats: Tensor) -> Tensor:
        """What every head says by itself: (n_heads, B, steps, N_LABELS + 1)."""
        rows = self.last(F.dropout(self.hidden(stats), self.dropout, self.training))
        return rows.view(self.n_heads, stats.shape[0], -1, N_LABELS + 1)

    def hidden(self, stats: Tensor) -> Tensor:
        """stats (B, steps, n_stats) -> the last hidden layer of every head (n_heads, B steps, narrow)."""
        rows = F.silu(self.first(stats).to(stats.dtype))
        rows = rows.view(-1, self.n_heads, self.second.shape[1]).transpose(0, 1)
        rows = F.dropout(rows, self.dropout, self.training)
        return F.silu(torch.baddbmm(self.second_bias, rows, self.second))

    def last(self, hidden: Tensor) -> Tensor:
        """hidden (n_heads, any, narrow) -> what every head says of it (n_heads, any, N_LABELS + 1)."""
        return torch.baddbmm(self.third_bias, hidden, self.third)


class CompactNet(nn.Module):
    """Features, the encoder, the heads."""

    of_positions: Tensor
    of_frames: Tensor
    encoded_mean: Tensor
    encoded_scale: Tensor
    stats_mean: Tensor
    stats_scale: Tensor

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = c = config
        self.register_buffer("encoded_mean", torch.zeros(c.n_encoded))
        self.register_buffer("encoded_scale", torch.ones(c.n_encoded))
        self.register_buffer("stats_mean", torch.zeros(c.n_stats))
        self.register_buffer("stats_scale", torch.ones(c.n_stats))
        for name, n in (("of_positions", CHUNK), ("of_frames", GROUP)):
            self.register_buffer(name, torch.from_numpy(beginnings(n)), persistent=False)
        self.features = Features(c.n_mels, c.n_lags)
        self.encoder = CausalEncoder(c.encoder)
        self.heads = Heads(c)

    def initial_state(self, batch: int) -> Tensor:
        """The state of a session without any audio yet: zeros, (batch, state_size)."""
        return torch.zeros(batch, self.config.state_size, device=self.encoded_mean.device)

    def encode(self, raw: Tensor, level: Tensor, cache: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """raw (B, T, n_raw), T a multiple of GROUP, the level's sums (B, 2) and the encoder's cache -> what every
        step is up to each of its answers (B, T / GROUP, ANSWERS, n_encoded), the level's sums at every frame
        (B, T, 2), the new cache in parts.

        Everything is relative to the running level: no absolute one goes in, that of a corpus names the corpus.
        """
        c = self.config
        mels, lags = raw[..., : c.n_mels], raw[..., c.n_mels :]
        power, sums, running_level = self.level(mels, level)
        means, after = self.encoder(mels, running_level, cache, self.of_positions)
        voicing = lags.amax(-1, keepdim=True)
        # Not `@`: with a vector that is rounded otherwise for other numbers of rows, on some processors.
        pitch = (torch.softmax(20.0 * lags, -1) * self.features.lag_pitch).sum(-1, keepdim=True)
        loudness = (power.log() - running_level).clamp(min=QUIET)
        prosody = torch.cat([voicing, pitch, loudness], -1).view(len(raw), -1, GROUP, 3)
        encoded = torch.cat([means, self.of_frames @ prosody], -1)
        return (encoded - self.encoded_mean) * self.encoded_scale, sums, after

    def level(self, mels: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The power of every frame (B, T, 1), its running sums after `before` (B, 2), and the logarithm of their
        mean: the running level (B, T, 1)."""
        power = mels[..., LEVEL_BANDS].exp().mean(-1, keepdim=True) * LEVEL_RATIO
        counted = torch.cat([power, torch.ones_like(power)], -1)
        sums = ema_scan(counted, before, self.config.level_frames, GROUP)
        return power, sums, (sums[..., :1] / sums[..., 1:]).log()

    def statistics(self, encoded: Tensor, span: Tensor, session: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """encoded (B, steps, R, n_encoded), of R evenly spaced beginnings of each step, after the sums of span and
        session (B, n_sums) -> (B, steps, R, n_stats), and both sums after the last step."""
        c = self.config
        each = moments(encoded).double()  # of numbers that hardly change, single precision loses the variance
        recent, lasting = sums_within(each, span, c.recent_steps), sums_within(each, session, c.session_steps)
        return self.summary(recent, lasting).float(), recent[:, -1, -1].float(), lasting[:, -1, -1].float()

    def summary(self, recent: Tensor, lasting: Tensor) -> Tensor:
        """The running sums of span and session (..., n_sums) -> (..., n_stats)."""
        c, n = self.config, self.config.n_encoded
        mean = recent[..., :n] / recent[..., -1:]
        variance = recent[..., n : 2 * n] / recent[..., -1:] - mean.square()
        weight = c.prior_steps + lasting[..., -1:]
        session_mean = lasting[..., :n] / weight
        spread = (c.prior_steps + lasting[..., n : 2 * n]) / weight - session_mean.square()
        stats = [
            mean,
            (variance.clamp(min=1e-2).sqrt() + DEVIATION_FLOOR).log(),
            (mean - session_mean) / spread.clamp(min=0.05).sqrt(),
            (recent[..., -1:] / STEPS_PER_S).log(),
        ]
        return torch.cat(stats, -1)

    def forward(self, raw: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """raw (B, T, n_raw), state (B, state_size) -> logits (B, T, 9), weights (B, T) > 0, the new state."""
        lengths = torch.full((len(raw),), raw.shape[1], device=raw.device)
        out = self._score(raw, state, lengths)
        return out.logits, out.weights, out.state

    def forward_samples(self, samples: Tensor, state: Tensor, lengths: Tensor) -> Output:
        """samples (B, N), state (B, state_size), frames of each row (B,): what stands behind the frames of a
        shorter row changes nothing."""
        return self._score(self.features(samples), state, lengths)

    def classify_emotion(self, embedding: Tensor) -> Tensor:
        """embedding (B, n_hidden) -> logits (B, N_LABELS): those of the speech that it is of, since what the heads
        do last is linear."""
        rows = embedding.view(len(embedding), self.config.n_heads, -1).transpose(0, 1)
        out: Tensor = self.heads.last(rows).mean(0)
        return out[:, :N_LABELS]

    def classify_voice(self, embedding: Tensor) -> Tensor:
        """embedding (B, voice_size) -> logits (B, N_LABELS): nearly those of the speech that it describes.

        It holds no comparison with the rest of its session: it is taken for that of a session's first
        EMBEDDED_STEPS, from which the sums that the heads read follow.
        """
        c = self.config
        mean, log_deviation = torch.split(embedding, c.n_encoded, dim=-1)
        square = (log_deviation.exp() - DEVIATION_FLOOR).square() + mean.square()
        each = torch.cat([mean, square, torch.ones_like(mean[..., :1])], -1)
        recent, lasting = (
            each * sum(math.exp(-step / time_constant) for step in range(EMBEDDED_STEPS))
            for time_constant in (c.recent_steps, c.session_steps)
        )
        stats = (self.summary(recent, lasting) - self.stats_mean) * self.stats_scale
        out: Tensor = self.heads(stats[:, None])
        return out[:, 0, :N_LABELS]

    def _score(self, raw: Tensor, state: Tensor, lengths: Tensor) -> Output:
        """A row's last frame is repeated to fill its last group, and what those repeats give is dropped: they may
        only come in the last window of a span."""
        c, n_frames = self.config, raw.shape[1]
        level, session, *caches = torch.split(state, [2, c.n_sums, *c.cache_sizes], dim=1)
        at = torch.arange(ceil_div(n_frames, GROUP) * GROUP, device=raw.device)
        raw = raw.gather(1, at.minimum(lengths[:, None] - 1)[..., None].expand(-1, -1, c.n_raw))
        encoded, levels, cache = self.encode(raw, level, caches[0])
        stats, span, session = self.statistics(encoded, caches[1], session)
        hidden = self.heads.hidden(((stats - self.stats_mean) * self.stats_scale).flatten(1, 2))
        out = self.heads.last(hidden).mean(0).view(len(raw), -1, N_LABELS + 1)
        full, answer = at < lengths[:, None] // GROUP * GROUP, at * ANSWERS // GROUP
        share = torch.where(full, out.new_tensor(ANSWER_SHARES)[answer % ANSWERS], 1.0)
        answer = torch.where(full, answer, answer - answer % ANSWERS + ANSWERS - 1)
        weights = attention(out, stats.flatten(1, 2)).gather(1, answer) * share * (at < lengths[:, None])
        logits = out[..., :N_LABELS].gather(1, answer[..., None].expand(-1, -1, N_LABELS))
        level = levels.gather(1, (lengths - 1)[:, None, None].expand(-1, -1, 2))[:, 0]
        after = torch.cat([level, session, *cache, span], dim=1)
        shares = torch.zeros_like(out[..., 0]).scatter_add(1, answer, weights)
        shares = (shares / shares.sum(1, keepdim=True))[:, None]
        # Of a step's answers the voice has the last one's statistics: they are those of all of it.
        steps = shares.view(len(raw), 1, -1, ANSWERS).sum(-1)
        voice = (steps @ stats[:, :, -1, : c.voice_size])[:, 0]
        emotion = (shares @ hidden.transpose(0, 1).reshape(len(raw), -1, c.n_hidden))[:, 0]
        return Output(logits[:, :n_frames], weights[:, :n_frames], emotion, voice, after)


def attention(out: Tensor, stats: Tensor) -> Tensor:
    """Weights (..., steps) of what the heads gave, out (..., steps, N_LABELS + 1) of stats (..., steps, n_stats).

    Bounded on both sides, so that no single frame can own, or be lost to, an utterance; small at first.
    """
    warmth = (stats[..., -1].exp() * (STEPS_PER_S / WARMUP_STEPS)).clamp(max=1)
    return (0.02 + out[..., N_LABELS].sigmoid()) * warmth


def moments(encoded: Tensor) -> Tensor:
    """What is summed of encoded (..., n_encoded): itself, its square, and a count: (..., n_sums)."""
    encoded = encoded.clamp(-OUTLYING, OUTLYING)
    return torch.cat([encoded, encoded.square(), torch.ones_like(encoded[..., :1])], -1)


def sums_within(x: Tensor, sums: Tensor, time_constant: float) -> Tensor:
    """Exponentially decaying sums of x (B, steps, R, K), of R evenly spaced beginnings of each step, from float32
    sums (B, K): (B, steps, R, K). A beginning counts as the part of a step that it is; the steps after it go on
    from the whole, which comes last."""
    after = ema_scan(x[:, :, -1], sums, time_constant)
    before = torch.cat([sums[:, None], after[:, :-1].float()], 1)[:, :, None].to(x.dtype)
    share = torch.arange(1, x.shape[2] + 1, dtype=x.dtype, device=x.device)[:, None] / x.shape[2]
    return share * x + torch.exp(-share / time_constant) * before


def ema_scan(x: Tensor, sums: Tensor, time_constant: float, together: int = 1) -> Tensor:
    """Exponentially decaying sums of x (B, T, K) from float32 sums (B, K): (B, T, K), the last row the new state.

    T is a multiple of `together`. Between as many rows sums are rounded to float32, as they are between windows:
    wherever a span is cut, the answer is the same to the last bit.
    """
    kernel, left = ema_kernel(together, time_constant, x.dtype, x.device)
    rows = []
    for part in (kernel @ x.view(len(x), -1, together, x.shape[-1])).unbind(1):
        rows.append(part + left * sums[:, None].to(x.dtype))
        sums = rows[-1][:, -1].float()
    return torch.cat(rows, dim=1)


@lru_cache(maxsize=64)
def ema_kernel(
    n: int, time_constant: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What each of n things in a row adds to their decaying sum after each of them (n, n), and what is left then
    of an older sum (n, 1)."""
    with torch.inference_mode(False):  # they serve training as well
        ages = torch.arange(n, dtype=torch.float64)[:, None] - torch.arange(n, dtype=torch.float64)
        kernel = torch.where(ages >= 0, torch.exp(-ages / time_constant), 0.0)
        left = torch.exp(-(torch.arange(n, dtype=torch.float64)[:, None] + 1) / time_constant)
        return kernel.to(device, dtype), left.to(device, dtype)


def pool(logits: Tensor, weights: Tensor) -> Tensor:
    """Frames (B, T, 9), weights (B, T) -> the utterance (B, 9), as `stream.types.FrameScores` means it."""
    return (weights[..., None] * logits).sum(1) / weights.sum(1, keepdim=True)
