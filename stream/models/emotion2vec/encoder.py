"""emotion2vec's forward pass, laid out for speed: samples → features of every frame → logits.

The numbers are those of funasr's class (`funasr.models.emotion2vec.model.Emotion2vec`, a data2vec 2.0 audio
encoder, https://arxiv.org/abs/2312.15185), from whose loaded module this is built; sizes come from that
module. What differs is the order of memory: time before channels throughout, so that every convolution of the
stack is a plain product over contiguous rows and every normalization runs along memory; weights packed once
(`dense`); attention fused.

Frames. The stack steps 320 samples and sees 400: the frames with even numbers on the 10 ms grid. Its last
convolution run at stride 1 gives those with odd numbers between them, for nearly nothing. Even and odd frames are
then two ordinary 20 ms sequences for everything that follows, which never saw a 10 ms step when it was trained.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stream.models.emotion2vec.dense import ComputeTarget, Dense, GroupedConv
from stream.models.emotion2vec.layers import Conv, Norm, TransformerBlock
from stream.types import FRAME, HOP, ceil_div

MICRO_BATCH = 4  # windows at a time on a CPU: more do not fill it better, and fall out of its cache
BIASES = 6  # attention biases kept, by length: live windows have few


YieldPoint = Callable[[], None]


def no_op() -> None:
    """Where nobody wants to be let in between two layers."""


class UnsupportedModel(ValueError):
    """The checkpoint is an emotion2vec of a kind that this forward pass does not know."""


class Encoder:
    """Built from a loaded module of funasr's class. Holds its own copy of the weights, in the target's
    precision."""

    def __init__(self, module: Any, target: ComputeTarget) -> None:
        """Raises UnsupportedModel for a model that this pass would compute wrongly."""
        audio = module.modality_encoders["AUDIO"]
        _check(module, audio)
        device = target.device
        self.target = target
        self._module = module if device.type == "cuda" else None  # what `moved` starts from
        self.width = int(module.cfg.embed_dim)
        self._normalize = bool(module.cfg.normalize)
        self._stack = [Conv(layer, target) for layer in audio.local_encoder.conv_layers]
        self._project_norm = Norm(audio.project_features[1], device, target.dtype)
        self._project = Dense(audio.project_features[2].weight, audio.project_features[2].bias, target)
        position = audio.relative_positional_encoder
        self._position_norm = None
        if audio.modality_cfg.conv_pos_pre_ln:
            self._position_norm, position = Norm(position[0], device, torch.float32), position[1]
        layers = list(position)[1:-1]
        self._position = [(GroupedConv(p[0], target), Norm(p[3], device, target.dtype)) for p in layers]
        self._extra = None if audio.extra_tokens is None else audio.extra_tokens.detach().to(device)
        self._n_extra = 0 if self._extra is None else int(self._extra.shape[1])
        self._first_norm = Norm(audio.context_encoder.norm, device, torch.float32)
        self._blocks = [TransformerBlock(b, target) for b in [*audio.context_encoder.blocks, *module.blocks]]
        self._slopes = slopes(audio, len(self._blocks))
        self._biases: OrderedDict[int, list[Tensor | None]] = OrderedDict()
        head = ComputeTarget(device, torch.float32)
        self._head = Dense(module.proj.weight, module.proj.bias, head)

    def moved(self, target: ComputeTarget) -> Encoder:
        """The same model on the CPU: for a GPU that ran out of memory."""
        return Encoder(self._module, target)

    def features(
        self, samples: Tensor, both_phases: bool, since: int = 0, yield_point: YieldPoint = no_op
    ) -> Tensor:
        """Features of each frame of windows of one length, float32 (batch, frames, width).

        `samples` (batch, n) float32 on the encoder's device, n >= 400. With `both_phases` there is a frame
        every 160 samples, as `stream.types.frames_in` counts them; else every 320, as funasr has it. Frames
        before `since` are context only: the last block leaves them out, and so does the answer. `yield_point` is
        called between one layer and the next.
        """
        if not samples.is_cuda and len(samples) > MICRO_BATCH:
            parts = samples.split_with_sizes(_even_parts(len(samples)))
            return torch.cat([self.features(part, both_phases, since, yield_point) for part in parts])
        if self._normalize:
            samples = functional.layer_norm(samples, samples.shape[1:])
        if samples.is_cuda:
            local = self._local(samples, both_phases, yield_point)
        else:  # one by one: these products fill a core by themselves, and what one leaves stays in its cache
            local = torch.cat([self._local(one, both_phases, yield_point) for one in samples[:, None]])
        if not both_phases:
            return self._contextual(local, since, yield_point)
        first = since // 2
        even, odd = local[:, 0::2], local[:, 1::2]
        if even.shape[1] == odd.shape[1]:
            both = self._contextual(torch.cat([even, odd]), first, yield_point)
            grid = torch.stack(both.chunk(2), dim=2).flatten(1, 2)
        else:
            grid = local.new_empty(len(local), local.shape[1] - 2 * first, self.width)
            grid[:, 0::2] = self._contextual(even, first, yield_point)
            if odd.shape[1] > first:
                grid[:, 1::2] = self._contextual(odd, first, yield_point)
        return grid[:, since % 2 :]

    def logits(self, features: Tensor) -> Tensor:
        """The model's head: features (..., width) → logits (..., tokens), float32, in the order of its tokens."""
        return self._head(features)

    def _local(self, samples: Tensor, both_phases: bool, yield_point: YieldPoint) -> Tensor:
        """The convolution stack and the projection behind it: (batch, n) → float32 (batch, frames, width)."""
        x = samples.unsqueeze(2)
        for conv in self._stack[:-1]:
            x = conv(x)
            yield_point()
        x = self._stack[-1](x, stride=1 if both_phases else None)
        return self._project(self._project_norm(x)).float()

    def _contextual(self, x: Tensor, since: int, yield_point: YieldPoint) -> Tensor:
        """Positions and the transformer over one 20 ms sequence (batch, time, width) → its steps from `since`
        on."""
        position = x if self._position_norm is None else self._position_norm(x)
        for conv, norm in self._position:
            position = functional.gelu(norm(conv(position)))
            yield_point()
        x = x + position
        biases = self._bias_for(x.shape[1], x.device)
        if self._extra is not None:
            x = torch.cat([self._extra.expand(len(x), -1, -1), x], dim=1)
        x = self._first_norm(x)
        for block, bias in zip(self._blocks[:-1], biases[:-1], strict=True):
            x = block(x, bias)
            yield_point()
        return self._blocks[-1](x, biases[-1], self._n_extra + since)

    def _bias_for(self, length: int, device: torch.device) -> list[Tensor | None]:
        """What distance adds to the attention, per block: (1, heads, time, time), 0 for the extra tokens."""
        if self._slopes is None:
            return [None] * len(self._blocks)
        if length not in self._biases:
            at = torch.arange(length)
            distance = (at[None, :] - at[:, None]).abs()
            dtype = self.target.dtype if device.type == "cuda" else torch.float32
            pad = (self._n_extra, 0, self._n_extra, 0)
            made: list[Tensor] = []
            for i, row in enumerate(self._slopes):
                same = i > 0 and torch.equal(row, self._slopes[i - 1])
                bias = made[-1] if same else functional.pad(-row[:, None, None] * distance, pad)[None]
                made.append(bias if same else bias.to(device, dtype))
            self._biases[length] = list(made)
            if len(self._biases) > BIASES:
                self._biases.popitem(last=False)
        self._biases.move_to_end(length)
        return self._biases[length]


