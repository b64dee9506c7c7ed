"""The compact model's encoder: the beginning of a speech recognizer's, made causal, for speech as it comes in.

Whisper's smallest encoder (Radford et al. 2022, https://arxiv.org/abs/2212.04356) attends to half a minute,
forwards and backwards. Of it this keeps both convolutions and the first transformer layers, and what a stream
allows: time goes in chunks of 100 ms; a chunk attends to itself, to the positions just before it, and to moving
averages of the keys and values of everything earlier, so that little has to be kept per session. It was trained to
give what the whole encoder gives for a clip (`training.distil`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream.models.compact.sizes import (
    CHUNK,
    GROUP,
    LEVEL_OFFSET,
    LOG10,
    LOG_MEL_FLOOR,
    MASK_VALUE,
    CausalEncoderConfig,
)
from stream.models.packed import PackedLinear

KV_DTYPE = torch.bfloat16  # keys and values kept in the state, two of them in the place of a float32


class CausalEncoder(nn.Module):
    """Log mels of a span, chunk by chunk -> features of every position."""

    def __init__(self, config: CausalEncoderConfig) -> None:
        super().__init__()
        self.config = c = config
        # Convolutions: three frames side by side.
        self.first = PackedLinear(3 * c.n_mels, c.width, gelu=True)
        self.second = PackedLinear(3 * c.width, c.width, gelu=True)
        self.origin = nn.Parameter(torch.zeros(c.width))
        self.layers = nn.ModuleList(CausalEncoderLayer(c) for _ in range(c.n_layers))

    def forward(
        self, mels: Tensor, level: Tensor, cache: Tensor, pool_weights: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """mels (B, T, n_mels) in nats, T a multiple of GROUP, `level` (B, T, 1) in nats, and the span's cache so
        far (B, sum of cache_sizes) -> means over the positions of each chunk, as `pool_weights` (R, CHUNK) says:
        (B, T / GROUP, R, width), and the new cache, in parts: (B, any) each."""
        frames, row, n_chunks, *caches = torch.split(cache, list(self.config.cache_sizes), dim=1)
        x, after = self.convolve(mels, level, frames, row)
        after.append(n_chunks + mels.shape[1] // GROUP)
        for k, (layer, of_layer) in enumerate(zip(self.layers, caches, strict=True), start=1):
            x, *cache_after = layer(x, of_layer, n_chunks, pool_weights if k == len(self.layers) else None)
            after += cache_after
        return x, after

    def convolve(
        self, mels: Tensor, level: Tensor, frames: Tensor, row: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Both convolutions, after two frames of mels and a row between them: (B, T / 2, width), their cache."""
        x = (((mels - level) / LOG10 + LEVEL_OFFSET).clamp(min=LOG_MEL_FLOOR) + 4) / 4
        x = torch.cat([frames.view(-1, 2, self.config.n_mels), x], 1)
        after = [x[:, -2:].flatten(1)]
        x = self.first(torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], -1))
        x = torch.cat([row[:, None], x], 1)
        after.append(x[:, -1])
        return self.second(torch.cat([x[:, 0:-2:2], x[:, 1:-1:2], x[:, 2::2]], -1)) + self.origin, after


