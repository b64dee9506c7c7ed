"""The parts of the forward pass: normalization, a convolution of the stack, a transformer block.

Each is built from its counterpart in funasr's module and computes the same. Time comes before channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stream.models.emotion2vec.dense import ComputeTarget, Dense
from stream.models.emotion2vec.int8 import ROWS, Int8Dense
from stream.types import ceil_div

SHORT = 160  # steps of 20 ms


class Norm:
    """Layer normalization over the last axis; computed in float32, returned in the type that came in."""

    def __init__(self, norm: torch.nn.LayerNorm, device: torch.device, dtype: torch.dtype) -> None:
        self._size, self._eps = list(norm.normalized_shape), float(norm.eps)
        self._weight = None if norm.weight is None else norm.weight.detach().to(device, dtype)
        self._bias = None if norm.bias is None else norm.bias.detach().to(device, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self._size, self._weight, self._bias, self._eps)


class Conv:
    """One layer of the convolution stack: product over `width` rows of input, normalize, GELU."""

    def __init__(self, layer: Any, target: ComputeTarget) -> None:
        conv, norm = layer[0], layer[2][1]
        self.width, self.stride = conv.kernel_size[0], conv.stride[0]
        # Samples stay float32 in the first layer: bf16 would add noise 50 dB below them.
        first = ComputeTarget(target.device, torch.float32 if conv.in_channels == 1 else target.dtype)
        self._product = Dense(conv.weight.permute(0, 2, 1).flatten(1), conv.bias, first)
        self._norm, self._dtype = Norm(norm, target.device, target.dtype), target.dtype

    def __call__(self, x: Tensor, stride: int | None = None) -> Tensor:
        """x (batch, time, channels) → (batch, fewer, channels)."""
        batch, length, channels = x.shape
        step = stride or self.stride
        n = (length - self.width) // step + 1
        rows = x.as_strided((batch, n, self.width * channels), (length * channels, step * channels, 1))
        return functional.gelu(self._norm(self._product(rows).to(self._dtype)))


class TransformerBlock:
    """A transformer block, normalized after each half."""

    def __init__(self, block: Any, target: ComputeTarget) -> None:
        attention = block.attn
        self._heads, self._scale = int(attention.num_heads), float(attention.scale)
        dense = Int8Dense if target.int8 else Dense
        self._dtype, self._rows = target.dtype, ROWS if target.int8 else None
        self._qkv = dense(attention.qkv.weight, attention.qkv.bias, target)
        self._out = dense(attention.proj.weight, attention.proj.bias, target)
        self._wide = dense(block.mlp.fc1.weight, block.mlp.fc1.bias, target, gelu=True)
        self._narrow = dense(block.mlp.fc2.weight, block.mlp.fc2.bias, target)
        self._norm1 = Norm(block.norm1, target.device, torch.float32)
        self._norm2 = Norm(block.norm2, target.device, torch.float32)

    def __call__(self, x: Tensor, bias: Tensor | None, since: int = 0) -> Tensor:
        """x (batch, time, width) float32 → the same, without the steps before `since`.

        `bias` (1, heads, time, time) is added to the attention.
        """
        batch, length, width = x.shape
        qkv = self._qkv(x).to(self._dtype).view(batch, length, 3, self._heads, width // self._heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if since:
            q, x, length = q[:, :, since:], x[:, since:], length - since
            bias = None if bias is None else bias[:, :, since:]
        mixed = _attend(q, k, v, bias, self._scale)
        x = self._norm1(x + self._out(mixed.transpose(1, 2).reshape(batch, length, width)))
        return self._norm2(x + self._mlp(x))

    def _mlp(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        if self._rows is None or len(rows) <= self._rows:
            return self._narrow(self._wide(x))
        parts = rows.chunk(ceil_div(len(rows), self._rows))
        return torch.cat([self._narrow(self._wide(part)) for part in parts]).view(x.shape)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Attention over (batch, heads, time, size). In bf16 on a CPU short windows take the long way.

    torch's fused kernel computes in MKL there; plain operations in oneDNN, one sequence after the other so that
    its scores stay in the core's cache, take 40 % of its time up to SHORT.
    """
    if q.dtype != torch.bfloat16 or q.is_cuda or q.shape[2] > SHORT:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    mixed = torch.empty_like(q)
    for q1, k1, v1, out in zip(q, k, v, mixed, strict=True):
        scores = torch.bmm(q1.contiguous(), k1.contiguous().transpose(1, 2))
        scores = scores.float() * scale if bias is None else torch.add(bias[0], scores, alpha=scale)
        torch.bmm(scores.softmax(-1).to(q.dtype), v1.contiguous(), out=out)
    return mixed