def _even_parts(n: int) -> list[int]:
    """`n` windows in as few parts of at most MICRO_BATCH as possible, all nearly alike."""
    parts = ceil_div(n, MICRO_BATCH)
    return [n // parts + (i < n % parts) for i in range(parts)]


def slopes(audio: Any, n_blocks: int) -> list[Tensor] | None:
    """How much attention falls per 20 ms of distance: (heads,) for each block; heads without a bias have 0."""
    if audio.alibi_scale is None:
        return None
    from funasr.models.emotion2vec.base import get_alibi

    n_biased = int(audio.modality_cfg.num_alibi_heads)
    heads = int(audio.context_encoder.blocks[0].attn.num_heads)
    unit = -get_alibi(2, n_biased)[:, 0, 1]
    scale = audio.alibi_scale.detach().float().cpu().clamp_min(0).flatten(1)  # (1 or blocks, 1 or heads)
    rows = [functional.pad(unit * row, (0, heads - n_biased)) for row in scale]
    return rows if len(rows) == n_blocks else rows[:1] * n_blocks


def _check(module: Any, audio: Any) -> None:
    """Refuse what this pass would compute wrongly. Raises UnsupportedModel."""
    convs = [layer[0] for layer in audio.local_encoder.conv_layers]
    stride, sees = 1, 1
    for conv in convs:
        sees += (conv.kernel_size[0] - 1) * stride
        stride *= conv.stride[0]
    wrong = {
        "its frames are not 25 ms every 20 ms": (stride, sees, convs[-1].stride[0]) != (2 * HOP, FRAME, 2),
        "extractor_mode is not layer_norm": audio.modality_cfg.extractor_mode != "layer_norm",
        "layer_norm_first is set": bool(module.cfg.layer_norm_first),
        "it has no prenet": len(audio.context_encoder.blocks) == 0,
        "it has no head (proj): it gives embeddings, not emotions": module.proj is None,
        "the positional convolutions have no output": audio.relative_positional_encoder is None,
    }
    for reason, holds in wrong.items():
        if holds:
            raise UnsupportedModel(f"this emotion2vec cannot be run: {reason}")
