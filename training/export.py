"""compact as one ONNX file for other programs: `./run.sh export compact`.

The graph that serves (`training.graph`), with its weights in it, and with what surrounds it there: samples come in
instead of spectra, and out come the scores of answers and of all that was heard. To score with it, nothing is
needed but the file and a runtime (docs/platforms.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from stream.models.compact.calibration import Calibration, calibration
from stream.models.compact.files import FOLDER, read_arrays, read_card
from stream.models.compact.sizes import ANSWER_SHARES, ANSWERS, GROUP, N_FFT, NetConfig
from stream.prior import BALANCED, Prior
from stream.types import (
    FRAME,
    FRAME_MS,
    HOP,
    IMPOSSIBLE,
    LABELS,
    N_LABELS,
    SAMPLE_RATE,
    STEP_MS,
    EmotionModel,
    Floats,
    Window,
    samples_for,
    softmax,
)
from training.graph import StepGraph

OUTPUTS = ("logits", "frame_logits", "embedding", "frame_weights", "state_after", "kv_after")
LICENSE = "CC BY-NC-SA 4.0: non-commercial use only (NOTICE)"
TOLERANCE = 3e-4  # of a score: a last digit before keys and values become bfloat16 is as much after it


class WholeGraph(StepGraph):
    """samples (B, samples_for(T GROUP)), state (B, state_size) and kv after the samples before, zeros at first ->
    logits (B, N_LABELS) of all that is heard now; frame_logits and frame_weights (B, T ANSWERS, …), embedding
    (B, n_hidden), which follows the emotion, of the same; state and kv to go on with."""

    def __init__(self, config: NetConfig, calibration: Calibration, arrays: dict[str, Floats]) -> None:
        self._calibration, self._arrays = calibration, dict(arrays)
        self._window = self._arrays.pop("window")
        super().__init__(config, "float32")

    def model(self) -> onnx.ModelProto:
        made = super().model()
        graph, c = made.graph, self.config
        kept = {value.name: value for value in (*graph.input, *graph.output)}
        del graph.input[:], graph.output[:], graph.initializer[:]

        def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *shape])

        graph.input.extend([info("samples", "n"), kept["state"], kept["kv"]])
        shapes: list[tuple[int | str, ...]] = [
            (N_LABELS,),
            ("answers", N_LABELS),
            (c.n_hidden,),
            ("answers",),
        ]
        graph.output.extend([info(name, *shape) for name, shape in zip(OUTPUTS, shapes, strict=False)])
        graph.output.extend([kept["state_after"], kept["kv_after"]])
        constants = self.constants | {
            name: numpy_helper.from_array(np.ascontiguousarray(self._arrays[name]), name)
            for name, tensor in self.constants.items()
            if tensor.data_location == TensorProto.EXTERNAL
        }
        graph.initializer.extend(constants.values())
        helper.set_model_props(made, about(c, self._calibration))
        return made

    def _build(self) -> None:
        self._spectra()
        super()._build()
        self._verdict()

    def _spectra(self) -> None:
        """`power` (B, frames, bins) of `samples`; `last` (B, 1, 2): all frames are there."""
        bins = N_FFT // 2 + 1
        angle = 2 * np.pi * np.arange(bins)[:, None] * np.arange(FRAME) / N_FFT
        waves = np.concatenate([np.cos(angle), np.sin(angle)])[:, None] * self._window
        x = self.op("Conv", self.op("Unsqueeze", "samples", self.ints(1)), self.const(waves), strides=[HOP])
        x = self.op("Transpose", self.op("Mul", x, x), perm=[0, 2, 1])
        self.op("Add", *self.op("Split", x, self.ints(bins, bins), n=2, axis=2), out="power")
        frames = self.op("Sub", self.op("Shape", "power", start=1, end=2), self.ints(1))
        shape = self.op("Concat", self.op("Shape", "state", start=0, end=1), self.ints(1, 2), axis=0)
        self.op("Expand", frames, shape, out="last")

    def _verdict(self) -> None:
        """What `compact.graph` makes of heads and stats."""
        logits, weights = self.op("Split", "heads", self.ints(N_LABELS, 1), n=2, axis=2)
        calibration = self._calibration
        possible = self.const(calibration.possible, np.bool_)
        shifted = self.op("Add", logits, self.const(calibration.log_weights))
        scaled = self.op("Div", shifted, self.const(calibration.fitted.temperature))
        scaled = self.op("Where", possible, scaled, self.const(IMPOSSIBLE), out="frame_logits")
        shares = self.op("Mul", self._windows(weights, ANSWERS), self.const(ANSWER_SHARES))
        total = self.op("ReduceSum", shares, self.ints(1, 2), keepdims=1)
        flat = self.op("Concat", self._n_windows, self.ints(1, -1), axis=0)
        each = self.op("Reshape", self.op("Div", shares, total), flat)
        mean = self.op("Squeeze", self.op("MatMul", each, scaled), self.ints(1))
        self.op("Mul", mean, self.const(calibration.fitted.gain), out="logits")
        self.op(
            "Reshape", shares, self.op("Concat", self._n_windows, self.ints(-1), axis=0), out="frame_weights"
        )
        self.op("Squeeze", self.op("MatMul", each, "hidden"), self.ints(1), out="embedding")


def export(out: Path, reference: EmotionModel, prior: Prior = BALANCED) -> float:
    """Write compact to the file `out`, with this prior, and compare it with `reference`, compact in torch in
    float32, before it is kept: how far scores are apart, at most. Raises ValueError where that is more than
    TOLERANCE."""
    card, arrays = read_card(FOLDER), read_arrays(FOLDER)
    graph = WholeGraph(NetConfig.of(card["net"]), calibration(card, prior), arrays)
    config = graph.config
    part = out.with_name(out.name + ".part")
    part.write_bytes(graph.model().SerializeToString(deterministic=True))
    try:
        session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
        apart = max(_apart(config, session, reference, steps) for steps in (1, 7, 40))
        if not apart <= TOLERANCE:
            raise ValueError(f"{out}: not written: its scores differ from torch's by {apart:.2g}")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return apart


def _apart(
    config: NetConfig, session: onnxruntime.InferenceSession, reference: EmotionModel, steps: int
) -> float:
    """The largest difference of a score on noise that is heard in two parts: of the frames, and of the verdict."""
    n_frames, encoder = steps * GROUP, config.encoder
    noise = np.random.default_rng(steps).standard_normal((2, samples_for(n_frames))).astype(np.float32) / 10
    state = np.zeros((2, config.state_size), np.float32)
    kv = np.zeros((2, encoder.n_layers, encoder.left, 2 * encoder.width), np.float32)
    kept: list[Floats | None] = [None, None]
    most = 0.0
    for part in range(2):
        got = dict(
            zip(
                OUTPUTS, session.run(list(OUTPUTS), {"samples": noise, "state": state, "kv": kv}), strict=True
            )
        )
        state, kv = got["state_after"], got["kv_after"]
        for row, samples in enumerate(noise):
            window = Window("export", 0, n_frames, part == 0, samples, kept[row])
            (said,) = reference.score([window])
            verdict = said.gain * (said.weights @ said.logits) / said.weights.sum()
            frames = np.repeat(got["frame_logits"][row], GROUP // ANSWERS, axis=0)
            for mine, theirs in ((frames, said.logits), (got["logits"][row], verdict)):
                most = max(most, float(np.abs(softmax(mine) - softmax(theirs)).max()))
            kept[row] = said.state
    return most


def about(config: NetConfig, calibration: Calibration) -> dict[str, str]:
    """What a program that opens the file needs to know."""
    return {
        "model": "compact",
        "labels": ",".join(LABELS),
        "supported_labels": ",".join(calibration.supported_labels),
        "sample_rate": str(SAMPLE_RATE),
        "frame_ms": str(FRAME_MS),
        "step_ms": str(STEP_MS * GROUP // ANSWERS),
        "gain": str(calibration.fitted.gain),
        "prior": calibration.prior,
        "license": LICENSE,
        "state_size": str(config.state_size),
    }
