"""`torch.rnn_tanh` and `torch.rnn_relu`: the one operator of ONNX where only the run knows how many steps there are.

The exporter has a conversion for LSTM and GRU alone. A known number of steps it takes apart, which stays: the steps are
products that every target compiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dycl.targets.onnx.replacements import replaces

_FUNCTIONS = {torch.ops.aten.rnn_tanh.input: "Tanh", torch.ops.aten.rnn_relu.input: "Relu"}


def _in_steps(function: Any) -> Any:
    def unrolled(steps: torch.Tensor, *args: Any) -> Any:
        is_first = args[-1]
        return function(steps, *args) if isinstance(steps.shape[1 if is_first else 0], int) else NotImplemented

    return unrolled


for _function in _FUNCTIONS:
    replaces(_function)(_in_steps(_function))


def register_recurrences(registry: Any) -> None:
    """Add the conversions to the exporter's functions."""
    for function, name in _FUNCTIONS.items():
        registry.register_op(function, _conversion(name))


def _conversion(name: str) -> Any:
    from onnxscript.function_libs.torch_lib import tensor_typing
    from onnxscript.onnx_opset import opset18

    op: Any = opset18
    of: Any = tensor_typing.TFloat

    def convert(
        input: Any,
        hx: Any,
        params: Any,
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Any, Any]:
        directions = 2 if bidirectional else 1
        width = 4 if has_biases else 2
        steps = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
        last = []
        for layer in range(num_layers):
            places = range(layer * directions, (layer + 1) * directions)
            own = [params[place * width : (place + 1) * width] for place in places]
            given = [_stacked(op, [weights[part] for weights in own]) for part in range(2)]
            if has_biases:
                given.append(_stacked(op, [op.Concat(weights[2], weights[3], axis=0) for weights in own]))
            out, hidden = op.RNN(
                steps,
                *given,
                initial_h=op.Slice(hx, [places[0]], [places[-1] + 1], axes=[0]),
                direction="bidirectional" if bidirectional else "forward",
                activations=[name] * directions,
                hidden_size=hx.shape[2],
            )
            last.append(hidden)
            joined = op.Transpose(out, perm=[0, 2, 1, 3])  # steps, batch, directions, units
            steps = op.Reshape(joined, op.Constant(value_ints=[0, 0, -1]))
        result = op.Transpose(steps, perm=[1, 0, 2]) if batch_first else steps
        return result, last[0] if num_layers == 1 else op.Concat(*last, axis=0)

    # the exporter reads the types, and cannot look up names of this function
    types: dict[str, Any] = dict.fromkeys(("has_biases", "train", "bidirectional", "batch_first"), bool)
    types |= {"num_layers": int, "dropout": float, "input": of, "hx": of, "params": Sequence[of]}
    convert.__annotations__ = types | {"return": tuple[of, of]}
    return convert


def _stacked(op: Any, rows: list[Any]) -> Any:
    """One row for each direction."""
    rows = [op.Unsqueeze(row, [0]) for row in rows]
    return rows[0] if len(rows) == 1 else op.Concat(*rows, axis=0)
