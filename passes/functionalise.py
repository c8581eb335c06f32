"""Let a write in place to memory that has one name be the making of a new tensor.

Before::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = module stem(%0)
      %2: float32[1, 4] = call torch.Tensor.add_(%1, %0) mutates %1 -> %3: float32[1, 4]
      return %3

After::

    b0(%0 x: float32[1, 4]):
      %1: float32[1, 4] = module stem(%0)
      %2: float32[1, 4] = call torch.Tensor.add(%1, %0)
      return %2

Nobody can tell the difference: the memory was made by an operation that returns nothing it was given, or comes through
joins from nothing but such, and this write is the only one to use it. Operations that write move nowhere and nothing
moves past them, so a residual block that ends in `out += x` could not be one dispatch with what follows; now it can.

Only where the other operation has the same result to the bit: its type must not depend on more than the type of what is
written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from dycl.ir.environment import Environment
from dycl.ir.graph import end_uses, entry_blocks, op_definitions, op_uses, renumber
from dycl.ir.nodes import CallFunction, CallModule, Edge, Op, Target, TensorOp
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Lit, Operand, Ref, ScalarKind, ScalarType, TensorType, ValueId, ValueType
from dycl.passes.analysis.aliasing import has_own_forward, may_alias
from dycl.passes.rewriting import Substitution, edges_into, replace_values, value_types

_ANY_TYPE = frozenset(["add", "sub", "mul", "neg", "abs", "clamp"])
_FLOATING = _ANY_TYPE | frozenset(
    ["div", "true_divide", "pow", "exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "relu"]
)
_OPERATORS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}
# Functions and modules with an option to write: (name, the attributes of the module that the function takes).
_ACTIVATIONS: Mapping[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    nn.ReLU: ("relu", ()),
    nn.ReLU6: ("relu6", ()),
    nn.LeakyReLU: ("leaky_relu", ("negative_slope",)),
    nn.ELU: ("elu", ("alpha",)),
    nn.SiLU: ("silu", ()),
    nn.Hardswish: ("hardswish", ()),
    nn.Hardsigmoid: ("hardsigmoid", ()),
}
_HOME = "torch.nn.functional."


def run(program: Program, environment: Environment) -> Program:
    """The program without writes that nobody can see."""
    while (changed := _round(program, environment)) is not program:
        program = changed
    return program


def _round(program: Program, environment: Environment) -> Program:
    """All writes that are the first to a memory; what wrote to the same after them is the first then."""
    memory = _Memory(program, environment)
    types = value_types(program)
    renamed: Substitution = {}
    blocks = []
    for block in program.blocks:
        ops: list[Op] = []
        for op in block.ops:
            pure = _pure(op, types, environment) if isinstance(op, TensorOp) else None
            if pure is not None and isinstance(op, TensorOp) and memory.is_own(op.mutates[0][0]):
                renamed[op.mutates[0][1].id] = Ref(pure.results[0].id)
                op = pure
            ops.append(op)
        blocks.append(replace(block, ops=tuple(ops)))
    return renumber(replace_values(replace(program, blocks=tuple(blocks)), renamed)) if renamed else program


# ---------------------------------------------------------------- the same without a write


def _pure(op: TensorOp, types: Mapping[ValueId, ValueType], environment: Environment) -> TensorOp | None:
    """The operation that makes a new tensor of the same content, if there is one."""
    if len(op.mutates) != 1 or len(op.results) != 1 or not op.args:
        return None
    old, new = op.mutates[0]
    written = types[old]
    if op.args[0] != Ref(old) or not isinstance(written, TensorType) or op_uses(op).count(old) != 2:
        return None
    if op.results[0].type != written or new.type != written:
        return None
    target, kwargs = _pure_target(op, written.dtype, environment)
    if target is None or not all(_keeps_type(arg, written.dtype, types) for arg in op.args[1:]):
        return None
    result = replace(op.results[0], name=op.results[0].name or new.name)
    return replace(op, target=target, kwargs=kwargs, results=(result,), mutates=())


def _pure_target(
    op: TensorOp, dtype: str, environment: Environment
) -> tuple[Target | None, tuple[tuple[str, Operand], ...]]:
    match op.target:
        case CallModule(path=path):
            module = environment.modules.get(path)
            if module is None or type(module) not in _ACTIVATIONS or has_own_forward(module):
                return None, ()
            name, attributes = _ACTIVATIONS[type(module)]
            options = tuple((attribute, Lit(getattr(module, attribute))) for attribute in attributes)
            return CallFunction(f"{_HOME}{name}"), (*options, ("inplace", Lit(False)))
        case CallFunction(name=full):
            home, _, name = full.rpartition(".")
            known = {activation for activation, _ in _ACTIVATIONS.values()}
            if f"{home}." == _HOME and name in known and ("inplace", Lit(True)) in op.kwargs:
                return op.target, tuple((k, Lit(False) if k == "inplace" else v) for k, v in op.kwargs)
            bare = _OPERATORS.get(name, name[:-1] if name.endswith("_") and not name.endswith("__") else "")
            allowed = _FLOATING if "float" in dtype else _ANY_TYPE if "int" in dtype else frozenset()
            if home != "torch.Tensor" or bare not in allowed or op.kwargs:
                return None, ()
            return CallFunction(f"torch.Tensor.{bare}"), ()


def _keeps_type(arg: Operand, dtype: str, types: Mapping[ValueId, ValueType]) -> bool:
    """Whether a further operand leaves the type of the result that of what is written."""
    floating = "float" in dtype
    match arg:
        case Ref(id=value):
            match types[value]:
                case TensorType(dtype=other):
                    return other == dtype
                case ScalarType(kind=kind):
                    return kind in (ScalarKind.INT, ScalarKind.BOOL) or (kind is ScalarKind.FLOAT and floating)
            return False
        case Lit(value=literal):
            return literal is None or type(literal) in (int, bool) or (type(literal) is float and floating)
        case _:
            return False


# ---------------------------------------------------------------- whose memory it is


class _Memory:
    """Which values are the only name that their memory ever had."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._environment = environment
        self._into: dict[BlockId, list[Edge]] = edges_into(program)
        self._begins = entry_blocks(program)
        self._uses: Counter[ValueId] = Counter()
        self._made: dict[ValueId, TensorOp] = {}
        self._params: dict[ValueId, tuple[BlockId, int]] = {}
        for block in program.blocks:
            self._params.update({param.id: (block.id, index) for index, param in enumerate(block.params)})
            self._uses.update(end_uses(block.end))
            for op in block.ops:
                # What an operation writes is used once by it, though it is named twice.
                self._uses.update(set(op_uses(op)))
                if isinstance(op, TensorOp):
                    self._made.update({value.id: op for value in op_definitions(op)})

    def is_own(self, value: ValueId) -> bool:
        """Whether the memory was made for this value, and only the one who asks uses it."""
        pending, seen = [value], {value}
        while pending:
            current = pending.pop()
            if self._uses[current] != 1:
                return False
            if current in self._params:
                block, index = self._params[current]
                if block in self._begins:
                    return False
                args = [edge.args[index] for edge in self._into[block]]
                if not all(isinstance(arg, Ref) for arg in args):
                    return False
                given = [arg.id for arg in args if isinstance(arg, Ref)]
                pending += [arg for arg in given if arg not in seen]
                seen.update(given)
            elif current not in self._made or not self._is_fresh(self._made[current]):
                return False
        return True

    def _is_fresh(self, op: TensorOp) -> bool:
        return len(op.results) == 1 and not op.mutates and not may_alias(op, self._environment)
