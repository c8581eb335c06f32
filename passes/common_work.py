"""What all ways into a block do at their ends: found, and done at the beginning of the block. For `sink_common`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from dycl.ir.dataflow import Definition, definitions, mutated_values, op_uses, uses, value_types
from dycl.ir.environment import Environment
from dycl.ir.graph import entry_blocks, predecessors
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import Block, Edge, HostOp, Op, TensorOp, edges
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution, map_edges
from dycl.ir.values import (
    BlockId,
    Lit,
    Operand,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SliceOf,
    TensorType,
    Value,
    ValueId,
    ValueType,
)
from dycl.passes.analysis.cost import count_dispatches
from dycl.passes.analysis.effects import may_raise, scalar_kind
from dycl.passes.rewriting import ValueIds, operand_key, replace_values
from dycl.passes.sink_work import may_be_passed
from dycl.passes.sizes import Sizes, bind_sizes, rename_op_sizes, rename_sizes, retyped, settle_sizes, type_names


@dataclass(frozen=True, slots=True)
class Sunk:
    """Work that all ways into a block have in common, and the program in which the block does it, as it comes."""

    join: BlockId
    work: tuple[TensorOp, ...]
    program: Program


def find_common(program: Program, environment: Environment, but: Collection[BlockId] = ()) -> Sunk | None:
    """The first join, but for some, behind which work can be done that then takes no dispatch on a way into it."""
    facts = _Facts.of(program)
    for block in program.blocks:
        if block.params and len(facts.before[block.id]) > 1 and block.id not in facts.begins and block.id not in but:
            sinking = _Sinking(program, facts, block)
            sinking.sink()
            work = tuple(op for op in sinking.front if isinstance(op, TensorOp))
            if work and sinking.spares_dispatch(environment):
                return Sunk(block.id, work, sinking.finish())
    return None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a program."""

    types: dict[ValueId, ValueType]
    made: dict[ValueId, Definition]
    used: dict[ValueId, int]  # how often
    written: frozenset[ValueId]
    before: dict[BlockId, tuple[BlockId, ...]]
    begins: frozenset[BlockId]

    @classmethod
    def of(cls, program: Program) -> _Facts:
        """The facts of a program."""
        return cls(
            value_types(program),
            definitions(program),
            {value: len(places) for value, places in uses(program).items()},
            mutated_values(program),
            predecessors(program),
            entry_blocks(program),
        )


@dataclass(slots=True)
class _Way:
    """A way into the join: the edge with the arguments that it has by now, and what its block need not do any more."""

    block: Block
    number: int  # of the edge
    args: list[Operand]
    names: dict[str, str]  # what sizes of the block are called behind the join
    gone: list[Op] = field(default_factory=list)

    @property
    def rest(self) -> Block:
        """The block with what it still does."""
        return replace(self.block, ops=tuple(op for op in self.block.ops if not any(op is gone for gone in self.gone)))


