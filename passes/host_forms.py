"""What the host can do in place of a tensor operation, with the very same result: the forms that `pin_to_host` uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dycl.ir.nodes import CallFunction, TensorOp
from dycl.ir.values import Lit, Operand, Ref, ScalarKind, Seq, TensorType, TorchLit, ValueId, ValueType
from dycl.passes.host_arrays import Empty, Pick
from dycl.passes.host_gains import Late

_MOST_ELEMENTS = 1 << 10  # that numpy goes through in about a microsecond

_COMPARISONS = {
    **{name: name for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"__{name}__": name for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "not_equal": "ne"},
}
_BOTH = {"__and__": "and_", "logical_and": "and_", "__or__": "or_", "logical_or": "or_"}
_LARGEST = {"max": "argmax", "amax": "argmax", "min": "argmin", "amin": "argmin"}
# Of one truth value: as it is counted. (`to` is given what it shall be.)
_CONVERSIONS = {"float": "float", "double": "float", "long": "int", "int": "int"}
_CONVERTED = {"torch.float32": "float", "torch.float64": "float", "torch.int64": "int", "torch.int32": "int"}
_STACKS = {"stack": 0, "cat": 1, "concat": 1}  # of single elements with so many dimensions
_PLACES = frozenset({"argmax", "argmin"})
_ALONE = {"logical_not": "not_", "__invert__": "not_", "all": "bool", "any": "bool"}  # of one truth value
KINDS = {
    "bool": ScalarKind.BOOL,
    "float32": ScalarKind.FLOAT,
    "float64": ScalarKind.FLOAT,
    **dict.fromkeys(("int8", "uint8", "int16", "int32", "int64"), ScalarKind.INT),
}

Types = Mapping[ValueId, ValueType]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A comparison of single elements, or a connection of truth values: `function` of numbers of the host's."""

    function: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Reduction:
    """A largest or least number of `source` along `dim`, or its place."""

    function: str  # argmax or argmin
    source: Ref
    dim: int
    number: ValueId | None  # the result that is the number itself
    place: ValueId | None  # the result that is its place
    is_array: bool  # whether numpy gives the place as an array as torch gives a tensor


@dataclass(frozen=True, slots=True)
class Stack:
    """Single elements of one kind, one after the other."""

    elements: tuple[Ref, ...]
    dtype: str


Form = Scalar | Reduction | Stack
AnyForm = Form | Pick | Empty | Late


def is_array_of(form: AnyForm, result: ValueId) -> bool:
    """Whether the host has this result as an array, not as a number only."""
    return isinstance(form, Stack | Pick | Empty | Late) or (
        isinstance(form, Reduction) and form.is_array and result != form.number
    )


def find_form(op: TensorOp, types: Types) -> Form | None:
    """How the host would do it; None if it cannot, or not with the very same result."""
    if not isinstance(op.target, CallFunction) or op.mutates or not op.args:
        return None
    name = op.target.name.rpartition(".")[2]
    if name in _STACKS:
        return _find_stack(op, _STACKS[name], types)
    if not isinstance(op.args[0], Ref):
        return None
    kind = types[op.args[0].id]
    if not isinstance(kind, TensorType) or kind.dtype not in KINDS:
        return None
    if name in _PLACES or name in _LARGEST:
        return _find_reduction(op, name, op.args[0], kind, types)
    if op.kwargs or len(op.results) != 1 or not _is_one(kind):
        return None
    if name in _COMPARISONS and len(op.args) == 2:
        other = find_compared(op.args[1], kind, types)
        return None if other is None else Scalar(_COMPARISONS[name], (op.args[0], other))
    if kind.dtype != "bool":
        return None
    if name in _BOTH and len(op.args) == 2 and isinstance(op.args[1], Ref):
        return Scalar(_BOTH[name], op.args) if find_compared(op.args[1], kind, types) else None
    if name in _ALONE and len(op.args) == 1:
        return Scalar(_ALONE[name], op.args)
    if name == "to" and len(op.args) == 2 and isinstance(op.args[1], TorchLit):
        function = _CONVERTED.get(op.args[1].text)
    else:
        function = _CONVERSIONS.get(name) if len(op.args) == 1 else None
    return None if function is None else Scalar(function, op.args[:1])


