"""A checkpoint → one ONNX file with its head, for runtimes other than torch.

What funasr exports ends before the head: features, without an emotion. Here the file answers as `generate` does:
the verdict on the whole input, the scores of each of its frames, and the embedding. It is made from funasr's own
module, so that nothing of this server's arrangement for speed is in it.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stream.models.emotion2vec import checkpoint
from stream.models.emotion2vec.encoder import slopes
from stream.models.emotion2vec.hub import Hub, license, resolve
from stream.models.emotion2vec.labels import TokenMap
from stream.types import FRAME, HOP, IMPOSSIBLE, LABELS, SAMPLE_RATE, softmax

OPSET = 18
OUTPUTS = ("logits", "frame_logits", "embedding")
TOLERANCE = 1e-4  # of a score, against torch
NEEDED = "exporting needs onnx, onnxscript and onnxruntime: ./run.sh install emotion2vec export"


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how far its scores are from torch's, at most."""

    path: Path
    apart: float
    license: str


class Graph(nn.Module):
    """samples (batch, n) float32 → logits (batch, 9), frame_logits (batch, frames, 9), embedding (batch, width).

    A frame is 25 ms, every 20 ms; logits are in the order of LABELS, and those of labels that the checkpoint does
    not know are so low that their probability is 0.
    """

    def __init__(self, module: Any, tokens: TokenMap) -> None:
        super().__init__()
        audio = module.modality_encoders["AUDIO"]
        self.normalize = bool(module.cfg.normalize)
        self.local, self.project = audio.local_encoder, audio.project_features
        self.position, self.first_norm = audio.relative_positional_encoder, audio.context_encoder.norm
        self.blocks = nn.ModuleList([*audio.context_encoder.blocks, *module.blocks])
        self.extra = audio.extra_tokens
        self.slopes = slopes(audio, len(self.blocks))
        self.head = _head(module.proj, tokens)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.normalize:
            middle = samples.mean(1, keepdim=True)
            samples = samples - middle
            samples = samples * torch.rsqrt(samples.square().mean(1, keepdim=True) + 1e-5)
        x = self.project(self.local(samples))
        x = x + self.position(x)
        at = torch.arange(x.shape[1], dtype=torch.float32)
        distance = (at[None, :] - at[:, None]).abs()
        extra = 0
        if self.extra is not None:
            extra = self.extra.shape[1]
            x = torch.cat([self.extra.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.first_norm(x)
        for i, block in enumerate(self.blocks):
            bias = None
            if self.slopes is not None:
                bias = nn.functional.pad(-self.slopes[i][:, None, None] * distance, (extra, 0, extra, 0))[
                    None
                ]
            x, _ = block(x, alibi_bias=bias)
        x = x[:, extra:]
        embedding = x.mean(1)
        return self.head(embedding), self.head(x), embedding


def export(name: str, out: Path, hub: Hub = "modelscope", allow_pickle: bool = False) -> Exported:
    """Write `name`, one of NAMES or a folder, to the file `out`, and compare it with torch before it is kept.

    Raises what `stream.models.emotion2vec.load` raises; ImportError where a library is missing; ValueError where
    the file's scores differ from torch's by more than TOLERANCE.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so less clearly
    except ImportError as missing:
        raise ImportError(f"{NEEDED} ({missing.name} is missing)") from None
    folder = resolve(name, hub)
    module, tokens = checkpoint.load_module(folder, allow_pickle)
    graph, terms = Graph(module, tokens).eval(), license(folder)
    example = _noise(2, 1.3)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=FRAME)}
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["samples"],
            output_names=list(OUTPUTS),
            dynamic_shapes=(shape,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    made = program.model_proto
    onnx.helper.set_model_props(made, _about(folder.name, tokens, terms))
    part = out.with_name(out.name + ".part")
    onnx.save(made, part)
    try:
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
        apart = max(_apart(graph, session, _noise(n, s)) for n, s in ((1, 0.025), (1, 2.01), (3, 0.7)))
        if not apart <= TOLERANCE:
            raise ValueError(f"{out}: not written: its scores differ from torch's by {apart:.2g}")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return Exported(out, apart, terms)


def _head(head: nn.Linear, tokens: TokenMap) -> nn.Linear:
    """The checkpoint's head with a row for each of LABELS, in their order."""
    made = nn.Linear(head.in_features, len(LABELS))
    weight, bias = torch.zeros_like(made.weight), torch.full_like(made.bias, IMPOSSIBLE)
    for label, row in enumerate(tokens.rows):
        if row is not None:
            weight[label], bias[label] = head.weight[row], head.bias[row]
    made.weight, made.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    return made


def _noise(batch: int, seconds: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, round(seconds * SAMPLE_RATE), generator=generator) / 10


def _apart(graph: Graph, session: Any, samples: Tensor) -> float:
    """The largest difference of a score between torch and the file."""
    with torch.inference_mode():
        wanted = [answer.numpy() for answer in graph(samples)[:2]]
    got = session.run(list(OUTPUTS[:2]), {"samples": samples.numpy()})
    return max(float(np.abs(softmax(a) - softmax(b)).max()) for a, b in zip(wanted, got, strict=True))


def _about(name: str, tokens: TokenMap, terms: str) -> dict[str, str]:
    """What a program that opens the file needs to know."""
    return {
        "model": name,
        "labels": ",".join(LABELS),
        "supported_labels": ",".join(tokens.supported_labels),
        "sample_rate": str(SAMPLE_RATE),
        "frame_ms": str(1000 * FRAME // SAMPLE_RATE),
        "step_ms": str(2 * 1000 * HOP // SAMPLE_RATE),
        "license": terms,
    }
