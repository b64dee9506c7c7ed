"""Matrix products and convolutions with weights laid out for where they run, once, at load.

On a CPU that means oneDNN's packed layout, reached by the operators that torch's own compiler uses for frozen
weights: on AVX-512 2.4 times the speed of `F.linear` in fp32 (which asks MKL, and MKL is slow on other
makers' CPUs), 4.5 times in bf16, more where there is a matrix unit. These operators are torch's, but not
public: where they are missing, or their answer is not that of `F.linear`, the public functions do the same work.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

log = logging.getLogger("model")


@dataclass(frozen=True)
class Place:
    """Where and in which precision products are computed. The residual stream is float32 everywhere."""

    device: torch.device
    dtype: torch.dtype
    int8: bool = False  # the transformer's products, and only those (`int8`)

    @property
    def name(self) -> str:
        return "int8" if self.int8 else str(self.dtype).removeprefix("torch.")

    @property
    def packed(self) -> bool:
        return self.device.type == "cpu" and can_pack()


class Dense:
    """x (..., k) of any float type → x @ weight.T + bias, then GELU where wanted: (..., n) in `place.dtype`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, place: Place, gelu: bool = False) -> None:
        """`weight` (n, k), `bias` (n,)."""
        self._dtype, self._packed, self._gelu = place.dtype, place.packed, gelu
        self._weight = weight.detach().to(place.device, place.dtype).contiguous()
        self._bias = None if bias is None else bias.detach().to(place.device, place.dtype)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        if self._packed:
            after: tuple[Any, ...] = ("gelu", [], "none") if self._gelu else ("none", [], "")
            packed: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, *after)
            return packed
        y = functional.linear(x, self._weight, self._bias)
        return functional.gelu(y) if self._gelu else y


class GroupedConv:
    """x (batch, time, channels) → the same shape: a grouped convolution over time that keeps the length."""

    def __init__(self, conv: torch.nn.Conv1d, place: Place) -> None:
        self._dtype, self._packed, self._groups = place.dtype, place.packed, conv.groups
        self._k = conv.kernel_size[0]
        weight = conv.weight.detach().to(place.device, place.dtype).unsqueeze(2)
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._bias = None if conv.bias is None else conv.bias.detach().to(place.device, place.dtype)
        self._around = ([0, self._k // 2], [1, 1], [1, 1], self._groups)
        if self._packed:
            shape = [1, weight.shape[0], 1, 128]  # a hint: other sizes work as well
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(self._weight, *self._around, shape)

    def __call__(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        x = x.to(self._dtype).transpose(1, 2).unsqueeze(2)  # a view: channels last, one row
        if self._packed:
            y = torch.ops.mkldnn._convolution_pointwise(
                x, self._weight, self._bias, *self._around, "none", [], ""
            )
        else:
            padding, stride, dilation, groups = self._around
            y = functional.conv2d(x, self._weight, self._bias, stride, padding, dilation, groups)
        kept: Tensor = y.squeeze(2).transpose(1, 2)[:, :length]  # an even kernel gives one too many
        return kept


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
        packed = torch.ops.mkldnn._reorder_linear_weight(w, None)
        y = torch.ops.mkldnn._linear_pointwise(x, packed, b, "gelu", [], "none")
        wanted = functional.gelu(functional.linear(x, w, b))
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