def _find_stack(op: TensorOp, rank: int, types: Types) -> Stack | None:
    parts = op.args[0].items if isinstance(op.args[0], Seq) else ()
    elements = tuple(part for part in parts if isinstance(part, Ref))
    dim = (*op.args[1:], *(value for key, value in op.kwargs if key == "dim"), Lit(0))[0]
    kinds = {types[element.id] for element in elements}
    kind = next(iter(kinds), None)
    is_plain = len(elements) == len(parts) and len(kinds) == 1 and dim in (Lit(0), Lit(-1))
    if not is_plain or not isinstance(kind, TensorType) or kind.dtype not in KINDS or kind.shape != (1,) * rank:
        return None
    return Stack(elements, kind.dtype)


def _is_one(kind: TensorType) -> bool:
    return all(size == 1 for size in kind.shape)


def _find_reduction(op: TensorOp, name: str, source: Ref, kind: TensorType, types: Types) -> Reduction | None:
    sizes = [size for size in kind.shape if isinstance(size, int)]
    elements = math.prod(sizes)
    is_known = len(sizes) == len(kind.shape) > 0 and 0 < elements <= _MOST_ELEMENTS and kind.dtype != "bool"
    dim = _find_dim(op, sizes) if is_known else None
    if dim is None:
        return None
    first = op.results[0]
    rest = tuple(size for place, size in enumerate(sizes) if place != dim)
    if name in _PLACES:
        is_array = rest != () and types[first.id] == TensorType("int64", rest)
        return Reduction(name, source, dim, None, first.id, is_array) if is_array or math.prod(rest) == 1 else None
    if math.prod(rest) != 1:
        return None  # the host reads one number
    place = op.results[1] if len(op.results) > 1 else None
    is_array = place is not None and rest != () and place.type == TensorType("int64", rest)
    return Reduction(_LARGEST[name], source, dim, first.id, place.id if place else None, is_array)


def _find_dim(op: TensorOp, sizes: list[int]) -> int | None:
    """Along which dimension an operation goes whose result has the elements of the others."""
    named = dict(op.kwargs)
    given = {"dim": op.args[1]} if len(op.args) > 1 else {}
    given |= {"keepdim": op.args[2]} if len(op.args) > 2 else {}
    given |= named
    dim = given.pop("dim", Lit(None))
    keeps = given.pop("keepdim", Lit(False))
    if given or not isinstance(dim, Lit) or not isinstance(keeps, Lit):
        return None
    if type(dim.value) is int:
        return dim.value % len(sizes)
    wide = [place for place, size in enumerate(sizes) if size > 1]
    return (wide or [len(sizes) - 1])[0] if dim.value is None and len(wide) < 2 else None


def find_compared(operand: Operand, kind: TensorType, types: Types) -> Operand | None:
    """What a single element of this kind is compared with, as torch does it: a number is one of the tensor's kind."""
    if isinstance(operand, Ref):
        other = types[operand.id]
        return operand if isinstance(other, TensorType) and other.dtype == kind.dtype and _is_one(other) else None
    if not isinstance(operand, Lit) or not isinstance(operand.value, bool | int | float):
        return None
    is_float = kind.dtype in ("float32", "float64")
    limits = torch.iinfo(torch.int64 if is_float or kind.dtype == "bool" else getattr(torch, kind.dtype))
    fits = is_float if isinstance(operand.value, float) else limits.min <= operand.value <= limits.max
    if not fits:  # such an integer torch does not take, or wraps
        return None
    return Lit(torch.tensor(operand.value, dtype=getattr(torch, kind.dtype)).item()) if is_float else operand
