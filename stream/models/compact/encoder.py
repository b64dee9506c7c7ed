"""The compact model's ear: the beginning of a speech recogniser's encoder, rebuilt to listen as speech comes in.

Whisper's smallest encoder (Radford et al. 2022, https://arxiv.org/abs/2212.04356) hears half a minute at once,
forwards and backwards. Of it this keeps both convolutions and the first transformer layers, and what a stream
allows: time goes in chunks of 100 ms; a chunk attends to itself, to the positions just before it, and to fading
means of the keys and values of everything earlier, so that little has to be kept per session. It was trained to
say what the whole encoder says of a clip (`training.distil`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream.models.packed import PackedLinear

GROUP = 10  # frames of a chunk: 100 ms
CHUNK = GROUP // 2  # positions of a chunk: the second convolution halves the rate
LOG10 = math.log(10)
BEFORE = (
    -1.0
)  # decades: where the running level of speech lies in what Whisper hears, recordings peaking at 0.7
QUIETEST = -6.6  # decades below the running level: Whisper cuts off what lies eight below its loudest
KEPT = torch.bfloat16  # keys and values, two of them in the place of a float32
NEVER = -1e4  # in place of a score: not attended to


@dataclass(frozen=True)
class EarConfig:
    """Sizes of the ear. `left`: positions before a chunk that it attends to; `fading`: time constants of means."""

    n_mels: int = 64
    width: int = 384
    n_heads: int = 6
    n_layers: int = 2
    left: int = 5  # CHUNK at most
    fading: tuple[float, ...] = (25.0, 200.0)  # positions of 20 ms: 0.5 s and 4 s

    @property
    def layer_cache(self) -> int:
        """Keys and values of the positions before, and their fading sums."""
        return self.width * (self.left + 2 * len(self.fading))

    @property
    def cache_sizes(self) -> tuple[int, ...]:
        """Two frames of mels, one row between the convolutions, chunks heard, and the layers'."""
        return (2 * self.n_mels, self.width, 1, *(self.layer_cache,) * self.n_layers)


