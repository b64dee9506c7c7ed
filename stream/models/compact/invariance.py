"""Which way of computing the embedded model's products keeps its promises on this processor.

A score must not depend on who shares the batch, nor on how the audio is cut. Keys and values are rounded to
bfloat16 between windows, and a last digit that differs before that rounding grows into scores that differ by 1e-4
(float32) or 2e-3 (bfloat16) after it. So everything before it has to be equal to the last bit, whatever the number
of rows. Whether it is depends on the processor and on torch's kernels for it: nothing but a trial tells. The ways
are tried in order, the fastest first, when the model is loaded: 0.1 to 0.2 s each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import GROUP
from stream.models.packed import (
    BlockedProduct,
    PackedProduct,
    PlainProduct,
    ProductFactory,
    bf16_is_faster,
    packable,
    unpackable,
)
from stream.types import HOP, samples_for

log = logging.getLogger("model")

WINDOWS = 32
# From which of them, and how many: the batches that are tried.
BATCHES = [(0, 1), (5, 1), (6, 2), (1, 3), (9, 4), (3, 5), (0, 8), (7, 12), (2, 16), (8, 24)]
SPAN_GROUPS = 8  # one window of so many groups of frames, against as many windows of one


def pack_weights(net: CompactNet, precision: str) -> str:
    """Lay out the weights of `net`, which stays where it is from here on, to compute in `precision`: float32,
    bfloat16 or auto (bfloat16 where that is faster). Gives the type that was taken, in the first way in which
    `net` is invariant; a log line says where that is not the one asked for."""
    for name, way, dtype in _ways(net, precision):
        for module in packable(net):
            module.pack(way, dtype)
        if is_invariant(net):
            return str(dtype).removeprefix("torch.")
        log.warning("%s results depend on batch composition on this CPU; trying a slower product", name)
    log.error("all products depend on batch composition on this CPU: scores may differ by 1e-4")
    return "float32"


def _ways(net: CompactNet, precision: str) -> Iterator[tuple[str, ProductFactory, torch.dtype]]:
    device = net.encoded_mean.device
    if device.type == "cpu":
        bf16, f32 = torch.bfloat16, torch.float32
        if precision == "bfloat16" and (why := unpackable(bf16)):
            log.warning("no bfloat16 on this processor (%s); using float32", why)
        elif precision == "bfloat16" or (precision == "auto" and bf16_is_faster(device)):
            yield "bfloat16", PackedProduct, bf16
        if why := unpackable(f32):
            log.warning("no packed weights on this processor, everything is slower: %s", why)
        else:
            yield "float32 with packed weights", PackedProduct, f32
    yield "float32", PlainProduct, torch.float32
    yield "float32 in blocks", BlockedProduct, torch.float32


@torch.inference_mode()
def is_invariant(net: CompactNet) -> bool:
    """Whether all products of `net`, and its state, are the same to the last bit in any batch and however a
    span is cut."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.full((WINDOWS,), GROUP)
    lengths = torch.where(torch.arange(WINDOWS) % 3 == 1, 1 + torch.arange(WINDOWS) % GROUP, groups)
    loud = 10 ** -(3 * torch.rand(WINDOWS, 1, generator=generator))
    before = loud * torch.randn(WINDOWS, samples_for(GROUP), generator=generator)
    after = loud * torch.randn(WINDOWS, samples_for(GROUP), generator=generator)
    span = loud[:2] * torch.randn(2, samples_for(SPAN_GROUPS * GROUP), generator=generator)
    device = net.encoded_mean.device
    before, after, span, groups, lengths = (t.to(device) for t in (before, after, span, groups, lengths))
    begun = net.forward_samples(before, net.initial_state(WINDOWS), groups).state
    return _batch_mates_do_not_matter(net, after, begun, lengths) and _cuts_do_not_matter(
        net, span, begun[:2]
    )


def _batch_mates_do_not_matter(net: CompactNet, samples: Tensor, state: Tensor, lengths: Tensor) -> bool:
    together = _traced(net, samples, state, lengths)
    for first, n in BATCHES:
        some = slice(first, first + n)
        n_samples = samples_for(int(lengths[some].max()))
        alone = _traced(net, samples[some, :n_samples].contiguous(), state[some], lengths[some])
        for one, other in zip(alone, together, strict=True):
            if not _same_bits(one, other[some, : one.shape[1]]):
                return False
    return True


def _traced(net: CompactNet, samples: Tensor, state: Tensor, lengths: Tensor) -> list[Tensor]:
    """What every product of `net` gives, and the state after it all; windows first."""
    seen: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda module, x, y: seen.append(y)) for module in packable(net)]
    try:
        after = net.forward_samples(samples, state, lengths).state
    finally:
        for hook in hooks:
            hook.remove()
    return [*seen, after]


def _cuts_do_not_matter(net: CompactNet, span: Tensor, state: Tensor) -> bool:
    lengths = torch.full((len(span),), GROUP, device=span.device)
    at_once = net.forward_samples(span, state, SPAN_GROUPS * lengths).state
    for group in range(SPAN_GROUPS):
        at = group * GROUP * HOP
        state = net.forward_samples(span[:, at : at + samples_for(GROUP)].contiguous(), state, lengths).state
    return _same_bits(at_once, state)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Of states, too, in which pairs of bfloat16 stand in the place of numbers and may look like none."""
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
