"""Small arrays that the host has, joined to one that it alone looks at, for `pin_to_host`: `stack` and `cat`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dycl.diagnostics import SourceRange
from dycl.ir.nodes import CallFunction, HostOp, TensorOp
from dycl.ir.values import Lit, Ref, Seq, SeqKind, TensorType, Value, ValueId, ValueType
from dycl.passes.host_arrays import DTYPES

_MOST_ELEMENTS = 1 << 10  # that are copied in less than a microsecond
_FUNCTIONS = {"stack": "stack", "cat": "cat", "concat": "cat", "concatenate": "cat"}
# In microseconds, of the arrays at once and of each: `np.array`, `np.concatenate`; and `np.stack`.
_AT_ONCE, _EACH = 1.0, 0.2
_AT_ONCE_INSIDE, _EACH_INSIDE = 3.0, 0.4


@dataclass(frozen=True, slots=True)
class Join:
    """Arrays of one kind, side by side along a dimension: a new one (`stack`) or one of theirs (`cat`)."""

    function: str
    parts: tuple[Ref, ...]
    dim: int

    @property
    def cost(self) -> float:
        """What it takes the host, in microseconds."""
        if self.function == "stack" and self.dim:
            return _AT_ONCE_INSIDE + _EACH_INSIDE * len(self.parts)
        return _AT_ONCE + _EACH * len(self.parts)

    def operation(self, result: Value, loc: SourceRange) -> HostOp:
        """The operation of the host."""
        args = Seq(SeqKind.LIST, self.parts), Lit(self.dim)
        return HostOp(function=self.function, args=args, result=result, loc=loc)


def find_join(op: TensorOp, types: Mapping[ValueId, ValueType]) -> Join | None:
    """How the host would join arrays; None where it could be another result than torch's."""
    if not isinstance(op.target, CallFunction) or op.mutates or len(op.results) != 1 or not op.args:
        return None
    function = _FUNCTIONS.get(op.target.name.rpartition(".")[2])
    items = op.args[0].items if isinstance(op.args[0], Seq) else ()
    given = {key: value for key, value in zip(("tensors", "dim"), op.args, strict=False)} | dict(op.kwargs)
    dim = given.get("dim", Lit(0))
    if function is None or given.keys() - {"tensors", "dim"} or not isinstance(dim, Lit) or type(dim.value) is not int:
        return None
    parts = tuple(item for item in items if isinstance(item, Ref))
    kinds = [types[part.id] for part in parts]
    made = op.results[0].type
    if not parts or len(parts) != len(items) or not all(_is_plain(kind) for kind in (*kinds, made)):
        return None
    # torch converts what is of several types, and passes over an empty vector beside arrays of more dimensions.
    alike = {(kind.dtype, len(kind.shape)) for kind in kinds if isinstance(kind, TensorType)}
    if len(alike) != 1 or not isinstance(made, TensorType) or made.dtype != next(iter(alike))[0]:
        return None
    return Join(function, parts, dim.value % len(made.shape))


def _is_plain(kind: ValueType) -> bool:
    """Whether an array is small and of known sizes."""
    if not isinstance(kind, TensorType) or kind.dtype not in DTYPES:
        return False
    sizes = [size for size in kind.shape if isinstance(size, int)]
    return len(sizes) == len(kind.shape) and math.prod(sizes) <= _MOST_ELEMENTS