class Ear(nn.Module):
    """Log mels of a span, chunk by chunk -> what is heard at every position."""

    def __init__(self, config: EarConfig) -> None:
        super().__init__()
        self.config = c = config
        self.first = PackedLinear(
            3 * c.n_mels, c.width, gelu=True
        )  # a convolution: three frames side by side
        self.second = PackedLinear(3 * c.width, c.width, gelu=True)
        self.origin = nn.Parameter(torch.zeros(c.width))
        self.layers = nn.ModuleList(EarLayer(c) for _ in range(c.n_layers))

    def forward(self, mels: Tensor, level: Tensor, kept: Tensor, of: Tensor) -> tuple[Tensor, list[Tensor]]:
        """mels (B, T, n_mels) in nats, T a multiple of GROUP, `level` (B, T, 1) in nats, and what is kept of the
        span before (B, sum of cache_sizes) -> means over the positions of each chunk, as `of` (R, CHUNK) weighs
        them: (B, T / GROUP, R, width), and what to keep, in pieces: (B, any) each."""
        frames, row, heard, *caches = torch.split(kept, list(self.config.cache_sizes), dim=1)
        x, after = self.convolve(mels, level, frames, row)
        after.append(heard + mels.shape[1] // GROUP)
        for k, (layer, cache) in enumerate(zip(self.layers, caches, strict=True), start=1):
            x, *cache_after = layer(x, cache, heard, of if k == len(self.layers) else None)
            after += cache_after
        return x, after

    def convolve(
        self, mels: Tensor, level: Tensor, frames: Tensor, row: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Both convolutions, after two frames of mels and a row between them: (B, T / 2, width), what to keep."""
        x = (((mels - level) / LOG10 + BEFORE).clamp(min=QUIETEST) + 4) / 4
        x = torch.cat([frames.view(-1, 2, self.config.n_mels), x], 1)
        after = [x[:, -2:].flatten(1)]
        x = self.first(torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], -1))
        x = torch.cat([row[:, None], x], 1)
        after.append(x[:, -1])
        return self.second(torch.cat([x[:, 0:-2:2], x[:, 1:-1:2], x[:, 2::2]], -1)) + self.origin, after


class EarLayer(nn.Module):
    """One transformer layer, normalised before each half."""

    distance: Tensor
    decay: Tensor

    def __init__(self, config: EarConfig) -> None:
        super().__init__()
        self.config = c = config
        self.norm1, self.norm2 = nn.LayerNorm(c.width), nn.LayerNorm(c.width)
        self.qkv = PackedLinear(c.width, 3 * c.width)
        self.out = PackedLinear(c.width, c.width)
        self.wide = PackedLinear(c.width, 4 * c.width, gelu=True)
        self.narrow = PackedLinear(4 * c.width, c.width)
        # What distance, and being a mean instead of a position, adds to the scores: per attention head.
        self.near = nn.Parameter(torch.zeros(c.n_heads, c.left + 2 * CHUNK - 1))
        self.far = nn.Parameter(torch.full((c.n_heads, len(c.fading)), 1.5))
        at = torch.arange(CHUNK)[:, None] + c.left - torch.arange(c.left + CHUNK)[None]
        self.register_buffer("distance", at + CHUNK - 1, persistent=False)
        decay = torch.exp(-CHUNK / torch.tensor(c.fading, dtype=torch.float64))  # of the sums, per chunk
        self.register_buffer("decay", decay.float()[:, None], persistent=False)

    def forward(
        self, x: Tensor, cache: Tensor, heard: Tensor, of: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, positions, width), the cache (B, layer_cache), chunks heard before (B, 1) -> x, or its means over
        each chunk that `of` asks for; the cache: keys and values, and their fading sums."""
        mixed, *after = self._attend(self.qkv(self.norm1(x)), cache, heard)
        x = x + self.out(mixed)
        wide = self.wide(self.norm2(x))
        if of is not None:  # a mean of products is the product of the mean: a fifth of the work
            chunks = (rows.view(len(rows), -1, CHUNK, rows.shape[-1]) for rows in (x, wide))
            x, wide = (of.to(rows.dtype) @ rows for rows in chunks)
        return x + self.narrow(wide), *after

    def _attend(self, qkv: Tensor, cache: Tensor, heard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        batch, n = qkv.shape[0], qkv.shape[1] // CHUNK
        split = c.width * c.left
        before = cache[:, :split].view(KEPT).view(batch, c.left, 2 * c.width)
        sums = cache[:, split:].view(batch, len(c.fading), 2 * c.width)
        pairs = qkv[..., c.width :].to(KEPT).view(batch, n, CHUNK, -1)  # keys and values side by side
        chunk = heard + torch.arange(n, device=heard.device)  # (B, n)
        means, sums = self._means(pairs, sums, chunk)

        at = chunk[..., None] * CHUNK - c.left + torch.arange(c.left + CHUNK, device=heard.device)
        there = torch.cat([at >= 0, (chunk > 0)[..., None].expand(-1, -1, len(c.fading))], -1).flatten(0, 1)
        last = pairs[:, :, CHUNK - c.left :]
        ahead = torch.cat([before[:, None], last[:, :-1]], 1) if n > 1 else before[:, None]
        around = torch.cat([ahead, pairs, means.to(KEPT)], 2).to(qkv.dtype)
        around = around.view(batch * n, -1, 2, c.n_heads, c.width // c.n_heads)
        keys, values = around.permute(2, 0, 3, 1, 4)
        q = qkv[..., : c.width].reshape(batch * n, CHUNK, c.n_heads, -1).transpose(1, 2)
        bias = torch.cat([self.near[:, self.distance], self.far[:, None].expand(-1, CHUNK, -1)], -1)
        bias = torch.where(there[:, None, None], bias, NEVER)
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=1.0)
        mixed = mixed.transpose(1, 2).flatten(2).view(batch, n * CHUNK, c.width)
        return mixed, last[:, -1].flatten(1).view(torch.float32), sums.flatten(1)

    def _means(self, pairs: Tensor, sums: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Fading means (B, n, fading, 2 width) of the chunks before each of the n, and the sums after the last."""
        before = [sums]
        for said in pairs.float().mean(2).unbind(1):  # one by one: rounded alike, however a span is cut
            before.append(self.decay * before[-1] + said[:, None])
        # What as many ones would add up to: after c chunks (1 - d^c) / (1 - d).
        count = (1 - self.decay.pow(chunk[..., None, None])) / (1 - self.decay)
        return torch.stack(before[:-1], 1) / count.clamp(min=1e-6), before[-1]
