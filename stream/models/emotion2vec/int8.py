"""Products of 8-bit integers on a CPU: twice the speed of bf16's.

Both sides are rounded to 255 steps: a weight matrix once, each of its output channels on a scale of its own; what
comes in at every call, each row (a 20 ms step of one window) on the scale of its own largest number. Sums are of
whole numbers and exact, so a row's answer depends on that row alone, whoever shares the batch.

What one scale for a row does to a trained model's activations, whose outliers random weights lack, was not seen:
`int8` is taken only where it is asked for. The operators are torch's own but not public, like those of `dense`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from stream.models.emotion2vec.dense import ComputeTarget
from stream.models.processor import cpu_flags

ROWS = 300  # at a time where two products follow each other: what is between them stays in the cache
STEPS = 127  # on either side of 0
ZERO = 128  # what stands for 0 in an unsigned byte: oneDNN is fast with these only
TINY = 1e-30  # for a row of zeros


class Int8Dense:
    """As `Dense`, with the product in 8 bits; the answer is float32."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, target: ComputeTarget, gelu: bool = False
    ) -> None:
        """`weight` (n, k), `bias` (n,)."""
        n, k = weight.shape
        weight = weight.detach().float().to(target.device)
        peak = weight.abs().amax(1).clamp_min_(TINY)
        whole = (weight * (STEPS / peak)[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self._scales, self._zeros = peak / STEPS, torch.zeros(n, dtype=torch.int32)
        self._bias = torch.zeros(n) if bias is None else bias.detach().float().to(target.device)
        self._middle = torch.full((k,), ZERO + 0.5)  # what is cut off there is rounded to the nearest
        self._gelu = gelu

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).float()
        peak = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True)).clamp_min_(TINY)
        whole = torch.addcmul(self._middle, rows, STEPS / peak).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(whole, 1.0, ZERO, self._weight, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        y = torch.addcmul(self._bias, y, peak / STEPS, out=y)
        return (functional.gelu(y) if self._gelu else y).view(*x.shape[:-1], -1)


def unfit(device: torch.device) -> str:
    """Why `device` can't or shouldn't compute so; empty where it should."""
    if device.type != "cpu":
        return f"it is for CPUs, not for {device.type}"
    if not cpu_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"}:
        return "this processor has no instruction for it (VNNI) and would be slower"
    try:
        return "" if _right() else "torch's operators give wrong sums on this processor"
    except (AttributeError, RuntimeError, TypeError) as missing:
        return f"this torch has no operators for it ({missing})"


def _right() -> bool:
    """Also with the largest numbers, of which older instructions cut off sums; and with rows of nothing."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randint(-STEPS, STEPS + 1, (n, 64), generator=generator).float() for n in (9, 32))
    x[0], weight[0], x[:, 1], weight[:, 1], x[1] = STEPS, STEPS, STEPS, -STEPS, 0
    target = ComputeTarget(torch.device("cpu"), torch.float32, int8=True)
    with torch.inference_mode():
        y = Int8Dense(weight, None, target)(x)
    return bool(torch.allclose(y, x @ weight.T, rtol=1e-5))
