"""Products whose weights are laid out for the CPU they run on, once, when a model is loaded.

torch asks MKL for products in float32, which is slow on other makers' CPUs; oneDNN's packed layout is 2.3 times as
fast there (batches of 500 rows). It is reached by the operators that torch's own compiler uses for frozen weights:
torch's, but not public. Where they are missing, or their answer is not `F.linear`'s, the public function works.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger("model")

BATCHES = (1, 2, 5, 10, 12, 24, 60, 120, 250)  # rows that stand for all numbers of them


def product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """x (..., k), weight (n, k), bias (n,) -> x @ weight.T + bias, then GELU where wanted: (..., n)."""
    y = functional.linear(x, weight, bias)
    return functional.gelu(y) if gelu else y


def packed(weight: Tensor) -> Tensor:
    """`weight` (n, k) as `packed_product` wants it."""
    laid: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return laid


def packed_product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """As `product`, of a packed weight."""
    after: tuple[Any, ...] = ("gelu", [], "none") if gelu else ("none", [], "")
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, *after)
    return y


class PackedLinear(nn.Linear):
    """x (..., k) -> (..., n), then GELU where wanted. `pack` before use on a CPU; not for training after that."""

    def __init__(self, k: int, n: int, gelu: bool = False) -> None:
        super().__init__(k, n)
        self._gelu = gelu
        self._packed: tuple[Tensor, Tensor] | None = None

    def pack(self, dtype: torch.dtype) -> None:
        """From now on the product is computed, and its answer given, in `dtype`."""
        self._packed = packed(self.weight.detach().to(dtype)), self.bias.detach().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is None:
            return product(x, self.weight, self.bias, self._gelu)
        weight, bias = self._packed
        x = x.to(bias.dtype)
        if x.numel() > x.shape[-1]:
            return packed_product(x, weight, bias, self._gelu)
        # A row by itself would go another way, and be rounded otherwise than among others.
        return packed_product(x.expand(2, *x.shape), weight, bias, self._gelu)[0]


def lay_out(net: nn.Module, precision: str) -> str:
    """Pack the weights of `net`, which stays on the CPU from here on, to compute in `precision`: float32, bfloat16
    or auto. Says which it is: bfloat16 only where rows stand alone in it, and for auto only where it is faster."""
    wanted = precision == "bfloat16" or (precision == "auto" and bf16_pays(torch.device("cpu")))
    if wanted and can_pack():
        try:
            pack(net, torch.bfloat16)
            if rows_stand_alone(net):
                return "bfloat16"
            log.warning("bfloat16 on this CPU rounds a voice otherwise in company than alone: float32 it is")
        except RuntimeError as unable:
            log.warning("no bfloat16 on this CPU, float32 it is: %s", unable)
    pack(net, torch.float32)
    return "float32"


def pack(net: nn.Module, dtype: torch.dtype) -> None:
    """Pack every PackedLinear of `net`; or none, where it can't be done."""
    for module in net.modules() if can_pack() else ():
        if isinstance(module, PackedLinear):
            module.pack(dtype)


@torch.inference_mode()
def rows_stand_alone(net: nn.Module) -> bool:
    """Whether the packed products of `net` give a row the same bits whoever shares its batch. Where they do not,
    what is rounded to bfloat16 after them would be rounded otherwise, and scores would depend on company."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, PackedLinear):
            x = torch.randn(BATCHES[-1], module.in_features, generator=generator)
            y = module(x)
            if not all(torch.equal(module(x[:n]), y[:n]) for n in BATCHES):
                return False
    return True


_can_pack: bool | None = None


def can_pack() -> bool:
    """Whether torch's operators for packed weights are there and compute what they should."""
    global _can_pack
    if _can_pack is None:
        _can_pack = False
        try:
            _can_pack = _packing_holds()
        except (AttributeError, RuntimeError, TypeError) as missing:
            log.warning("no packed weights on this CPU, everything is slower: %s", missing)
    return _can_pack


def _packing_holds() -> bool:
    generator = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(*shape, generator=generator) for shape in ((5, 48), (32, 48), (32,)))
    with torch.inference_mode():
        y, wanted = packed_product(x, packed(w), b, gelu=True), product(x, w, b, gelu=True)
        kernel = torch.randn(32, 8, 1, 3, generator=generator)
        around = ([0, 1], [1, 1], [1, 1], 4)
        laid = torch.ops.mkldnn._reorder_convolution_weight(kernel, *around, [1, 32, 1, 9])
        rows = torch.randn(1, 32, 1, 9, generator=generator)
        z = torch.ops.mkldnn._convolution_pointwise(rows, laid, b, *around, "none", [], "")
        wanted_z = functional.conv2d(rows, kernel, b, padding=(0, 1), groups=4)
    return bool(torch.allclose(y, wanted, atol=1e-4) and torch.allclose(z, wanted_z, atol=1e-4))


def bf16_pays(device: torch.device) -> bool:
    """Whether this device multiplies bf16 faster than float32, in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16"})


def cpu_flags() -> set[str]:
    """What Linux says that the processor can do; empty where it doesn't say."""
    try:
        return {word for line in open("/proc/cpuinfo") if line.startswith("flags") for word in line.split()}  # noqa: PTH123
    except OSError:
        return set()
