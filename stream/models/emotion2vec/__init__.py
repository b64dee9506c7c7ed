"""emotion2vec+ (https://arxiv.org/abs/2312.15185) as a model of this server.

`load` takes a published name or a folder that holds config.yaml, model.pt and tokens.txt. Weights never ship
with the code; docs/emotion2vec.md says how to get them and under which license. In here:

    hub         a name or path → a folder on disk, by the hub that was chosen; the license
    labels      tokens.txt → this server's nine labels
    funasr_shim importing funasr's class, and nothing else of it
    checkpoint  a folder → funasr's class with its weights, without running code from either file
    dense       products with packed weights
    int8        products of 8-bit integers, for CPUs
    layers      normalization, convolution, transformer block
    encoder     the forward pass: samples → features → logits
    windows     pure numbers: the rule for live windows, crossfades at their edges
    memory      out of memory: half the batch, then the CPU
    graphs      CUDA graphs
    adapter     the `EmotionModel`: live windows and whole recordings, scores and embeddings
    loading     name, device, precision → a model ready to score
    verify      known scores of known clips
    export      a checkpoint → an ONNX file

torch and funasr are imported by `load`, not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stream.models.emotion2vec.hub import NAMES
from stream.models.emotion2vec.windows import WindowRule

if TYPE_CHECKING:
    from stream.models.emotion2vec.adapter import Emotion2Vec, Options

__all__ = ["NAMES", "WindowRule", "load"]


def load(
    name: str,
    device: str = "auto",
    options: Options | Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> Emotion2Vec:
    """Load `name`, one of NAMES or a folder, onto `device` (`auto`, `cpu`, `cuda` or `cuda:N`).

    `options`: an `adapter.Options`, or some of its fields by name. `threads`: how many this process computes with
    from now on; None leaves that as it is. Raises ImportError without torch and funasr,
    ValueError for a name, device or folder that cannot be used, OSError (`hub.HubUnreachable`) when the
    weights cannot be fetched; the text says what to do.
    """
    from stream.models.emotion2vec import funasr_shim

    funasr_shim.import_class()  # first: without it, what follows cannot even be imported
    import torch

    from stream.models.emotion2vec import adapter, loading

    if threads is not None:
        torch.set_num_threads(threads)
    if not isinstance(options, adapter.Options):
        options = adapter.Options(**(options or {}))
    return loading.load(name, device, options)
