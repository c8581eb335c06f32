"""Constants and identities to the host: what is known is a literal, and what returns its argument is left out.

Before::

    b0(%0 x: float32[1, 4]):
      %1: int = host size(%0, 1)
      %2: int = host floordiv(%1, 2)
      %3: float32[1, 4] = module drop(%0)
      %4: float32[] = call torch.sum(%3)
      %5: float = host item(%4)
      %6: float = host float(%5)
      return (%2, %6)

After (`drop` is an `nn.Dropout` in eval mode)::

    b0(%0 x: float32[1, 4]):
      %1: float32[] = call torch.sum(%0)
      %2: float = host item(%1)
      return (2, %2)

Literals are folded by Python itself; an operation that raises stays, to raise at run time. `not (a < b)` becomes
`a >= b` for integers only: with a nan both are false.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dycl.ir.dataflow import mutated_values, value_types
from dycl.ir.environment import Environment
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import Block, HostOp, Op, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution
from dycl.ir.values import Lit, Operand, Ref, ScalarKind, Seq, TensorType, ValueId, ValueType, Weight
from dycl.passes.analysis.copies import find_needless_copies
from dycl.passes.analysis.effects import scalar_kind
from dycl.passes.analysis.identities import is_alias
from dycl.passes.rewriting import replace_values

# The conversion of a number that is one already.
_CONVERSIONS = {"int": ScalarKind.INT, "float": ScalarKind.FLOAT, "bool": ScalarKind.BOOL, "str": ScalarKind.STR}
_OPPOSITES = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
_TOTALLY_ORDERED = (ScalarKind.INT, ScalarKind.BOOL, ScalarKind.STR)
_LITERALS = (bool, int, float, str)
_LARGEST = 1 << 12  # bits of an integer that is worth writing out


def run(program: Program, environment: Environment) -> Program:
    """The program with known host values as literals and without operations that return their argument."""
    while True:
        folder = _Folder.of(program, environment)
        blocks = tuple(folder.fold_block(block) for block in program.blocks)
        if not folder.found and blocks == program.blocks:
            return renumber(program)
        program = replace_values(replace(program, blocks=blocks), folder.found)


@dataclass(frozen=True, slots=True)
class _Folder:
    """What one round over a program knows, and in `found` what it finds out."""

    environment: Environment
    types: dict[ValueId, ValueType]
    makers: dict[ValueId, HostOp]
    mutated: frozenset[ValueId]
    needless_copies: frozenset[ValueId]
    found: Substitution

    @staticmethod
    def of(program: Program, environment: Environment) -> _Folder:
        """The folder of a program."""
        makers = {op.result.id: op for block in program.blocks for op in block.ops if isinstance(op, HostOp)}
        return _Folder(
            environment,
            value_types(program),
            makers,
            mutated_values(program),
            frozenset(find_needless_copies(program, environment)),
            {},
        )

    def fold_block(self, block: Block) -> Block:
        """The block without what is replaced, which is noted in `found`."""
        return replace(block, ops=tuple(kept for op in block.ops for kept in self._fold(op)))

    def _fold(self, op: Op) -> Iterator[Op]:
        match op:
            case HostOp():
                operand = self._fold_host(op)
                if operand is None:
                    yield self._turn_comparison(op)
                else:
                    self.found[op.result.id] = operand
            case TensorOp() if self._is_identity(op):
                self.found[op.results[0].id] = op.args[0]
            case _:
                yield op

    # ------------------------------------------------------------ host

    def _fold_host(self, op: HostOp) -> Operand | None:
        """What the operation always gives, or None if that is not known or needs computing."""
        first = op.args[0] if op.args else Lit(None)
        if all(isinstance(arg, Lit) for arg in op.args):
            return _compute(op.function, tuple(arg.value for arg in op.args if isinstance(arg, Lit)))
        kind = scalar_kind(first, self.types)
        if kind is not None and _CONVERSIONS.get(op.function) is kind:
            return first
        match op.function:
            case "size":
                return self._fold_size(op.args)
            case "item" | "peek" if isinstance(first, Weight) and self.environment.weights[first.name].numel() == 1:
                return _as_literal(self.environment.weights[first.name].item())
            case "not_":
                return self._fold_double_not(first)
            case "eq" | "ne" | "le" | "ge" | "lt" | "gt" if kind in _TOTALLY_ORDERED and op.args[0] == op.args[1]:
                return Lit(op.function in ("eq", "le", "ge"))
            case "eq" | "ne":
                return self._fold_counted_truth(op)
            case "list_len" if isinstance(first, Seq):
                return Lit(len(first.items))
            case "list_get" if isinstance(first, Seq):
                return self._fold_list_get(op.result.id, first, op.args[1])
        return None

    def _fold_list_get(self, result: ValueId, items: Seq, index: Operand) -> Operand | None:
        if not isinstance(index, Lit) or not isinstance(index.value, int):
            return None
        if not -len(items.items) <= index.value < len(items.items):
            return None
        found = items.items[index.value]
        return found if isinstance(found, Ref) or result not in self.mutated else None

    def _fold_size(self, args: tuple[Operand, ...]) -> Operand | None:
        tensor, dim = args
        if not isinstance(dim, Lit) or not isinstance(dim.value, int):
            return None
        shape: tuple[int | str, ...] = ()
        if isinstance(tensor, Weight):
            shape = tuple(self.environment.weights[tensor.name].shape)
        elif isinstance(tensor, Ref) and isinstance(found := self.types[tensor.id], TensorType):
            shape = found.shape
        if not -len(shape) <= dim.value < len(shape):
            return None
        size = shape[dim.value]
        return Lit(size) if isinstance(size, int) else None

    def _fold_double_not(self, operand: Operand) -> Operand | None:
        """`not not x` is x if x is a bool."""
        inner = self.makers.get(operand.id) if isinstance(operand, Ref) else None
        if inner is None or inner.function != "not_":
            return None
        return inner.args[0] if scalar_kind(inner.args[0], self.types) is ScalarKind.BOOL else None

    def _fold_counted_truth(self, op: HostOp) -> Operand | None:
        """`float(b) == 1` is b if b is a bool, and so is `int(b) != 0`."""
        counted, number = op.args
        inner = self.makers.get(counted.id) if isinstance(counted, Ref) else None
        if inner is None or inner.function not in ("int", "float") or not isinstance(number, Lit):
            return None
        is_truth = scalar_kind(inner.args[0], self.types) is ScalarKind.BOOL
        return inner.args[0] if is_truth and number.value == (1 if op.function == "eq" else 0) else None

    def _turn_comparison(self, op: HostOp) -> HostOp:
        """`not a < b` as `a >= b`, where both mean the same."""
        inner = self.makers.get(op.args[0].id) if op.function == "not_" and isinstance(op.args[0], Ref) else None
        if inner is None or inner.function not in _OPPOSITES:
            return op
        kinds = [scalar_kind(arg, self.types) for arg in inner.args]
        is_equality = inner.function in ("eq", "ne") and None not in kinds
        if is_equality or all(kind in _TOTALLY_ORDERED for kind in kinds):
            return replace(op, function=_OPPOSITES[inner.function], args=inner.args)
        return op

    # ------------------------------------------------------------ tensors

    def _is_identity(self, op: TensorOp) -> bool:
        if not op.results:  # an assignment to a subscript: nothing comes out of it
            return False
        if is_alias(op, self.environment, self.types):
            return isinstance(op.args[0], Ref) or op.results[0].id not in self.mutated
        return op.results[0].id in self.needless_copies


def _compute(function: str, args: tuple[object, ...]) -> Operand | None:
    """What Python computes from literals; None if it raises, is read at run time, or would be enormous."""
    if function == "tunable" or HOST_FUNCTIONS[function].is_effect or _is_enormous(function, args):
        return None
    try:
        result = HOST_FUNCTIONS[function].call(*args)
    except (ArithmeticError, ValueError, TypeError, LookupError):
        return None
    return _as_literal(result)


def _is_enormous(function: str, args: tuple[object, ...]) -> bool:
    """Whether the result may be a number or a text that is not worth writing out."""
    match function, args:
        case "mul", (str(), _) | (_, str()):
            return True
        case "pow", (int(base), int(exponent)):
            return base.bit_length() * exponent > _LARGEST
        case "lshift", (int(base), int(shift)):
            return base.bit_length() + shift > _LARGEST
    return False


def _as_literal(value: object) -> Operand | None:
    return Lit(value) if type(value) in _LITERALS else None
