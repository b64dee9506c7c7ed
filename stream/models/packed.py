"""Matrix products with constant weights, laid out for the CPU they run on, once, when a model is loaded.

torch asks MKL for products in float32, which is slow on other makers' CPUs; oneDNN's packed layout is 2.3 times as
fast there (batches of 500 rows). It is reached by the operators that torch's own compiler uses for frozen weights:
torch's, but not public. Where they are missing, or their answer is not `F.linear`'s, the public function works.

A product can be computed in three ways, which differ in speed and in whether a row's last digits depend on how
many rows there are; `stream.models.compact.invariance` chooses one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.processor import multiplies_bf16

BLOCK = 16  # rows that BlockedProduct computes at a time


def product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """x (..., k), weight (n, k), bias (n,) -> x @ weight.T + bias, then GELU where wanted: (..., n)."""
    y = functional.linear(x, weight, bias)
    return functional.gelu(y) if gelu else y


def packed(weight: Tensor) -> Tensor:
    """`weight` (n, k) as `packed_product` wants it. Raises RuntimeError where the CPU has no such product."""
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return laid


def packed_product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """As `product`, of a packed weight."""
    after: tuple[Any, ...] = ("gelu", [], "none") if gelu else ("none", [], "")
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, *after)
    return y


Product = Callable[[Tensor], Tensor]  # x (..., k) -> (..., n), both in the weight's type


class ProductFactory(Protocol):
    """How to compute x @ weight.T + bias: makes the product of weight (n, k) and bias (n,)."""

    def __call__(self, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Product: ...


class PlainProduct:
    """The public function."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> None:
        self._weight, self._bias, self._gelu = weight, bias, gelu

    def __call__(self, x: Tensor) -> Tensor:
        return product(x.to(self._weight.dtype), self._weight, self._bias, self._gelu)


class PackedProduct:
    """oneDNN's, of a packed weight: the fastest on a CPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> None:
        self._dtype, self._bias, self._gelu = weight.dtype, bias, gelu
        self._weight = packed(weight.contiguous())

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        if x.numel() > x.shape[-1]:
            return packed_product(x, self._weight, self._bias, self._gelu)
        # A row by itself would go another way, and be rounded otherwise than among others.
        return packed_product(x.expand(2, *x.shape), self._weight, self._bias, self._gelu)[0]


class BlockedProduct(PlainProduct):
    """The public function for BLOCK rows at a time, the last of them filled up: slower, and by construction the
    same for a row whoever shares the batch, where a row's place in a block does not matter."""

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        filled = functional.pad(rows, (0, 0, 0, -len(rows) % BLOCK))
        blocks = filled.view(-1, BLOCK, filled.shape[-1]).unbind()
        y = torch.cat([super(BlockedProduct, self).__call__(block) for block in blocks])
        return y[: len(rows)].view(*x.shape[:-1], -1)


class Packable(nn.Module):
    """A module that can be told how to compute its products, before serving; it is not for training after that."""

    def pack(self, make: ProductFactory, dtype: torch.dtype) -> None:
        """From now on products are made by `make`, and their answers given, in `dtype`."""
        raise NotImplementedError


def packable(net: nn.Module) -> list[Packable]:
    """The parts of `net` that have products."""
    return [module for module in net.modules() if isinstance(module, Packable)]


class PackedLinear(nn.Linear, Packable):
    """x (..., k) -> (..., n), then GELU where wanted."""

    def __init__(self, k: int, n: int, gelu: bool = False) -> None:
        super().__init__(k, n)
        self._gelu = gelu
        self._product: Product | None = None

    def pack(self, make: ProductFactory, dtype: torch.dtype) -> None:
        self._product = make(self.weight.detach().to(dtype), self.bias.detach().to(dtype), self._gelu)

    def forward(self, x: Tensor) -> Tensor:
        return self._product(x) if self._product else product(x, self.weight, self.bias, self._gelu)


@cache
def unpackable(dtype: torch.dtype) -> str:
    """Why this CPU can't compute packed products in `dtype` (float32 or bfloat16); empty where it can."""
    try:
        return "" if _packing_holds(dtype) else "torch's packed products are wrong on this processor"
    except (AttributeError, RuntimeError, TypeError) as missing:
        return str(missing).split("\n", 1)[0]


def _packing_holds(dtype: torch.dtype) -> bool:
    """Whether torch's operators for packed weights are there and compute what the public functions compute."""
    generator = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(*shape, generator=generator).to(dtype) for shape in ((5, 48), (32, 48), (32,)))
    kernel, rows = (
        torch.randn(*shape, generator=generator).to(dtype) for shape in ((32, 8, 1, 3), (1, 32, 1, 9))
    )
    around = ([0, 1], [1, 1], [1, 1], 4)
    with torch.inference_mode():
        y = packed_product(x, packed(w), b, gelu=True)
        laid = torch.ops.mkldnn._reorder_convolution_weight(kernel, *around, [1, 32, 1, 9])
        z = torch.ops.mkldnn._convolution_pointwise(rows, laid, b, *around, "none", [], "")
        x, w, b, kernel, rows = (t.float() for t in (x, w, b, kernel, rows))
        wanted, wanted_z = (
            product(x, w, b, gelu=True),
            functional.conv2d(rows, kernel, b, padding=(0, 1), groups=4),
        )
    near = 1e-4 if dtype == torch.float32 else 0.02
    return all(torch.allclose(a.float(), b, atol=near, rtol=near) for a, b in ((y, wanted), (z, wanted_z)))


def bf16_is_faster(device: torch.device) -> bool:
    """Whether this device multiplies bf16 faster than float32, in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    return multiplies_bf16() and not unpackable(torch.bfloat16)