class _Sinking:
    """Moves work from the ways into a block to its beginning, the last of it first."""

    def __init__(self, program: Program, facts: _Facts, join: Block) -> None:
        self.front: list[Op] = []
        self._program = program
        self._facts = facts
        self._join = join
        self._params = list(join.params)
        self._fresh = ValueIds(program)
        self._used = dict(facts.used)
        self._sizes: Sizes = {}
        self._ways = [
            _Way(block, number, list(edge.args), self._names(edge))
            for block in map(program.block, dict.fromkeys(facts.before[join.id]))
            for number, edge in enumerate(edges(block.end))
            if edge.target == join.id
        ]

    def _names(self, edge: Edge) -> dict[str, str]:
        passed = bind_sizes(zip(self._join.params, edge.args, strict=True), self._facts.types)
        names = {size: name for name, size in passed.items() if isinstance(size, str) and size.isidentifier()}
        own = {name for param in self._join.params for name in type_names(param.type)}
        # Around a loop a name of the block's own is that of the round before; it has none behind the join.
        return {name: f"{name}_before" for name in own} | names

    def sink(self) -> None:
        """Move all that can be moved."""
        while any(self._sink_param(param) for param in tuple(self._params)):
            pass

    def spares_dispatch(self, environment: Environment) -> bool:
        """Whether a way into the block has a dispatch less."""
        return any(
            count_dispatches(way.rest, self._facts.types, environment)
            < count_dispatches(way.block, self._facts.types, environment)
            for way in self._ways
        )

    def finish(self) -> Program:
        """The program with the block and the ways into it as they are now."""
        front = self.front
        known = {(op.function, repr(op.args)): op.result.id for op in front if isinstance(op, HostOp)}
        same: Substitution = {
            op.result.id: Ref(known[op.function, repr(op.args)])
            for op in self._join.ops
            if isinstance(op, HostOp) and (op.function, repr(op.args)) in known
        }
        blocks = {block.id: block for block in self._program.blocks}
        for way in self._ways:
            block, edge = blocks[way.block.id], Edge(self._join.id, tuple(way.args))
            end = map_edges(block.end, lambda n, old, way=way, edge=edge: edge if n == way.number else old)  # type: ignore[misc]
            ops = tuple(op for op in block.ops if not any(op is gone for gone in way.gone))
            blocks[block.id] = replace(block, ops=ops, end=end)
        join = blocks[self._join.id]
        kept = tuple(op for op in join.ops if not (isinstance(op, HostOp) and op.result.id in same))
        blocks[join.id] = replace(join, params=tuple(self._params), ops=(*front, *kept))
        program = replace(self._program, blocks=tuple(blocks[block.id] for block in self._program.blocks))
        return rename_sizes(replace_values(program, same), settle_sizes(self._sizes))

    # ------------------------------------------------------------ one parameter

    def _sink_param(self, param: Value) -> bool:
        """Whether what is passed for a parameter is now made in the block."""
        place = self._params.index(param)
        makers = [self._maker(way, way.args[place]) for way in self._ways]
        ops = [op for op in makers if op is not None]
        if len(ops) < len(makers) or param.id in self._facts.written:
            return False
        fresh: list[tuple[Value, list[Operand]]] = []
        made = self._unify_ops(ops, param, fresh)
        if made is None or (isinstance(made, HostOp) and fresh):
            return False
        for way, op in zip(self._ways, ops, strict=True):
            del way.args[place]
            way.gone.append(op)
            for value in op_uses(op):
                self._used[value] -= 1
        del self._params[place]
        for new, args in fresh:
            self._params.append(new)
            for way, arg in zip(self._ways, args, strict=True):
                way.args.append(arg)
                if isinstance(arg, Ref):
                    self._used[arg.id] += 1
        self.front.insert(0, made)
        return True

    def _maker(self, way: _Way, arg: Operand) -> Op | None:
        """The operation that makes an argument for this way alone, if nothing after it keeps it where it is."""
        if not isinstance(arg, Ref) or self._used[arg.id] != 1:
            return None
        where = self._facts.made.get(arg.id)
        if where is None or where.block != way.block.id or where.index < 0:
            return None
        op, after = way.block.ops[where.index], way.block.ops[where.index + 1 :]
        is_fixed = not may_be_passed(op, self._facts.types) or self._facts.written.intersection((arg.id, *op_uses(op)))
        if is_fixed or not all(may_be_passed(other, self._facts.types) for other in after):
            return None
        if isinstance(op, TensorOp):
            return op if len(op.results) == 1 else None
        if not isinstance(op, HostOp) or HOST_FUNCTIONS[op.function].is_effect or may_raise(op, self._facts.types):
            return None
        return op if isinstance(op.result.type, ScalarType) else None

    def _unify_ops(self, ops: Sequence[Op], param: Value, fresh: list[tuple[Value, list[Operand]]]) -> Op | None:
        """The one operation that these are, on what is passed; what it needs besides is added to `fresh`."""
        renamed = [rename_op_sizes(op, dict(way.names)) for op, way in zip(ops, self._ways, strict=True)]
        first = renamed[0]
        args = [self._unify(operands, fresh) for operands in zip(*(op.args for op in ops), strict=False)]
        if any(arg is None for arg in args) or any(len(op.args) != len(first.args) for op in ops):
            return None
        given = tuple(arg for arg in args if arg is not None)
        if isinstance(first, HostOp):
            alike = [op for op in renamed if isinstance(op, HostOp) and op.function == first.function]
            kind = self._unify_types([op.result.type for op in alike])
            if len(alike) < len(ops) or kind is None:
                return None
            self._learn_sizes(param, kind)
            return replace(first, args=given, result=replace(param, type=kind))
        tensor_ops = [op for op in renamed if isinstance(op, TensorOp)]
        if len(tensor_ops) < len(ops) or not isinstance(first, TensorOp):
            return None
        is_alike = all(
            (op.target, op.sizes, [key for key, _ in op.kwargs])
            == (first.target, first.sizes, [key for key, _ in first.kwargs])
            for op in tensor_ops
        )
        kind = self._unify_types([op.results[0].type for op in tensor_ops])
        if not is_alike or kind is None:
            return None
        options = [self._unify([op.kwargs[n][1] for op in tensor_ops], fresh) for n in range(len(first.kwargs))]
        if any(option is None for option in options):
            return None
        kwargs = tuple(
            (key, option) for (key, _), option in zip(first.kwargs, options, strict=True) if option is not None
        )
        self._learn_sizes(param, kind)
        return replace(first, args=given, kwargs=kwargs, results=(replace(param, type=kind),))

    def _learn_sizes(self, param: Value, kind: ValueType) -> None:
        """A size of the parameter that is now known by another name."""
        for old, new in zip(_spelled(param.type), _spelled(kind), strict=True):
            if isinstance(old, str) and old.isidentifier() and new not in ("", old):
                self._sizes.setdefault(old, new)

    # ------------------------------------------------------------ operands

    def _unify(self, operands: Sequence[Operand], fresh: list[tuple[Value, list[Operand]]]) -> Operand | None:
        """What stands for these, one of each way, behind the join."""
        first = operands[0]
        if len({operand_key(operand) for operand in operands}) == 1:
            return first
        if all(isinstance(operand, Seq) for operand in operands):
            return self._unify_sequences([operand for operand in operands if isinstance(operand, Seq)], fresh)
        if all(isinstance(operand, SliceOf) for operand in operands):
            slices = [operand for operand in operands if isinstance(operand, SliceOf)]
            parts = [self._unify([getattr(each, name) for each in slices], fresh) for name in ("start", "stop", "step")]
            start, stop, step = parts
            return None if start is None or stop is None or step is None else SliceOf(start, stop, step)
        if not all(isinstance(operand, Ref | Lit) for operand in operands):
            return None
        wanted = list(map(operand_key, operands))
        for place, param in enumerate(self._params):
            if [operand_key(way.args[place]) for way in self._ways] == wanted:
                return Ref(param.id)
        for param, args in fresh:
            if list(map(operand_key, args)) == wanted:
                return Ref(param.id)
        kind = self._unify_types([self._type(operand, way) for operand, way in zip(operands, self._ways, strict=True)])
        if kind is None:
            return None
        param = Value(self._fresh.new(), kind)
        fresh.append((param, list(operands)))
        return Ref(param.id)

    def _unify_sequences(self, items: Sequence[Seq], fresh: list[tuple[Value, list[Operand]]]) -> Operand | None:
        first = items[0]
        if any(each.kind is not first.kind or len(each.items) != len(first.items) for each in items):
            return None
        parts = [self._unify(found, fresh) for found in zip(*(each.items for each in items), strict=True)]
        return (
            None if any(part is None for part in parts) else Seq(first.kind, tuple(p for p in parts if p is not None))
        )

    def _type(self, operand: Operand, way: _Way) -> ValueType | None:
        if not isinstance(operand, Ref):
            kind = scalar_kind(operand, {})
            return None if kind is None else ScalarType(kind)
        if operand.id in self._facts.written:
            return None
        kind_now = self._facts.types[operand.id]
        return retyped(Value(operand.id, kind_now), dict(way.names)).type

    def _unify_types(self, kinds: Sequence[ValueType | None]) -> ValueType | None:
        """The one type that these are behind the join; the name of a number that is no size does not matter."""
        first = kinds[0]
        if isinstance(first, TensorType) and all(kind == first for kind in kinds):
            return first
        scalars = [kind for kind in kinds if isinstance(kind, ScalarType)]
        if len(scalars) < len(kinds) or not isinstance(first, ScalarType) or len({kind.kind for kind in scalars}) > 1:
            return None
        is_size = len({kind.size for kind in scalars}) == 1 and first.kind is ScalarKind.INT
        return first if is_size else ScalarType(first.kind)


def _spelled(kind: ValueType) -> tuple[int | str, ...]:
    """The sizes in a type."""
    match kind:
        case TensorType(shape=shape):
            return shape
        case ScalarType(size=size):
            return (size,)
    return ()
