"""Operations on numpy arrays as the Python that the source has: calls with keywords, subscripts, operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dycl.ir.arrays import ARRAY_FUNCTIONS
from dycl.ir.hostfunctions import HostFunction
from dycl.ir.nodes import HostOp
from dycl.ir.values import Lit, Mapping, Operand, Seq, SeqKind, SliceOf

ATOM = 100

_UFUNCS = {
    "iadd": "np.add",
    "isub": "np.subtract",
    "imul": "np.multiply",
    "imatmul": "np.matmul",
    "itruediv": "np.true_divide",
    "ifloordiv": "np.floor_divide",
    "imod": "np.remainder",
    "ipow": "np.power",
    "ilshift": "np.left_shift",
    "irshift": "np.right_shift",
    "iand": "np.bitwise_and",
    "ixor": "np.bitwise_xor",
    "ior": "np.bitwise_or",
}


class Write(Protocol):
    """Writes an operand, in parentheses if it binds less tightly than `least`."""

    def __call__(self, operand: Operand, least: int = 0) -> str: ...


def array_operation(op: HostOp, function: HostFunction, write: Write) -> str:
    """The expression that does the operation."""
    name = op.function.removeprefix("np.")
    if name in ("error_of", "error_text"):
        return f"numerics.{name}({_attempt(op, write)})"
    if name == "getitem":
        return f"{write(op.args[0], ATOM)}[{subscript(op.args[1], write)}]"
    if name.startswith("operator.") and (ufunc := _UFUNCS.get(name.removeprefix("operator."))):
        return f"in_place({ufunc}, {write(op.args[0])}, {write(op.args[1])})"
    if function.text:
        return function.text.format(*_operands(op, function, write))
    name, bracket, part = op.function.partition("[")
    if name.startswith("np.ndarray."):
        method = name.removeprefix("np.ndarray.")
        return f"{write(op.args[0], ATOM)}.{method}({_arguments(op.args[1:], write)}){bracket}{part}"
    return f"{name}({_arguments(op.args, write)}){bracket}{part}"


def _attempt(op: HostOp, write: Write) -> str:
    """The arguments of a probe: a callable, and its own; what would be written into is copied."""
    assert isinstance(op.args[0], Lit)
    name = str(op.args[0].value)
    written = [write(arg) for arg in op.args[1:]]
    if name == "np.setitem":
        return f"operator.setitem, {write(op.args[1], ATOM)}.copy(), {written[1]}, {written[2]}"
    if ufunc := _UFUNCS.get(name.removeprefix("np.operator.")):
        return f"in_place, {ufunc}, {write(op.args[1], ATOM)}.copy(), {written[1]}"
    tried = HostOp(function=name, args=op.args[1:], result=op.result, loc=op.loc)
    return f"lambda: {array_operation(tried, ARRAY_FUNCTIONS[name], write)}"


def item_assignment(op: HostOp, write: Write) -> str:
    """The statement that writes into an array."""
    return f"{write(op.args[0], ATOM)}[{subscript(op.args[1], write)}] = {write(op.args[2])}"


def subscript(index: Operand, write: Callable[[Operand], str]) -> str:
    """What stands between the brackets."""
    if isinstance(index, Seq) and index.kind is SeqKind.TUPLE and index.items:
        comma = "," if len(index.items) == 1 else ""
        return ", ".join(_index(item, write) for item in index.items) + comma
    return _index(index, write)


def _index(index: Operand, write: Callable[[Operand], str]) -> str:
    if not isinstance(index, SliceOf):
        return write(index)
    start, stop, step = ("" if part == Lit(None) else write(part) for part in (index.start, index.stop, index.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _operands(op: HostOp, function: HostFunction, write: Write) -> list[str]:
    if function.precedence == ATOM:
        first = ATOM if function.text.startswith("{0}") else 0
        return [write(arg, 0 if index else first) for index, arg in enumerate(op.args)]
    own = function.precedence
    if len(op.args) == 1:
        return [write(op.args[0], own)]
    return [write(op.args[0], own + 1 if own in (20, 80) else own), write(op.args[1], own + 1)]


def _arguments(operands: tuple[Operand, ...], write: Callable[[Operand], str]) -> str:
    keywords = operands[-1] if operands and isinstance(operands[-1], Mapping) else Mapping(())
    positional = operands[:-1] if keywords.items else operands
    written = [write(operand) for operand in positional]
    return ", ".join([*written, *(f"{key.value}={write(item)}" for key, item in keywords.items)])
