"""compact in ONNX Runtime: steps of 100 ms of any number of sessions; and whether they keep to themselves."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from stream.models.compact.quantized import quantized
from stream.models.compact.sizes import GROUP, N_FFT, NetConfig
from stream.types import FRAME, HOP, Floats, samples_for

ROWS = 128  # steps of all windows that are computed at once: more are no cheaper, and take memory
WINDOWS = 32
CUTS = (1, 2, 4, 8, 16, 32, 64)  # where a span of ROWS steps is tried to be cut
# From which of the windows, and how many: the batches that are tried.
BATCHES = [(0, 1), (5, 1), (6, 2), (1, 3), (9, 4), (3, 5), (0, 8), (7, 12), (2, 16), (8, 24)]
OPTIONS = {
    "session.intra_op.allow_spinning": "0",  # cores are shared
    # Where a processor has no instruction for it, the quick way to multiply bytes cuts sums off at 16 bits: no.
    "session.x64quantprecision": "1",
}


class StepOutput(NamedTuple):
    """What T steps of B sessions give."""

    heads: Floats  # (B, T ANSWERS, N_LABELS + 1): logits, and a weight
    hidden: Floats  # (B, T ANSWERS, n_hidden): what the heads' last layers read
    stats: Floats  # (B, T, n_stats), at the end of each step
    state: Floats  # (B, state_size), after the last


class CompactStep:
    """A graph with its weights, ready to run."""

    def __init__(
        self, config: NetConfig, folder: Path, arrays: dict[str, Floats], precision: str, threads: int = 1
    ) -> None:
        self.config, self.precision = config, precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        for name, value in OPTIONS.items():
            options.add_session_config_entry(name, value)
        weights = quantized(arrays, folder) if precision == "int8" else dict(arrays)
        self._window = weights.pop("window")  # the others are the graph's
        given = [
            onnxruntime.OrtValue.ortvalue_from_numpy(np.require(w, requirements="C"))
            for w in weights.values()
        ]
        options.add_external_initializers(list(weights), given)
        graph = (folder / f"{precision}.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        encoder = config.encoder
        start = config.slow_size + sum(encoder.cache_sizes[:3])
        starts = [start + k * encoder.layer_cache for k in range(encoder.n_layers)]
        # Where in the state a layer's keys and values are: bfloat16, two of them in the place of a float32.
        self._kv_at = [slice(at, at + encoder.width * encoder.left) for at in starts]

    def run(
        self,
        samples: Floats,
        state: Floats,
        lengths: npt.NDArray[np.int64],
        options: onnxruntime.RunOptions | None = None,
    ) -> StepOutput:
        """samples (B, samples_for(T GROUP)), state (B, state_size), frames of each row (B,), the last in its last
        group: what stands behind a row's last frame changes nothing."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME, axis=1)[:, ::HOP]
        spectrum = np.fft.rfft(frames * self._window, N_FFT)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        last, rows = lengths[:, None, None] - 1, np.arange(power.shape[1])[:, None]
        if last.min() < len(rows) - 1:  # the last frame is repeated to fill the group
            power = np.take_along_axis(power, np.minimum(rows, last), axis=1)
        fed = {"power": power, "state": state, "kv": self._numbers(state), "last": np.repeat(last, 2, axis=2)}
        wanted = ["heads", "hidden", "stats", "state_after", "kv_after"]
        heads, hidden, stats, after, kv = self._session.run(wanted, fed, options)
        halves = kv.view(np.uint16)[..., 1::2]
        for layer, at in enumerate(self._kv_at):
            after[:, at].view(np.uint16)[:] = halves[:, layer].reshape(len(after), -1)
        return StepOutput(heads, hidden, stats, after)

    def shrink(self) -> None:
        """Give back the memory that large batches have taken: otherwise ONNX Runtime keeps it for the next."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        samples, state = (np.zeros((1, n), np.float32) for n in (samples_for(GROUP), self.config.state_size))
        self.run(samples, state, np.array([GROUP]), options)

    def _numbers(self, state: Floats) -> Floats:
        """The keys and values in a state, (B, n_layers, left, 2 width); bfloat16 is the upper half of float32."""
        encoder = self.config.encoder
        kv = np.zeros((len(state), encoder.n_layers, encoder.left, 2 * encoder.width), np.float32)
        halves = kv.view(np.uint16)[..., 1::2]
        for layer, at in enumerate(self._kv_at):
            halves[:, layer] = state[:, at].view(np.uint16).reshape(halves[:, layer].shape)
        return kv


def is_invariant(step: CompactStep) -> bool:
    """Whether the state is the same to the last bit in any batch and however a span is cut, and scores to 1e-6."""
    return _batch_mates_do_not_matter(step) and _cuts_do_not_matter(step)


def _batch_mates_do_not_matter(step: CompactStep) -> bool:
    rng = np.random.default_rng(0)
    loud = 10 ** -(3 * rng.random((WINDOWS, 1)))
    before, after = (
        (loud * rng.standard_normal((WINDOWS, samples_for(GROUP)))).astype(np.float32) for _ in range(2)
    )
    lengths = np.where(np.arange(WINDOWS) % 3 == 1, 1 + np.arange(WINDOWS) % GROUP, GROUP)
    fresh = np.zeros((WINDOWS, step.config.state_size), np.float32)
    begun = step.run(before, fresh, np.full(WINDOWS, GROUP)).state
    for state in (fresh, begun):
        together = step.run(after, state, lengths)
        for first, n in BATCHES:
            some = slice(first, first + n)
            alone = step.run(after[some], state[some], lengths[some])
            if not _same(alone, together.heads[some], together.state[some]):
                return False
    return True


def _cuts_do_not_matter(step: CompactStep) -> bool:
    rng = np.random.default_rng(1)
    span = rng.standard_normal((1, samples_for(ROWS * GROUP))).astype(np.float32)
    state = np.zeros((1, step.config.state_size), np.float32)
    whole, heads = step.run(span, state, np.array([ROWS * GROUP])), []
    for first, end in pairwise((0, *CUTS, ROWS)):
        n = (end - first) * GROUP
        part = step.run(span[:, first * GROUP * HOP :][:, : samples_for(n)], state, np.array([n]))
        state = part.state
        heads.append(part.heads)
    return _same(whole, np.concatenate(heads, 1), state)


def _same(one: StepOutput, heads: Floats, state: Floats) -> bool:
    return one.state.tobytes() == state.tobytes() and np.allclose(one.heads, heads, rtol=1e-5, atol=1e-6)