class CausalEncoderLayer(nn.Module):
    """One transformer layer, normalized before each half."""

    distance: Tensor
    decay: Tensor

    def __init__(self, config: CausalEncoderConfig) -> None:
        super().__init__()
        self.config = c = config
        self.norm1, self.norm2 = nn.LayerNorm(c.width), nn.LayerNorm(c.width)
        self.qkv = PackedLinear(c.width, 3 * c.width)
        self.out = PackedLinear(c.width, c.width)
        self.wide = PackedLinear(c.width, 4 * c.width, gelu=True)
        self.narrow = PackedLinear(4 * c.width, c.width)
        # What distance, and being a mean instead of a position, adds to the scores: per attention head.
        self.near = nn.Parameter(torch.zeros(c.n_heads, c.left + 2 * CHUNK - 1))
        self.far = nn.Parameter(torch.full((c.n_heads, len(c.ema_positions)), 1.5))
        at = torch.arange(CHUNK)[:, None] + c.left - torch.arange(c.left + CHUNK)[None]
        self.register_buffer("distance", at + CHUNK - 1, persistent=False)
        decay = torch.exp(
            -CHUNK / torch.tensor(c.ema_positions, dtype=torch.float64)
        )  # of the sums, per chunk
        self.register_buffer("decay", decay.float()[:, None], persistent=False)

    def forward(
        self, x: Tensor, cache: Tensor, n_chunks: Tensor, pool_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, positions, width), the cache (B, layer_cache), chunks before (B, 1) -> x, or its means over each
        chunk that `pool_weights` asks for; the cache: keys and values, and their decaying sums."""
        mixed, *after = self._attend(self.qkv(self.norm1(x)), cache, n_chunks)
        x = x + self.out(mixed)
        wide = self.wide(self.norm2(x))
        if pool_weights is not None:  # a mean of products is the product of the mean: a fifth of the work
            chunks = (rows.view(len(rows), -1, CHUNK, rows.shape[-1]) for rows in (x, wide))
            x, wide = (pool_weights.to(rows.dtype) @ rows for rows in chunks)
        return x + self.narrow(wide), *after

    def _attend(self, qkv: Tensor, cache: Tensor, n_chunks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        batch, n = qkv.shape[0], qkv.shape[1] // CHUNK
        split = c.width * c.left
        before = cache[:, :split].view(KV_DTYPE).view(batch, c.left, 2 * c.width)
        sums = cache[:, split:].view(batch, len(c.ema_positions), 2 * c.width)
        pairs = qkv[..., c.width :].to(KV_DTYPE).view(batch, n, CHUNK, -1)  # keys and values side by side
        chunk = n_chunks + torch.arange(n, device=n_chunks.device)  # (B, n)
        means, sums = self._means(pairs, sums, chunk)

        at = chunk[..., None] * CHUNK - c.left + torch.arange(c.left + CHUNK, device=n_chunks.device)
        mask = torch.cat([at >= 0, (chunk > 0)[..., None].expand(-1, -1, len(c.ema_positions))], -1).flatten(
            0, 1
        )
        last = pairs[:, :, CHUNK - c.left :]
        ahead = torch.cat([before[:, None], last[:, :-1]], 1) if n > 1 else before[:, None]
        context = torch.cat([ahead, pairs, means.to(KV_DTYPE)], 2).to(qkv.dtype)
        context = context.view(batch * n, -1, 2, c.n_heads, c.width // c.n_heads)
        keys, values = context.permute(2, 0, 3, 1, 4)
        q = qkv[..., : c.width].reshape(batch * n, CHUNK, c.n_heads, -1).transpose(1, 2)
        bias = torch.cat([self.near[:, self.distance], self.far[:, None].expand(-1, CHUNK, -1)], -1)
        bias = torch.where(mask[:, None, None], bias, MASK_VALUE)
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=1.0)
        mixed = mixed.transpose(1, 2).flatten(2).view(batch, n * CHUNK, c.width)
        return mixed, last[:, -1].flatten(1).view(torch.float32), sums.flatten(1)

    def _means(self, pairs: Tensor, sums: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Moving averages of the chunks before each of n (B, n, time constants, 2 width), sums after the last."""
        before = [sums]
        for mean in pairs.float().mean(2).unbind(1):  # one by one: rounded alike, however a span is cut
            before.append(self.decay * before[-1] + mean[:, None])
        # What as many ones would add up to: after c chunks (1 - d^c) / (1 - d).
        count = (1 - self.decay.pow(chunk[..., None, None])) / (1 - self.decay)
        return torch.stack(before[:-1], 1) / count.clamp(min=1e-6), before[-1]
