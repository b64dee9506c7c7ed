"""What the int8 graph has to know of speech: `python -m training.quantize` writes weights/compact/int8.npz.

Most of the encoder's products are computed from bytes (`stream.models.compact.quantized`), of weights that are not
trained again. Three things keep the scores where they were: columns that come out of a norm are made alike before
they share a scale; what lies beyond a quantile of the rows' extremes is cut off; and what rounding adds on
average, in this product and in those before it, is taken off its bias, since the heads read means. The second
convolution stays in float32: of all products its bytes cost scores most.

Needs EMOTION_DATA; hears clips of `train` alone. Run it again whenever the weights change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stream.models.compact.files import FOLDER
from stream.models.compact.model import read_weights
from stream.models.compact.network import CompactNet
from stream.models.compact.quantized import NORMS
from stream.models.packed import PackedLinear
from stream.types import Floats, samples_for
from training.corpus import TrainingClip, data_folder, judged, read_clips
from training.graph import IN_FLOAT
from training.prepare import decode

CLIPS, FRAMES, BATCH = 256, 240, 64
ROWS = 3000  # of each batch, to look at
QUANTILE = 0.9995  # of the rows' extremes: what the scale reaches to
LEVELS, WEIGHT_LEVELS = 255, 127


def main() -> None:
    folder = data_folder()
    if folder is None:
        raise SystemExit("set EMOTION_DATA to the folder of the corpora (training/README.md)")
    write(read_clips(folder))


def write(clips: Sequence[TrainingClip], folder: Path = FOLDER) -> None:
    """`int8.npz` beside the weights in `folder`."""
    net, _ = read_weights(folder)
    np.savez(folder / "int8.npz", **measured(net.eval(), excerpts(clips)))


def excerpts(clips: Sequence[TrainingClip]) -> Floats:
    """The beginnings of clips of `train`, short ones repeated: (CLIPS at most, samples)."""
    speech = judged(clips)
    clips = [clip for clip in clips if clip.split == "train" and clip.corpus in speech]
    chosen = np.random.default_rng(0).permutation(len(clips))[:CLIPS]
    n = samples_for(FRAMES)
    return np.stack([np.resize(decode(clips[i].path), n) for i in chosen])


class BytesProduct:
    """What the int8 graph makes of a product, in numbers that are whole but for their type."""

    def __init__(self, product: PackedLinear, divisors: Tensor, scale: float, zero: int) -> None:
        self.divisors, self.scale, self.zero, self.gelu = divisors, scale, zero, product._gelu
        weight = product.weight * divisors
        step = weight.abs().amax(1, keepdim=True) / WEIGHT_LEVELS
        self.weight = (weight / step).round() * step
        self.bias: Tensor = product.bias.detach()

    def rounded(self, x: Tensor) -> Tensor:
        """What comes in, as its bytes say it."""
        levels = (x / self.divisors / self.scale).round() + self.zero
        return (levels.clamp(0, LEVELS) - self.zero) * self.scale

    def __call__(self, x: Tensor) -> Tensor:
        y = F.linear(self.rounded(x), self.weight, self.bias)
        return F.gelu(y) if self.gelu else y


@torch.inference_mode()
def measured(net: CompactNet, samples: Floats) -> dict[str, Any]:
    """The arrays of int8.npz. Products before the one that is measured are computed as they will be."""
    products = {
        name: module
        for of_net, module in net.named_modules()
        if isinstance(module, PackedLinear) and (name := of_net.replace("encoder", "ear")) not in IN_FLOAT
    }
    inputs: dict[str, list[Tensor]] = {name: [] for name in products}
    usual: dict[str, list[Tensor]] = {name: [] for name in products}

    def look(name: str, x: Tensor) -> None:
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:ROWS]
        inputs[name].append(x[chosen].clone())
        usual[name].append(F.linear(x.mean(0), products[name].weight, products[name].bias))

    listen(net, samples, products, look)
    arrays: dict[str, Any] = {}
    for name, product in products.items():
        x, weight = torch.cat(inputs[name]), product.weight
        divisors = torch.ones(weight.shape[1])
        if name.rpartition(".")[2] in NORMS:
            divisors = (x.abs().amax(0).clamp(min=1e-3) / weight.abs().amax(0).clamp(min=1e-4)).sqrt()
            divisors /= divisors.log().mean().exp()
        x = x / divisors
        low = min(0.0, torch.quantile(x.amin(1), 1 - QUANTILE).item())
        scale = (torch.quantile(x.amax(1), QUANTILE).item() - low) / LEVELS
        in_bytes = BytesProduct(product, divisors, scale, round(-low / scale))
        product._product = in_bytes
        now: list[Tensor] = []

        def average(_: str, x: Tensor, product: BytesProduct = in_bytes, seen: list[Tensor] = now) -> None:
            seen.append(product.rounded(x).mean(0))

        listen(net, samples, {name: product}, average)
        in_bytes.bias = torch.stack(usual[name]).mean(0) - F.linear(torch.stack(now).mean(0), in_bytes.weight)
        arrays |= {
            f"{name}.divisors": divisors.numpy(),
            f"{name}.scale": np.float32(scale),
            f"{name}.zero": np.uint8(in_bytes.zero),
            f"{name}.bias": in_bytes.bias.numpy(),
        }
    return arrays


def listen(
    net: CompactNet, samples: Floats, products: dict[str, PackedLinear], look: Callable[[str, Tensor], None]
) -> None:
    """Have `net` hear all samples, and `look` see what comes into each product: (any, k)."""
    hooks = [
        product.register_forward_pre_hook(lambda _, x, name=name: look(name, x[0].flatten(0, -2)))
        for name, product in products.items()
    ]
    for some in torch.split(torch.from_numpy(samples), BATCH):
        net.forward_samples(some, net.initial_state(len(some)), torch.full((len(some),), FRAMES))
    for hook in hooks:
        hook.remove()


if __name__ == "__main__":
    main()
