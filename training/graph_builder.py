"""Nodes, constants and scans of an ONNX graph, by a line each: what `training.graph` writes compact with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

END = 2**31 - 1  # of a slice: all that there is


class GraphBuilder:
    """Nodes and constants, named as they come."""

    def __init__(self, within: str = "") -> None:
        """`within`: the name of the node that this is the body of: what is in it has names of its own."""
        self.within = within
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._n = 0

    def op(self, kind: str, *inputs: str, out: str | None = None, n: int = 1, **attributes: Any) -> Any:
        """Add a node: the name of its output, or a list of `n`."""
        self._n += 1
        name = f"{self.within}{kind}_{self._n}"
        outs = [out or name] if n == 1 else [f"{name}_{i}" for i in range(n)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=name, **attributes))
        return outs[0] if n == 1 else outs

    def const(self, value: Any, dtype: type = np.float32) -> str:
        """A constant that is part of the graph."""
        array: np.ndarray[Any, Any] = np.asarray(value, dtype)
        name = f"{array.dtype}_{'_'.join(str(n) for n in array.ravel())}" if array.size < 5 else ""
        name = f"{name}_{array.ndim}" if name else f"constant_{len(self.constants)}"
        name = self.within + name
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def weight(self, name: str, *shape: int, dtype: int = TensorProto.FLOAT) -> str:
        """A constant that comes from outside, by its name in weights.npz or in `graph_weights`."""
        tensor = TensorProto(name=name, data_type=dtype, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="weights.npz")
        self.constants.setdefault(name, tensor)
        return name

    def rows(self, x: str, start: int, end: int, step: int = 1, axis: int = 1) -> str:
        """x[start:end:step] along `axis`."""
        cut: str = self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis), self.ints(step))
        return cut

    def reshape(self, x: str, *shape: int) -> str:
        shaped: str = self.op("Reshape", x, self.ints(*shape))
        return shaped

    def mean(self, x: str, axis: int, keepdims: int = 0) -> str:
        mean: str = self.op("ReduceMean", x, self.ints(axis), keepdims=keepdims)
        return mean

    def sums_before(self, x: str, first: str, decay: np.ndarray[Any, Any]) -> str:
        """Decaying sums of x (B, T, …) from `first` (B, …): what they are before each step, and after the last,
        (B, T + 1, …). One by one and as float32 in between: rounded alike, however a span is cut."""
        exact = TensorProto.DOUBLE if decay.dtype == np.float64 else TensorProto.FLOAT
        body = GraphBuilder(f"Scan_{self._n + 1}_")
        x_in, sums, after, before = (body.within + name for name in ("x", "sums", "after", "before"))
        older = body.op("Cast", sums, to=exact) if exact == TensorProto.DOUBLE else sums
        left = body.op("Mul", body.const(decay, decay.dtype.type), older)
        if exact == TensorProto.DOUBLE:
            body.op("Cast", body.op("Add", x_in, left), out=after, to=TensorProto.FLOAT)
        else:
            body.op("Add", x_in, left, out=after)
        body.op("Identity", sums, out=before)

        def info(name: str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, dtype, None)

        inputs, outputs = [info(sums), info(x_in, exact)], [info(after), info(before)]
        scanned = helper.make_graph(body.nodes, "step", inputs, outputs, list(body.constants.values()))
        last, each = self.op(
            *("Scan", first, x),
            n=2, body=scanned, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1],
        )  # fmt: skip
        together: str = self.op("Concat", each, self.op("Unsqueeze", last, self.ints(1)), axis=1)
        return together

    def ones_like(self, x: str) -> str:
        ones: str = self.op("Expand", self.const(1.0), self.op("Shape", x))
        return ones
