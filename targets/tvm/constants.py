"""What depends on sizes and constants alone, computed here: TVM would compile a function for each step, and run it.

TVM's importer asks of every index whether it is negative, of constant ones too:

    s = shape_to_tensor(shape_of(x)); where(less(1, 0), add(1, take(s, 0)), 1)    ->    1

Only integers and bools are computed: they come out the same whoever does it. Any constant is put into another shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_OPERATORS: dict[str, Callable[..., Any]] = {"relax.add": np.add, "relax.less": np.less, "relax.where": np.where}
_SHAPES = frozenset({"relax.reshape", "relax.expand_dims", "relax.squeeze"})


def fold_constants(module: Any) -> Any:
    """The module, known integers and bools of `main` in the place of the calls that give them."""
    from tvm import relax

    @relax.expr_functor.mutator
    class Folder(relax.PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = super().visit_call_(call)
            value = _compute(call, self._integers)
            value = _reshape(call, self._array) if value is None else value
            return call if value is None else relax.const(value, str(value.dtype))

        def _integers(self, expression: Any) -> np.ndarray | None:
            """The same, if it has integers or bools."""
            array = self._array(expression)
            return array if array is not None and array.dtype.kind in "ib" else None

        def _array(self, expression: Any) -> np.ndarray | None:
            """The content of a constant, or of a variable that is bound to one."""
            from tvm.ir import GenericConst

            if isinstance(expression, relax.Var):
                expression = self.lookup_binding(expression)
            if not isinstance(expression, GenericConst):
                return None
            array: np.ndarray = expression.value.numpy()
            return array

    folder = Folder(module)
    module[module.get_global_var("main")] = folder.visit_expr(module["main"])
    return module


def _compute(call: Any, array: Callable[[Any], np.ndarray | None]) -> np.ndarray | None:
    """What the call gives; None if that is not known, or if nothing is known of the operator."""
    name = getattr(call.op, "name", "")
    if name == "relax.shape_to_tensor":
        sizes = _sizes(call.args[0])
        return None if sizes is None else np.array(sizes, np.int64)
    if name not in (*_OPERATORS, "relax.take"):
        return None
    arrays = [array(argument) for argument in call.args]
    known = [each for each in arrays if each is not None]
    if len(known) < len(arrays):
        return None
    if name != "relax.take":
        return np.asarray(_OPERATORS[name](*known))
    data, index = known
    is_within = data.ndim == 1 and np.all((index >= 0) & (index < len(data)))
    return np.asarray(data[index]) if is_within else None


def _reshape(call: Any, array: Callable[[Any], np.ndarray | None]) -> np.ndarray | None:
    """A constant in the shape that the call gives it; None if it is none, or if another operator is called."""
    if getattr(call.op, "name", "") not in _SHAPES:
        return None
    found, shape = array(call.args[0]), call.ty.shape
    sizes = None if found is None or shape is None else _sizes(shape)
    return None if found is None or sizes is None else found.reshape(sizes)


def _sizes(shape: Any) -> list[int] | None:
    """The sizes that a shape says; None if one of them is known at run time only."""
    from tvm import tirx

    sizes = shape.ty.values
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return [int(size) for size in sizes]
