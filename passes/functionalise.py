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
joins from nothing but such and this write itself, and behind the write nobody has it under another name. Operations
that write move nowhere and nothing moves past them, so a residual block that ends in `out += x` could not be one
dispatch with what follows; now it can. The same for `x[:, index] = y`, which is `torch.ops.aten.index_put` then.

Only where the other operation has the same result to the bit: its type must not depend on more than the type of what is
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from dycl.ir.dataflow import edge_bindings, end_uses, find_liveness, op_definitions, op_uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import edges_into, entry_blocks
from dycl.ir.nodes import Block, CallFunction, CallModule, Edge, HostOp, Op, Reply, Target, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution
from dycl.ir.values import (
    BlockId,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    SliceOf,
    TensorType,
    ValueId,
    ValueType,
    refs,
)
from dycl.passes.analysis.aliasing import has_own_forward, may_alias, takes_elements
from dycl.passes.rewriting import replace_values

_ANY_TYPE = frozenset(["add", "sub", "mul", "neg", "abs", "clamp"])
_FLOATING = _ANY_TYPE | frozenset(
    ["div", "true_divide", "pow", "exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "relu"]
)
_OPERATORS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}
_BITWISE = {"__iand__": "__and__", "__ior__": "__or__", "__ixor__": "__xor__"}
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
_READING = frozenset({"item", "item_at", "peek", "peek_at", "size"})
_WHOLE = SliceOf(Lit(None), Lit(None), Lit(None))
INDEX_PUT = "torch.ops.aten.index_put"


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
            if pure is not None and isinstance(op, TensorOp) and memory.is_own(block, op):
                if op.results:  # a setting returns nothing: its new tensor has the name of what was written
                    renamed[op.mutates[0][1].id] = Ref(pure.results[0].id)
                op = pure
            ops.append(op)
        blocks.append(replace(block, ops=tuple(ops)))
    changed = replace(program, blocks=tuple(blocks))
    return program if changed == program else renumber(replace_values(changed, renamed))


# ---------------------------------------------------------------- the same without a write


def _pure(op: TensorOp, types: Mapping[ValueId, ValueType], environment: Environment) -> TensorOp | None:
    """The operation that makes a new tensor of the same content, if there is one."""
    if len(op.mutates) != 1 or not op.args:
        return None
    if op.target == CallFunction("torch.Tensor.__setitem__"):
        return _pure_setting(op, types)
    if len(op.results) != 1:
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


def _pure_setting(op: TensorOp, types: Mapping[ValueId, ValueType]) -> TensorOp | None:
    """For `x[:, index] = y`, where `y` has the shape of what it replaces: the new tensor."""
    (old, new), written = op.mutates[0], types[op.mutates[0][0]]
    if len(op.args) != 3 or op.args[0] != Ref(old) or op_uses(op).count(old) != 2 or new.type != written:
        return None
    _, key, value = op.args
    places = key.items if isinstance(key, Seq) and key.kind is SeqKind.TUPLE else (key,)
    chosen = [number for number, place in enumerate(places) if place != _WHOLE]
    if len(chosen) != 1 or not isinstance(written, TensorType) or not isinstance(value, Ref):
        return None
    (dim,), given = chosen, types[value.id]
    index = places[dim]
    kind = types[index.id] if isinstance(index, Ref) else None
    if not isinstance(kind, TensorType) or kind.dtype != "int64" or not kind.shape:
        return None
    replaced = TensorType(written.dtype, (*written.shape[:dim], *kind.shape, *written.shape[dim + 1 :]))
    if given != replaced:
        return None
    indices = Seq(SeqKind.LIST, (*(Lit(None) for _ in range(dim)), index))
    return replace(op, target=CallFunction(INDEX_PUT), args=(Ref(old), indices, value), results=(new,), mutates=())


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
            if home == "torch.Tensor" and name in _BITWISE and "float" not in dtype and not op.kwargs:
                return CallFunction(f"torch.Tensor.{_BITWISE[name]}"), ()
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
    """Who has which memory, under which names."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._environment = environment
        self._types = value_types(program)
        self._live = find_liveness(program).live_out
        self._into: dict[BlockId, list[Edge]] = edges_into(program)
        self._begins = entry_blocks(program)
        self._made: dict[ValueId, TensorOp] = {}
        self._params: dict[ValueId, tuple[BlockId, int]] = {}
        self._users: dict[ValueId, list[Op]] = {}
        self._led: dict[ValueId, list[ValueId]] = {}  # the parameters that a value is handed to
        self._is_held: set[ValueId] = set()  # what a list or the caller of a procedure may come to hold
        for block in program.blocks:
            self._params.update({param.id: (block.id, index) for index, param in enumerate(block.params)})
            for op in block.ops:
                for value in set(op_uses(op)):
                    self._users.setdefault(value, []).append(op)
                if isinstance(op, TensorOp):
                    self._made.update({value.id: op for value in op_definitions(op)})
            if isinstance(block.end, Reply):
                self._is_held.update(end_uses(block.end))
            for param, arg in edge_bindings(program, block):
                if isinstance(arg, Ref):
                    self._led.setdefault(arg.id, []).append(param.id)
                else:
                    self._is_held.update(refs(arg))

    def is_own(self, block: Block, write: TensorOp) -> bool:
        """Whether the memory that is written was made for this, and nobody has it under another name afterwards."""
        old, new = write.mutates[0]
        names = self._find_names(old, write)
        if names is None or names & self._is_held or not all(self._is_plain(name, write) for name in names):
            return False
        if (names - {old}) & set(op_uses(write)):
            return False  # it reads what it writes, under another name
        behind = block.ops[next(number for number, op in enumerate(block.ops) if op is write) + 1 :]
        used = {value for op in behind for value in op_uses(op)} | set(end_uses(block.end)) | self._live[block.id]
        return not (names - {new.id}) & used

    def _find_names(self, old: ValueId, write: TensorOp) -> set[ValueId] | None:
        """All names that the memory may have; None where somebody else may have made it."""
        names, pending = {old}, [old]
        while pending:
            current = pending.pop()
            if current in self._params:
                block, index = self._params[current]
                args = [edge.args[index] for edge in self._into[block]]
                if block in self._begins or not all(isinstance(arg, Ref) for arg in args):
                    return None
                near = [arg.id for arg in args if isinstance(arg, Ref)]
            elif current in self._made and (self._made[current] is write or self._is_fresh(self._made[current])):
                near = []
            else:
                return None
            near += self._led.get(current, ())
            pending += [name for name in near if name not in names]
            names.update(near)
        return names

    def _is_plain(self, name: ValueId, write: TensorOp) -> bool:
        """Whether all who use a value only read it."""
        for op in self._users.get(name, ()):
            match op:
                case TensorOp():
                    if op is not write and (name in dict(op.mutates) or not self._is_copy(op)):
                        return False
                case HostOp(function=function) if function in _READING:
                    continue
                case _:
                    return False
        return True

    def _is_fresh(self, op: TensorOp) -> bool:
        return len(op.results) == 1 and not op.mutates and self._is_copy(op)

    def _is_copy(self, op: TensorOp) -> bool:
        return not may_alias(op, self._environment) or takes_elements(op, self._types)
