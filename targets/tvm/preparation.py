"""What depends on weights alone, as a list of numpy's steps: the runtime takes them once, when a subgraph is opened.

Relax lifts it out of the model into a function of the weights. Compiled, each step would be a kernel that runs once;
half of a convolutional network's kernels would be such. A weight in the order in which the rules read it:

    lv = permute_dims(w0, axes=[1, 2, 3, 0]); return lv    ->    ["permute_dims", [0], {"axes": [1, 2, 3, 0]}]

A step is an operator, its operands, and its attributes. Operands are numbers: of the weights, then of the results of
the steps before. What has another operator in it stays with TVM, and is compiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide", "sqrt", "negative"})
_MOST_NUMBERS = 4096  # of a constant: they are written as text


def write_preparation(function: Any) -> str | None:
    """The steps of Relax's function of all weights, as JSON; None if one of them is not among the runtime's."""
    return _Writer(function).write()


class _Writer:
    def __init__(self, function: Any) -> None:
        self._function = function
        (self._weights,) = function.params
        self._inputs = len(self._weights.ty.fields)
        self._steps: list[tuple[str, list[int], dict[str, object]]] = []
        self._numbers: dict[Any, int] = {}  # of the variables
        self._results: dict[Any, list[int]] = {}  # of those that are tuples

    def write(self) -> str | None:
        for block in self._function.body.blocks:
            for binding in block.bindings:
                if not self._bind(binding.var, binding.value):
                    return None
        results = self._results.get(self._function.body.body)
        return None if results is None else json.dumps({"steps": self._steps, "results": results})

    def _bind(self, variable: Any, value: Any) -> bool:
        from tvm import relax

        if isinstance(value, relax.Tuple):
            numbers = [self._number(field) for field in value.fields]
            self._results[variable] = [number for number in numbers if number is not None]
            return None not in numbers
        if value in self._results:
            self._results[variable] = self._results[value]
            return True
        number = self._number(value)
        if number is not None:
            self._numbers[variable] = number
        return number is not None

    def _number(self, value: Any) -> int | None:
        """The operand that a value is; a step more where it has to be computed."""
        from tvm import relax
        from tvm.ir import Call, GenericConst

        if isinstance(value, relax.Var):
            return self._numbers.get(value)
        if isinstance(value, relax.TupleGetItem) and value.tuple_value == self._weights:
            return int(value.index)
        if isinstance(value, GenericConst):
            array = value.value.numpy()
            if array.size > _MOST_NUMBERS or array.dtype.kind not in "bif":
                return None
            return self._step("constant", [], {"value": array.tolist(), "dtype": str(array.dtype)})
        return self._call(value) if isinstance(value, Call) else None

    def _call(self, call: Any) -> int | None:
        name = str(getattr(call.op, "name", "")).removeprefix("relax.")
        attributes = _ATTRIBUTES.get(name)
        if attributes is not None:
            return self._operation(name, call.args[:1], attributes(call))
        if name == "take":
            axis = call.attrs.axis
            return self._operation(name, call.args, {"axis": None if axis is None else int(axis)})
        is_float = name in _ARITHMETIC and str(call.ty.dtype).startswith("float")
        return self._operation(name, call.args, {}) if is_float else None

    def _operation(self, name: str, operands: Any, attributes: dict[str, object]) -> int | None:
        numbers = [self._number(operand) for operand in operands]
        known = [number for number in numbers if number is not None]
        return self._step(name, known, attributes) if len(known) == len(numbers) else None

    def _step(self, name: str, operands: list[int], attributes: dict[str, object]) -> int:
        self._steps.append((name, operands, attributes))
        return self._inputs + len(self._steps) - 1


def _integers(values: Any) -> list[int] | None:
    return None if values is None else [int(value) for value in values]


# Operators of one operand: their attributes, as the runtime's functions take them.
_ATTRIBUTES: dict[str, Callable[[Any], dict[str, object]]] = {
    "permute_dims": lambda call: {"axes": _integers(call.attrs.axes)},
    "reshape": lambda call: {"shape": _integers(call.ty.shape.values)},
    "expand_dims": lambda call: {"axis": _integers(call.attrs.axis)},
    "squeeze": lambda call: {"axis": _integers(call.attrs.axis)},
    "astype": lambda call: {"dtype": str(call.attrs.dtype)},
}
