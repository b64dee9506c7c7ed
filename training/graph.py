"""compact as ONNX graphs: `python -m training.graph` writes float32.onnx and int8.onnx beside its weights.

A graph is any number of steps of 100 ms of any number of sessions. What does not depend on the steps before is
computed for all of them at once; the four running sums that do are scanned step by step, rounded after each, so
that a span is the same however it is cut. Weights are not in it: they are
external data, by the names of weights.npz, and handed in when it is loaded. The int8 graph computes most of the
encoder's products from bytes: of weights per column, of what comes in with a fixed scale
(`training.quantize`), so that a row knows nothing of its neighbors.

It says what `network`, `encoder` and `features` say; tests/stream/models/test_graph.py holds them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from stream.models.compact.files import FOLDER, read_card
from stream.models.compact.sizes import (
    ANSWERS,
    CHUNK,
    DEVIATION_FLOOR,
    FLOOR,
    GROUP,
    LEVEL_BANDS,
    LEVEL_OFFSET,
    LEVEL_RATIO,
    LOG10,
    LOG_MEL_FLOOR,
    MASK_VALUE,
    N_FFT,
    OUTLYING,
    QUIET,
    STEPS_PER_S,
    VOICED,
    WARMUP_STEPS,
    NetConfig,
    beginnings,
)
from stream.types import N_LABELS
from training.graph_builder import END, GraphBuilder

MS = "com.microsoft"  # ONNX Runtime's own operators
PRECISIONS = ("float32", "int8")
IN_FLOAT = ("ear.second", "heads.first")  # products that stay in float32 in any graph: they cost scores most
LAYER_NORM_EPSILON = 1e-5  # torch's
# What is computed many numbers at a time is rounded otherwise for those left over at the end, on some processors:
# rows are made a multiple of this long where it would show, and sums are products with ones.
LANES = 16


class StepGraph(GraphBuilder):
    """T steps of compact: inputs power (B, T GROUP, bins), state (B, state_size), kv (B, n_layers, left, 2 width)
    (the keys and values in the state, as numbers) and last (B, 1, 2) (the row of the last frame that there is) ->
    heads (B, T ANSWERS, N_LABELS + 1): logits and a weight; hidden (B, T ANSWERS, n_hidden): what their last
    layers read; stats (B, T, n_stats), at each step's end; state_after (B, state_size), with the old keys and
    values in it, and the new ones: kv_after (B, n_layers, CHUNK, 2 width). Products see B T CHUNK rows, or B T
    ANSWERS."""

    def __init__(self, config: NetConfig, precision: str) -> None:
        super().__init__()
        assert config.encoder.left == CHUNK, "a chunk and the one before: what the masks below are made for"
        self.config, self.precision = config, precision
        self._build()

    def model(self) -> onnx.ModelProto:
        c = self.config
        e = c.encoder

        def info(name: str, *shape: int | str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, dtype, ["B", *shape])

        inputs = [
            info("power", "frames", N_FFT // 2 + 1),
            info("state", c.state_size),
            info("kv", e.n_layers, e.left, 2 * e.width),
            info("last", 1, 2, dtype=TensorProto.INT64),
        ]
        outputs = [
            info("heads", "answers", N_LABELS + 1),
            info("hidden", "answers", c.n_hidden),
            info("stats", "T", c.n_stats),
            info("state_after", c.state_size),
            info("kv_after", e.n_layers, CHUNK, 2 * e.width),
        ]
        graph = helper.make_graph(self.nodes, "compact", inputs, outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MS, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="emotion-stream")

    def _build(self) -> None:
        c, e = self.config, self.config.encoder
        kv_size, sums_size = e.width * e.left, 2 * e.width * len(e.ema_positions)
        sizes = [2, c.n_sums, 2 * e.n_mels, e.width, 1, *[kv_size, sums_size] * e.n_layers, c.n_sums]
        level, session, frames, row, n_chunks, *caches, span = self.op(
            "Split", "state", self.ints(*sizes), n=len(sizes), axis=1
        )
        self._n_windows = self.op("Shape", "state", start=0, end=1)
        mels, loudness, lags, level_after = self._features(level)
        x, frames_after, row_after = self._convolve(mels, frames, row)
        chunk = self._chunks(x, n_chunks)
        caches_after, kv_after = [], []
        for k in range(e.n_layers):
            x, kv, sums = self._layer(x, k, self.rows("kv", k, k + 1), caches[2 * k + 1], chunk)
            caches_after += [caches[2 * k], sums]
            kv_after.append(kv)
        self.op("Concat", *kv_after, out="kv_after", axis=1)
        encoded = self.op("Concat", x, self._prosody(lags, loudness), axis=1)
        mean, scale = (self.weight(f"heard_{what}", c.n_encoded) for what in ("mean", "scale"))
        encoded = self.op("Mul", self.op("Sub", encoded, mean), scale)
        span_after, session_after = self._heads(self._windows(encoded, ANSWERS, c.n_encoded), span, session)
        chunks = self.op("Add", self.reshape(self.rows(chunk, -1, END), -1, 1), self.const(1.0))
        after = [level_after, session_after, frames_after, row_after, chunks, *caches_after, span_after]
        self.op("Concat", *after, out="state_after", axis=1)

    def _windows(self, x: str, *shape: int) -> str:
        """x (B T …) -> (B, T, …)."""
        return str(self.op("Reshape", x, self.op("Concat", self._n_windows, self.ints(-1, *shape), axis=0)))

    def _chunks(self, x: str, n_chunks: str) -> str:
        """Chunks before each, (B, T, 1, 1): of x (B T CHUNK, width), after n_chunks (B, 1)."""
        n_steps = self.op("Shape", self._windows(x, CHUNK, self.config.encoder.width), start=1, end=2)
        ends = (self.const(0, np.int64), self.reshape(n_steps), self.const(1, np.int64))
        at = self.op("Cast", self.op("Range", *ends), to=TensorProto.FLOAT)
        return str(self.op("Add", self.reshape(n_chunks, -1, 1, 1, 1), self.reshape(at, -1, 1, 1)))

    def _product(self, x: str, name: str, k: int, n: int, gelu: bool = False) -> str:
        """x (any, k) -> (any, n), then GELU where wanted."""
        bias = self.weight(f"{name}.bias", n)
        if self.precision == "int8" and name not in IN_FLOAT:
            scale = self.weight(f"{name}.scale")
            zero = self.weight(f"{name}.zero", dtype=TensorProto.UINT8)
            weight = self.weight(f"{name}.weight.int8", k, n, dtype=TensorProto.INT8)
            scales = self.weight(f"{name}.weight.scale", n)
            x = self.op("QuantizeLinear", x, scale, zero)
            x = self.op("MatMulIntegerToFloat", x, weight, scale, scales, zero, "", bias, domain=MS)
        else:
            x = self.op("Gemm", x, self.weight(f"{name}.weight", n, k), bias, transB=1)
        return str(self.op("Gelu", x)) if gelu else x

    def _features(self, level: str) -> tuple[str, str, str, str]:
        """Above the running level, in nats: mels (B, T GROUP, n_mels) and loudness (B, T GROUP, 1). The
        periodicity of lags (B, T GROUP, n_lags). The level's sums after the last frame that there is."""
        c, bins = self.config, N_FFT // 2 + 1
        mel = self.weight("mel", bins, c.n_mels)
        band = self.op("Mul", self.mean(self.rows(mel, *bounds(LEVEL_BANDS)), 1, 1), self.const(LEVEL_RATIO))
        band = self.op("Expand", band, self.ints(bins, LANES))
        floors = np.repeat([FLOOR, FLOOR * LEVEL_RATIO], [c.n_mels, LANES])
        powers = self.op("MatMul", "power", self.op("Concat", mel, band, axis=1))
        powers = self.op("Add", powers, self.const(floors))
        running, level_after = self._level(self.rows(powers, c.n_mels, c.n_mels + 1, axis=2), level)
        above = self.op("Log", self.op("Div", powers, running))
        mels, loudness = (
            self.rows(above, 0, c.n_mels, axis=2),
            self.rows(above, c.n_mels, c.n_mels + 1, axis=2),
        )

        magnitude = self.rows(self.op("Sqrt", "power"), *bounds(VOICED), axis=2)
        cosines = self.rows(self.weight("lag_cos", bins, c.n_lags), *bounds(VOICED), axis=0)
        ones = self.const(np.ones((VOICED.stop - VOICED.start, LANES)))
        lags = self.op("MatMul", magnitude, self.op("Concat", cosines, ones, axis=1))
        total = self.op("Add", self.rows(lags, c.n_lags, c.n_lags + 1, axis=2), self.const(1e-4))
        return mels, loudness, self.op("Div", self.rows(lags, 0, c.n_lags, axis=2), total), level_after

    def _level(self, power: str, level: str) -> tuple[str, str]:
        """Power of frames (B, T GROUP, 1) -> their running level, the sums after the last frame that there is."""
        counted = self._windows(self.op("Concat", power, self.ones_like(power), axis=2), GROUP, 2)
        frame = np.arange(GROUP)[:, None]
        ages = frame - np.arange(GROUP)
        kernel = np.where(ages >= 0, np.exp(-ages / self.config.level_frames), 0)
        left = np.exp(-(frame + 1) / self.config.level_frames).astype(np.float32)
        within = self.op("MatMul", self.const(kernel), counted)
        at_end = self.op("Squeeze", self.rows(within, GROUP - 1, GROUP, axis=2), self.ints(2))
        before = self.rows(self.sums_before(at_end, level, left[-1, 0]), 0, -1)
        older = self.op("Mul", self.const(left), self.op("Unsqueeze", before, self.ints(2)))
        sums = self._windows(self.op("Add", within, older), 2)
        of_power, of_frames = self.op("Split", sums, n=2, axis=2, num_outputs=2)
        after = self.reshape(self.op("GatherElements", sums, "last", axis=1), -1, 2)
        return self.op("Div", of_power, of_frames), after

    def _convolve(self, mels: str, frames: str, row: str) -> tuple[str, str, str]:
        """(B T CHUNK, width), and both rows to keep."""
        e = self.config.encoder
        x = self.op("Div", mels, self.const(LOG10))
        x = self.op("Max", self.op("Add", x, self.const(LEVEL_OFFSET)), self.const(LOG_MEL_FLOOR))
        x = self.op("Div", self.op("Add", x, self.const(4.0)), self.const(4.0))
        x = self.op("Concat", self.reshape(frames, -1, 2, e.n_mels), x, axis=1)
        frames_after = self.reshape(self.rows(x, -2, END), -1, 2 * e.n_mels)
        x = self.op("Concat", self.rows(x, 0, -2), self.rows(x, 1, -1), self.rows(x, 2, END), axis=2)
        x = self._product(self.reshape(x, -1, 3 * e.n_mels), "ear.first", 3 * e.n_mels, e.width, gelu=True)
        x = self.op("Concat", self.reshape(row, -1, 1, e.width), self._windows(x, e.width), axis=1)
        row_after = self.reshape(self.rows(x, -1, END), -1, e.width)
        x = self.op("Concat", *(self.rows(x, i, end, 2) for i, end in enumerate((-2, -1, END))), axis=2)
        x = self._product(self.reshape(x, -1, 3 * e.width), "ear.second", 3 * e.width, e.width, gelu=True)
        return self.op("Add", x, self.weight("ear.origin", e.width)), frames_after, row_after

    def _layer(self, x: str, k: int, kv: str, sums: str, chunk: str) -> tuple[str, str, str]:
        """One transformer layer: x (B T CHUNK, width), of the last its means up to each answer (B T ANSWERS,
        width); keys and values of the last chunk (B, 1, CHUNK, 2 width), of the one before in `kv`; sums."""
        e, name = self.config.encoder, f"ear.layers.{k}"
        width, n_means = e.width, len(e.ema_positions)
        qkv = self._product(self._norm(x, f"{name}.norm1"), f"{name}.qkv", width, 3 * width)
        q, pairs = self.op("Split", qkv, self.ints(width, 2 * width), n=2, axis=1)
        pairs = self._windows(self._rounded(pairs), CHUNK, 2 * width)
        decay = np.exp(-CHUNK / np.array(e.ema_positions)).astype(np.float32)[:, None]
        sums = self.reshape(sums, -1, n_means, 2 * width)
        sums = self.sums_before(self.mean(pairs, 2, keepdims=1), sums, decay)
        # What as many ones would add up to: after c chunks (1 - d^c) / (1 - d).
        power = self.op("Pow", self.const(decay), chunk)
        count = self.op("Div", self.op("Sub", self.const(1.0), power), self.const(1 - decay))
        means = self._rounded(self.op("Div", self.rows(sums, 0, -1), self.op("Max", count, self.const(1e-6))))
        shifted = self.op("Concat", kv, pairs, axis=1)
        context = self.op("Concat", self.rows(shifted, 0, -1), pairs, means, axis=2)
        context = self.reshape(context, -1, e.left + CHUNK + n_means, 2 * width)
        keys, values = self.op("Split", context, n=2, axis=2, num_outputs=2)
        mixed = self.op(
            *("MultiHeadAttention", self.reshape(q, -1, CHUNK, width), keys, values, "", ""),
            self._attention_bias(name, chunk),
            domain=MS, num_heads=e.n_heads, scale=1.0,
        )  # fmt: skip
        x = self.op("Add", x, self._product(self.reshape(mixed, -1, width), f"{name}.out", width, width))
        wide = self._product(self._norm(x, f"{name}.norm2"), f"{name}.wide", width, 4 * width, gelu=True)
        if k == e.n_layers - 1:  # a mean of products is the product of the mean: two fifths of the work
            x, wide = (self._up_to_answers(y, CHUNK, n) for y, n in ((x, width), (wide, 4 * width)))
        x = self.op("Add", x, self._product(wide, f"{name}.narrow", 4 * width, width))
        after = self.reshape(self.rows(sums, -1, END), -1, 2 * width * n_means)
        return x, self.rows(shifted, -1, END), after

    def _up_to_answers(self, x: str, each: int, width: int) -> str:
        """x (B T each, width) -> means over each step up to its answers (B T ANSWERS, width)."""
        means = self.op("MatMul", self.const(beginnings(each)), self.reshape(x, -1, each, width))
        return self.reshape(means, -1, width)

    def _norm(self, x: str, name: str) -> str:
        width = self.config.encoder.width
        weight, bias = self.weight(f"{name}.weight", width), self.weight(f"{name}.bias", width)
        normed: str = self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)
        return normed

    def _rounded(self, x: str) -> str:
        """To bfloat16 and back: what of keys and values is kept."""
        rounded: str = self.op("Cast", self.op("Cast", x, to=TensorProto.BFLOAT16), to=TensorProto.FLOAT)
        return rounded

    def _attention_bias(self, name: str, chunk: str) -> str:
        """(B T, heads, CHUNK, context): of distance and means; a first chunk attends to itself alone."""
        e = self.config.encoder
        n, n_means = e.left + CHUNK, len(e.ema_positions)
        distance = np.arange(CHUNK)[:, None] + e.left - np.arange(n) + CHUNK - 1
        near = self.op(
            "Gather",
            self.weight(f"{name}.near", e.n_heads, n + CHUNK - 1),
            self.const(distance, np.int64),
            axis=1,
        )
        far = self.reshape(self.weight(f"{name}.far", e.n_heads, n_means), e.n_heads, 1, n_means)
        far = self.op("Expand", far, self.ints(e.n_heads, CHUNK, n_means))
        bias = self.op("Concat", near, far, axis=2)
        itself = np.array([False] * e.left + [True] * CHUNK + [False] * n_means)
        first = self.op("Where", self.const(itself, np.bool_), bias, self.const(MASK_VALUE))
        begun = self.op("Greater", self.reshape(chunk, -1, 1, 1, 1), self.const(0.5))
        chosen: str = self.op("Where", begun, bias, first)
        return chosen

    def _prosody(self, lags: str, loudness: str) -> str:
        """Voicing, pitch and loudness (B T ANSWERS, 3)."""
        voicing = self.op("ReduceMax", lags, self.ints(2))
        shares = self.op("Softmax", self.op("Mul", lags, self.const(20.0)), axis=2)
        pitch = self.reshape(self.weight("lag_pitch", self.config.n_lags), -1, 1)
        pitch = self.op("MatMul", shares, self.op("Expand", pitch, self.ints(self.config.n_lags, LANES)))
        loudness = self.op("Max", loudness, self.const(QUIET))
        prosody = self.op("Concat", voicing, self.rows(pitch, 0, 1, axis=2), loudness, axis=2)
        return self._up_to_answers(prosody, GROUP, 3)

    def _heads(self, encoded: str, span: str, session: str) -> tuple[str, str]:
        """encoded (B, T, ANSWERS, n_encoded): the statistics and what the heads say of them, both outputs. The
        sums of span and session."""
        c = self.config
        (wide, narrow), n, double = c.hidden, c.n_heads, np.float64
        x = self.op("Clip", encoded, self.const(-OUTLYING), self.const(OUTLYING))
        x = self.op("Concat", x, self.op("Mul", x, x), self.ones_like(self.rows(x, 0, 1, axis=3)), axis=3)
        # In double precision, or the variance of what hardly changes is lost.
        each = self.op("Cast", x, to=TensorProto.DOUBLE)
        share = np.arange(1, ANSWERS + 1)[:, None] / ANSWERS  # of a step, that has been heard

        def sums(before: str, time_constant: float) -> tuple[Any, str]:
            """At every answer: of what is encoded, of its squares, their count. After the last step."""
            last = self.op("Squeeze", self.rows(each, ANSWERS - 1, ANSWERS, axis=2), self.ints(2))
            scanned = self.sums_before(last, before, np.exp(-1 / np.array([time_constant])))
            older = self.op("Cast", self.rows(scanned, 0, -1), to=TensorProto.DOUBLE)
            left = self.const(np.exp(-share / time_constant), double)
            older = self.op("Mul", left, self.op("Unsqueeze", older, self.ints(2)))
            at = self.op("Add", self.op("Mul", each, self.const(share, double)), older)
            parts = self.op("Split", at, self.ints(c.n_encoded, c.n_encoded, 1), n=3, axis=3)
            return parts, self.reshape(self.rows(scanned, -1, END), -1, c.n_sums)

        def log(x: str, added: float) -> str:
            return str(self.op("Log", self.op("Add", x, self.const(added, double))))

        def root(x: str, least: float) -> str:
            return str(self.op("Sqrt", self.op("Max", x, self.const(least, double))))

        def variance(square: str, mean: str) -> str:
            return str(self.op("Sub", square, self.op("Mul", mean, mean)))

        (recent, recent_square, count), span_after = sums(span, c.recent_steps)
        (lasting, lasting_square, lasting_count), session_after = sums(session, c.session_steps)
        prior = self.const(c.prior_steps, double)
        weight = self.op("Add", lasting_count, prior)
        mean, session_mean = self.op("Div", recent, count), self.op("Div", lasting, weight)
        deviation = root(variance(self.op("Div", recent_square, count), mean), 1e-2)
        square = self.op("Div", self.op("Add", lasting_square, prior), weight)
        spread = root(variance(square, session_mean), 0.05)
        distance = self.op("Div", self.op("Sub", mean, session_mean), spread)
        lasted = self.op("Log", self.op("Div", count, self.const(STEPS_PER_S, double)))
        stats = self.op("Concat", mean, log(deviation, DEVIATION_FLOOR), distance, lasted, axis=3)
        stats = self.op("Cast", stats, to=TensorProto.FLOAT)
        self.op("Squeeze", self.rows(stats, ANSWERS - 1, ANSWERS, axis=2), self.ints(2), out="stats")
        usual, scale = (self.weight(f"stats_{what}", c.n_stats) for what in ("mean", "scale"))
        x = self.op("Mul", self.op("Sub", stats, usual), scale)
        x = self._silu(self._product(self.reshape(x, -1, c.n_stats), "heads.first", c.n_stats, n * wide))
        x = self.op("Transpose", self.reshape(x, -1, n, wide), perm=[1, 0, 2])
        x = self.op("MatMul", x, self.weight("heads.second", n, wide, narrow))
        x = self._silu(self.op("Add", x, self.weight("heads.second_bias", n, 1, narrow)))
        hidden = self.reshape(self.op("Transpose", x, perm=[1, 0, 2]), -1, c.n_hidden)
        self.op("Identity", self._windows(hidden, c.n_hidden), out="hidden")
        x = self.op("MatMul", x, self.weight("heads.third", n, narrow, N_LABELS + 1))
        x = self.mean(self.op("Add", x, self.weight("heads.third_bias", n, 1, N_LABELS + 1)), 0)
        logits, attention = self.op("Split", x, self.ints(N_LABELS, 1), n=2, axis=1)
        warmth = self.op("Cast", self.reshape(count, -1, 1), to=TensorProto.FLOAT)
        warmth = self.op("Min", self.op("Div", warmth, self.const(WARMUP_STEPS)), self.const(1.0))
        weights = self.op("Add", self.op("Sigmoid", attention), self.const(0.02))
        x = self.op("Concat", logits, self.op("Mul", weights, warmth), axis=1)
        self.op("Identity", self._windows(x, N_LABELS + 1), out="heads")
        return span_after, session_after

    def _silu(self, x: str) -> str:
        product: str = self.op("Mul", x, self.op("Sigmoid", x))
        return product


def bounds(of: slice) -> tuple[int, int]:
    return of.start, of.stop


def step_graph(config: NetConfig, precision: str) -> bytes:
    """The graph of one step, serialized; `precision`: float32 or int8."""
    serialized: bytes = StepGraph(config, precision).model().SerializeToString(deterministic=True)
    return serialized


def write(folder: Path = FOLDER) -> None:
    """Both graphs, beside the weights."""
    config = NetConfig.of(read_card(folder)["net"])
    for precision in PRECISIONS:
        (folder / f"{precision}.onnx").write_bytes(step_graph(config, precision))


if __name__ == "__main__":
    write()
