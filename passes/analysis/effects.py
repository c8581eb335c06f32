"""Which host operations can raise, given the types of what they are handed."""

from __future__ import annotations

from collections.abc import Mapping

from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import HostOp
from dycl.ir.values import Lit, Operand, Ref, ScalarKind, ScalarType, TensorType, ValueId, ValueType, Weight

_LITERAL_KINDS = {int: ScalarKind.INT, float: ScalarKind.FLOAT, bool: ScalarKind.BOOL, str: ScalarKind.STR}

# For these the conversion is the identity or exact; `int` of a float may meet nan, `float` of an int may overflow.
_SAFE_CONVERSIONS = {
    "int": {ScalarKind.INT, ScalarKind.BOOL},
    "float": {ScalarKind.FLOAT, ScalarKind.BOOL},
    "round": {ScalarKind.INT, ScalarKind.BOOL},
}

# Of a tensor, these raise in torch unless it holds one element; `int` also raises where that is nan.
_ONE_ELEMENT = {"item", "peek", "bool", "float"}


def scalar_kind(operand: Operand, types: Mapping[ValueId, ValueType]) -> ScalarKind | None:
    """The kind of host scalar an operand is; None for anything else."""
    match operand:
        case Ref(id=value):
            found = types.get(value)
            return found.kind if isinstance(found, ScalarType) else None
        case Lit(value=literal):
            return _LITERAL_KINDS.get(type(literal))
        case _:
            return None


def may_raise(op: HostOp, types: Mapping[ValueId, ValueType]) -> bool:
    """Whether the operation can raise for some values of its operands' types."""
    kinds = tuple(scalar_kind(arg, types) for arg in op.args)
    if op.function in _ONE_ELEMENT and kinds[0] is None:
        return not _has_one_element(op.args[0], types)
    if op.function in _SAFE_CONVERSIONS and kinds[0] in _SAFE_CONVERSIONS[op.function]:
        return False
    if op.function in ("floordiv", "mod", "truediv") and _is_safe_division(op, kinds):
        return False
    return HOST_FUNCTIONS[op.function].may_raise


def _has_one_element(operand: Operand, types: Mapping[ValueId, ValueType]) -> bool:
    if isinstance(operand, Weight):
        return False  # its shape is the environment's to know
    kind = types.get(operand.id) if isinstance(operand, Ref) else None
    return isinstance(kind, TensorType) and all(size == 1 for size in kind.shape)


def _is_safe_division(op: HostOp, kinds: tuple[ScalarKind | None, ...]) -> bool:
    """Whether the divisor is a literal other than 0 and no large integer is turned into a float on the way."""
    divisor = op.args[1]
    if not isinstance(divisor, Lit) or not divisor.value:
        return False
    if op.function != "truediv" and kinds == (ScalarKind.INT, ScalarKind.INT):
        return True
    return kinds[0] is ScalarKind.FLOAT and (
        kinds[1] is ScalarKind.FLOAT or (isinstance(divisor.value, int) and abs(divisor.value) < 2**53)
    )
