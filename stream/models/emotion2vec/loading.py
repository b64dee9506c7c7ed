"""A name or folder, a device and a precision → a model that is ready to score."""

from __future__ import annotations

import logging
from typing import Any

import torch

from stream.models.emotion2vec import checkpoint, int8
from stream.models.emotion2vec.adapter import Emotion2Vec, Options, Precision
from stream.models.emotion2vec.dense import ComputeTarget
from stream.models.emotion2vec.encoder import Encoder, UnsupportedModel
from stream.models.emotion2vec.hub import license, resolve
from stream.models.packed import bf16_is_faster, unpackable
from stream.types import SAMPLE_RATE

log = logging.getLogger("model")

APART = 0.03  # of a score, between float16 and float32


def load(name: str, device: str, options: Options) -> Emotion2Vec:
    """See `stream.models.emotion2vec.load`."""
    target = _target(device, options.precision)
    folder = resolve(name, options.hub)
    terms = license(folder)
    log.info("%s: %s; license of the weights: %s", name, folder, terms)
    module, tokens = checkpoint.load_module(folder, options.allow_pickle)
    if tokens.note:
        log.warning("%s", tokens.note)
    plain = ComputeTarget(torch.device("cpu"), torch.float32)
    encoder = Encoder(module, plain)
    _check_against(module, encoder)
    if target != plain:
        encoder = _elsewhere(module, encoder, target)
    return Emotion2Vec(folder.name, encoder, tokens, options, terms)


def _elsewhere(module: Any, plain: Encoder, target: ComputeTarget) -> Encoder:
    """The encoder in `target`; `plain` on a CPU whose products in that precision depend on batch mates."""
    encoder = Encoder(module, target)
    if target.device.type != "cpu":
        if target.dtype == torch.float16 and not is_near(encoder, plain):
            log.warning("float16 is too narrow for this checkpoint; using float32")
            return Encoder(module, ComputeTarget(target.device, torch.float32))
        if target.dtype != torch.float32:
            log.info(
                "%s on a GPU: batch mates may move a score by 1e-3; model.precision: float32 avoids it",
                target.name,
            )
        return encoder
    if is_batch_invariant(encoder):
        return encoder
    log.warning("%s results depend on batch composition on this CPU; using float32", target.name)
    return plain


def is_batch_invariant(encoder: Encoder) -> bool:
    """Whether three moments of noise get the same logits together as alone, to 1e-5."""
    noise = torch.randn(3, SAMPLE_RATE // 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together, *alone = (
            encoder.logits(encoder.features(some, both_phases=True))
            for some in (noise, *(row[None] for row in noise))
        )
    return bool(torch.allclose(together, torch.cat(alone), rtol=0, atol=1e-5))


def is_near(encoder: Encoder, plain: Encoder) -> bool:
    """Whether noise, soft and loud, gets the same scores from both, to APART: what is too large for a narrow type
    becomes no number at all."""
    noise = torch.randn(3, SAMPLE_RATE // 2, generator=torch.Generator().manual_seed(0))
    noise *= torch.tensor([[1e-3], [0.1], [1.0]])
    with torch.inference_mode():
        one, other = (
            e.logits(e.features(noise.to(e.target.device), both_phases=True)).cpu().softmax(-1)
            for e in (encoder, plain)
        )
    return bool(torch.allclose(one, other, rtol=0, atol=APART))


def _check_against(module: Any, encoder: Encoder) -> None:
    """One moment of noise through funasr's class and through ours. Raises UnsupportedModel when they differ."""
    noise = torch.randn(1, SAMPLE_RATE // 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = encoder.features(noise, both_phases=False)
        scaled = torch.nn.functional.layer_norm(noise, noise.shape[1:]) if module.cfg.normalize else noise
        theirs = module.extract_features(scaled, padding_mask=None)["x"]
    apart = float((ours - theirs).abs().max())
    if not apart < 1e-3:
        raise UnsupportedModel(f"our forward pass and funasr's differ by {apart:.2g} on this checkpoint")


def _target(name: str, precision: Precision) -> ComputeTarget:
    """The device called `name` in the precision asked for. Raises ValueError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise ValueError(f"device {name!r}: not one of auto, cpu, cuda, cuda:N")
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= present:
        raise ValueError(f"device {name!r} is not there: this machine offers {present} of its kind")
    if precision == "int8" and (unfit := int8.unfit(device)):
        raise ValueError(f"precision int8: {unfit}; take bfloat16, float32 or auto")
    if precision == "float16":
        if device.type != "cuda":
            raise ValueError(
                f"precision float16 is for GPUs; on a {device.type.upper()} take bfloat16, float32, int8 or auto"
            )
        return ComputeTarget(device, torch.float16)
    reduced = precision == "bfloat16" or (precision in ("auto", "int8") and bf16_is_faster(device))
    if reduced and device.type == "cpu" and (why := unpackable(torch.bfloat16)):
        log.warning("no bfloat16 on this processor (%s); using float32", why)
        reduced = False
    return ComputeTarget(device, torch.bfloat16 if reduced else torch.float32, precision == "int8")
