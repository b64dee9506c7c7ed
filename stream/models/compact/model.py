"""Compact, the `EmotionModel`, computed by torch: windows in, frame scores out; and its weights' files.

The reference, for training and GPUs; on CPUs `graph` computes the same. The network is in `network`. How the
weights were made: `training/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stream.models.compact.calibration import Calibration, Fitted, calibration
from stream.models.compact.files import FOLDER, read_arrays, read_card
from stream.models.compact.invariance import pack_weights
from stream.models.compact.network import CompactNet
from stream.models.compact.sizes import Embedding, NetConfig
from stream.models.compact.windows import samples_of, spec_of, states_of
from stream.prior import BALANCED, CONVERSATION, Prior
from stream.types import IMPOSSIBLE, Floats, FrameScores, JsonDict, Window

# Weights are kept under the names that their first version had: any version reads those of any other. These are
# parts of the network, and what they are called in weights.npz; in config.json `supported_labels` is `can_say`.
_IN_FILE = {"encoder": "ear", "encoded_mean": "heard_mean", "encoded_scale": "heard_scale"}
PRECISIONS = ("auto", "float32", "bfloat16")


class Compact:
    """An `EmotionModel` around `CompactNet`. Keeps nothing between calls."""

    def __init__(
        self,
        net: CompactNet,
        device: torch.device,
        calibration: Calibration,
        precision: str = "auto",
        embedding: Embedding = "emotion",
    ) -> None:
        self._net = net.to(device).eval()
        self._device = device
        self._temperature, self._gain = calibration.fitted.temperature, calibration.fitted.gain
        self._possible = torch.tensor(calibration.possible, device=device)
        self._log_weights = torch.tensor(calibration.log_weights, device=device)
        dtype = pack_weights(self._net, precision)
        self._embedding = embedding
        self.spec = spec_of(net.config, str(device), dtype, calibration, "torch", embedding)

    def score(self, windows: list[Window]) -> list[FrameScores]:
        """Score windows of one common `n_frames`, or of up to HOP_FRAMES each: logits (n_frames, 9), weights
        (n_frames,), state, embedding."""
        if not windows:
            return []
        with torch.inference_mode():
            config = self._net.config
            arrays = (samples_of(windows), states_of(windows, config), [w.n_frames for w in windows])
            samples, before, lengths = (torch.as_tensor(array, device=self._device) for array in arrays)
            out = self._net.forward_samples(samples, before, lengths)
            logits, embedding = self._calibrated(out.logits), getattr(out, self._embedding)
            scored = [array.cpu().numpy() for array in (logits, out.weights, out.state, embedding)]
        # A state outlives its batch by far: without the copy it would keep the whole batch's states alive.
        return [
            FrameScores(
                logits[: window.n_frames],
                weights[: window.n_frames],
                state.copy(),
                embedding.copy() if window.embed else None,
                self._gain,
            )
            for window, logits, weights, state, embedding in zip(windows, *scored, strict=True)
        ]

    def classify(self, embedding: Floats) -> Floats:
        """Logits (9,) of an embedding (embedding_size,), gain included: where it follows the emotion, those of the
        speech itself; of a voice's nearly those."""
        of = self._net.classify_emotion if self._embedding == "emotion" else self._net.classify_voice
        with torch.inference_mode():
            logits = of(torch.as_tensor(embedding[None], device=self._device))[0]
            logits = self._calibrated(logits) * self._gain
        scored: Floats = logits.cpu().numpy()
        return scored

    def _calibrated(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.where(self._possible, (logits + self._log_weights) / self._temperature, IMPOSSIBLE)


def load(
    device: str = "auto",
    folder: Path = FOLDER,
    precision: str = "auto",
    prior: Prior = BALANCED,
    embedding: Embedding = "emotion",
) -> Compact:
    """The model with the weights in `folder`, on `device` (`auto`, `cpu`, `cuda` or `cuda:N`).

    `precision` of its products on a CPU: `float32`, `bfloat16`, or `auto`: bfloat16 where that is faster. Raises
    ValueError for a device or precision that is not there, FileNotFoundError without weights.
    """
    chosen = _device(device)
    if precision not in PRECISIONS or (precision == "bfloat16" and chosen.type != "cpu"):
        raise ValueError(
            f"compact does not compute in {precision} on {chosen.type}; set model.precision to auto"
        )
    net, card = read_weights(folder)
    return Compact(net, chosen, calibration(card, prior), precision, embedding)


def read_weights(folder: Path = FOLDER) -> tuple[CompactNet, JsonDict]:
    """The network alone, and its `config.json`: sizes, labels, temperature, gain."""
    card = read_card(folder)
    net = CompactNet(NetConfig.of(card["net"]))
    values = read_arrays(folder)
    names = {_in_file(name): name for name in net.state_dict()}
    net.load_state_dict({names.get(name, name): torch.from_numpy(value) for name, value in values.items()})
    return net, card


def save(
    net: CompactNet, supported_labels: tuple[str, ...], fitted: Mapping[str, Fitted], folder: Path = FOLDER
) -> None:
    """Write what `load` reads: `weights.npz` (plain arrays, no pickle; parameters in half precision, which moves
    no score by more than rounding) and `config.json`. `fitted`: temperature and gain under each named prior."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {_in_file(name): value.cpu().numpy() for name, value in net.state_dict().items()}
    arrays |= {
        _in_file(name): value.detach().cpu().numpy().astype(np.float16)
        for name, value in net.named_parameters()
    }
    np.savez_compressed(folder / "weights.npz", **arrays)
    card = {
        "net": net.config.to_dict(),
        "can_say": list(supported_labels),
        **fitted[BALANCED].to_dict(),
        CONVERSATION: fitted[CONVERSATION].to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _in_file(name: str) -> str:
    """What an array of the network's state is called in weights.npz."""
    part, dot, rest = name.removeprefix("features.").partition(".")
    return _IN_FILE.get(part, part) + dot + rest


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as unknown:
        raise ValueError(f"device {name!r}: not one of auto, cpu, cuda, cuda:N") from unknown
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r}: not one of auto, cpu, cuda, cuda:N")
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= present:
        raise ValueError(f"device {name!r} is not there: this machine offers {present} of its kind")
    return device
