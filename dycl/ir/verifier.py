"""The invariants of the HCFG, each stated once; every stage's product is checked by all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from string import Formatter
from typing import assert_never

from dycl.diagnostics import InternalError
from dycl.ir.dataflow import (
    Definition,
    block_definitions,
    definitions,
    end_uses,
    find_liveness,
    leave_operands,
    op_definitions,
    op_operands,
    op_uses,
)
from dycl.ir.graph import ROOT, Dominators, block_graph, dominators, find_owners
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import (
    Block,
    Branch,
    Dispatch,
    Edge,
    HostOp,
    Invoke,
    Jump,
    Op,
    Raise,
    Reply,
    Return,
    Subgraph,
    TensorOp,
    WriteKind,
    edges,
)
from dycl.ir.printer import print_operand, print_type
from dycl.ir.program import Entry, Method, Program
from dycl.ir.values import (
    ArrayType,
    BlockId,
    InputLeaf,
    ListType,
    Lit,
    Mapping,
    NothingType,
    Operand,
    ProcedureId,
    Ref,
    ScalarKind,
    ScalarType,
    Seq,
    SeqKind,
    StructType,
    TensorType,
    UnionType,
    Value,
    ValueId,
    ValueType,
    Weight,
    operand_parts,
    refs,
)

_KINDS: dict[type, ScalarKind] = {
    int: ScalarKind.INT,
    float: ScalarKind.FLOAT,
    bool: ScalarKind.BOOL,
    str: ScalarKind.STR,
}


_whole: deque[Program] = deque(maxlen=4)  # the programs that were found whole last


def verify(program: Program, *, after: str) -> None:
    """Raise one `InternalError` that names the stage and every broken invariant.

    A program never changes: one that was found whole is not looked at once more. (Verification runs one program from
    its beginning for every edge of it.)
    """
    if any(program is known for known in _whole):
        return
    checker = _Checker(program)
    checker.check()
    if checker.breaks:
        lines = "".join(f"\n  {text}" for text in dict.fromkeys(checker.breaks))
        raise InternalError(f"after {after}, the program {program.name} is broken:{lines}")
    _whole.append(program)


class _Checker:
    """Collects the breaks of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.breaks: list[str] = []
        self.blocks = range(len(program.blocks))
        self.types: dict[ValueId, ValueType] = {}

    def say(self, where: str, text: str) -> None:
        self.breaks.append(f"{where}: {text}")

    def check(self) -> None:
        """Every invariant; what needs the graph only where blocks and edges are numbered rightly."""
        self._check_ids()
        self._check_single_definitions()
        for method in self.program.methods:
            self._check_signature(method)
        for block in self.program.blocks:
            self._check_block(block)
        self._check_entries()
        self._check_initial()
        self._check_procedures()
        for subgraph in self.program.subgraphs:
            self._check_subgraph(subgraph)
        self._check_reachable()
        if self._is_numbered():
            self._check_dominance()
            self._check_mutations()

    # ------------------------------------------------------------ ids and definitions

    def _check_ids(self) -> None:
        for index, block in enumerate(self.program.blocks):
            if block.id != index:
                self.say(f"b{block.id}", f"stands at index {index}")
        for index, subgraph in enumerate(self.program.subgraphs):
            if subgraph.id != index:
                self.say(f"s{subgraph.id}", f"stands at index {index}")
        if not self.program.entries:
            self.say("program", "has no entry")

    def _is_numbered(self) -> bool:
        targets = [edge.target for block in self.program.blocks for edge in edges(block.end)]
        return [block.id for block in self.program.blocks] == list(self.blocks) and set(targets) <= set(self.blocks)

    def _check_single_definitions(self) -> None:
        for block in self.program.blocks:
            for value in block_definitions(block):
                if value.id in self.types:
                    self.say(f"b{block.id}", f"%{value.id} is defined a second time")
                self.types[value.id] = value.type

    def _check_reachable(self) -> None:
        graph = block_graph(self.program)
        seen, pending = {ROOT}, [ROOT]
        while pending:
            new = set(graph.successors(pending.pop())) - seen
            seen |= new
            pending.extend(new)
        for index in self.blocks:
            if index not in seen:
                self.say(f"b{index}", "cannot be reached")

    def _check_dominance(self) -> None:
        defined, tree = definitions(self.program), dominators(self.program)
        for block in self.program.blocks:
            points = [*(op_uses(op) for op in block.ops), end_uses(block.end)]
            for index, used in enumerate(points):
                for value in used:
                    if value not in defined:
                        self.say(f"b{block.id}", f"%{value} is used and never defined")
                    elif not _is_defined_before(defined[value], block.id, index, tree):
                        self.say(f"b{block.id}", f"%{value} is used where its definition does not dominate")

    def _check_mutations(self) -> None:
        live_out = find_liveness(self.program).live_out
        for block in self.program.blocks:
            live = set(live_out[block.id]) | set(end_uses(block.end))
            self._check_stale(f"b{block.id}", block.ops, live)

    def _check_stale(self, where: str, ops: Sequence[Op], live: set[ValueId]) -> None:
        """No old name of a written value is live after the write; `live`: what is live after the operations."""
        for op in reversed(ops):
            for old, new in op.mutates if isinstance(op, TensorOp) else ():
                if old in live:
                    self.say(where, f"%{old} is used after it was written and became %{new.id}")
            live -= {value.id for value in op_definitions(op)}
            live |= set(op_uses(op))

    # ------------------------------------------------------------ types

    def _check_fit(self, where: str, operand: Operand, wanted: ValueType, types: dict[ValueId, ValueType]) -> None:
        found = _find_type(operand, types)
        fits = isinstance(wanted, TensorType) if isinstance(operand, Weight) else _fits(found, wanted)
        if isinstance(operand, Seq) and isinstance(wanted, ListType) and operand.kind is _seq_kind(wanted):
            for item in operand.items:
                self._check_fit(where, item, wanted.element, types)
            return
        if isinstance(wanted, StructType) and not isinstance(operand, Ref):
            self._check_struct(where, operand, wanted.template, types)
            return
        if isinstance(operand, Ref) and found is None:
            return  # reported as a use without a definition
        if not fits:
            name = f" ({print_type(found)})" if isinstance(operand, Ref) and found is not None else ""
            self.say(where, f"{_show(operand)}{name} does not fit {print_type(wanted)}")

    def _check_struct(self, where: str, operand: Operand, template: Operand, types: dict[ValueId, ValueType]) -> None:
        """An object that is put together fits a structure: the same nest, and leaves that fit its leaves."""
        match operand, template:
            case _, InputLeaf(type=wanted):
                self._check_fit(where, operand, wanted, types)
            case Seq(kind=kind, items=items), Seq(kind=same, items=wanted_items) if kind is same and len(items) == len(
                wanted_items
            ):
                for item, wanted_item in zip(items, wanted_items, strict=True):
                    self._check_struct(where, item, wanted_item, types)
            case Mapping(items=pairs), Mapping(items=wanted_pairs) if [k for k, _ in pairs] == [
                k for k, _ in wanted_pairs
            ]:
                for (_, item), (_, wanted_item) in zip(pairs, wanted_pairs, strict=True):
                    self._check_struct(where, item, wanted_item, types)
            case Ref(id=value), _ if isinstance(found := types.get(value), StructType):
                if not _same_structure(found.template, template):
                    self.say(where, f"%{value} ({print_type(found)}) does not fit {print_operand(template)}")
            case _ if operand != template:
                self.say(where, f"{_show(operand)} does not fit {print_operand(template)}")

    def _check_args(self, where: str, args: Sequence[Operand], params: Sequence[Value]) -> None:
        if len(args) != len(params):
            self.say(where, f"{len(args)} arguments for {len(params)} parameters")
        for operand, param in zip(args, params, strict=False):
            self._check_fit(where, operand, param.type, self.types)

    # ------------------------------------------------------------ blocks

    def _check_block(self, block: Block) -> None:
        where = f"b{block.id}"
        for op in block.ops:
            self._check_op(where, op)
        match block.end:
            case Jump() | Branch():
                for edge in edges(block.end):
                    self._check_edge(where, edge)
                cond = self.types.get(block.end.cond) if isinstance(block.end, Branch) else None
                if cond is not None and cond != ScalarType(ScalarKind.BOOL):
                    self.say(where, f"the condition of the branch is a {print_type(cond)}, no bool")
            case Return() | Raise():
                self._check_operands(where, leave_operands(block.end))
                self._check_writes(where, block.end)
                self._check_resume(where, block.end)
            case Reply(values=values):
                self._check_operands(where, values)
            case _:
                assert_never(block.end)

    def _check_writes(self, where: str, end: Return | Raise) -> None:
        names = {param.name for method in self.program.methods for param in method.signature}
        for write in end.writes:
            if not write.place or write.place[0] not in names:
                self.say(where, f"writes to {write.place}, which no method is passed")
            if write.kind is WriteKind.FILL and not isinstance(write.value, Ref | Weight):
                self.say(where, f"fills {write.place} with {print_operand(write.value)}, no tensor")

    def _check_edge(self, where: str, edge: Edge) -> None:
        self._check_operands(where, edge.args)
        if edge.target not in self.blocks:
            self.say(where, f"an edge goes to b{edge.target}, which does not exist")
            return
        self._check_args(f"{where} -> b{edge.target}", edge.args, self.program.block(edge.target).params)

    def _check_resume(self, where: str, end: Return | Raise) -> None:
        if not 0 <= end.resume < self.program.kinds:
            self.say(where, f"resumes at entry {end.resume}, which does not exist")
            return
        state = self._state_params(self.program.entries_of(end.resume)[0])
        self._check_args(f"{where} -> entry {end.resume}", end.state, state)

    def _check_op(self, where: str, op: Op) -> None:
        self._check_operands(where, op_operands(op))
        match op:
            case TensorOp():
                self._check_tensor_op(where, op, self.types)
            case HostOp():
                self._check_host_op(where, op)
            case Dispatch():
                self._check_dispatch(where, op)
            case Invoke():
                self._check_invoke(where, op)
            case _:
                assert_never(op)

    def _check_tensor_op(self, where: str, op: TensorOp, types: dict[ValueId, ValueType]) -> None:
        for value in op_definitions(op):
            if not isinstance(value.type, TensorType):
                self.say(where, f"%{value.id}, a result of a tensor operation, is a {print_type(value.type)}")
        for old, new in op.mutates:
            if old in types and not _fits(types[old], new.type):
                self.say(where, f"%{old} is {print_type(types[old])} and is written as {print_type(new.type)}")

    def _check_host_op(self, where: str, op: HostOp) -> None:
        function = HOST_FUNCTIONS.get(op.function)
        if function is None:
            self.say(where, f"there is no host function {op.function!r}")
        elif function.text and len(op.args) != _count_operands(function.text):
            count = _count_operands(function.text)
            self.say(where, f"the host function {op.function} takes {count} operands, it has {len(op.args)}")
        names = [tunable.name for tunable in self.program.tunables]
        named = len(op.args) == 1 and isinstance(op.args[0], Lit) and op.args[0].value in names
        if op.function == "tunable" and not named:
            self.say(where, "the host function tunable does not name a tunable of the program")

    def _check_dispatch(self, where: str, op: Dispatch) -> None:
        if not 0 <= op.subgraph < len(self.program.subgraphs):
            self.say(where, f"dispatches to s{op.subgraph}, which does not exist")
            return
        subgraph = self.program.subgraphs[op.subgraph]
        where = f"{where} -> s{op.subgraph}"
        for operand in op.args:
            if not isinstance(operand, Ref | Lit | Weight):
                self.say(where, f"{_show(operand)} cannot be handed to a subgraph")
        self._check_args(where, op.args, subgraph.params)
        if len(op.results) != len(subgraph.results):
            self.say(where, f"{len(op.results)} results are taken of {len(subgraph.results)}")
        inside = {value.id: value.type for value in _subgraph_values(subgraph)}
        for value, given in zip(op.results, subgraph.results, strict=False):
            if given in inside and not _fits(inside[given], value.type):
                self.say(where, f"%{value.id} is {print_type(value.type)}, the result {print_type(inside[given])}")

    def _check_invoke(self, where: str, op: Invoke) -> None:
        if not 0 <= op.procedure < len(self.program.procedures):
            self.say(where, f"invokes p{op.procedure}, which does not exist")
            return
        block = self.program.procedures[op.procedure].block
        if block in self.blocks:
            self._check_args(f"{where} -> p{op.procedure}", op.args, self.program.block(block).params)

    def _check_operands(self, where: str, operands: Iterable[Operand]) -> None:
        for operand in operands:
            for part in operand_parts(operand):
                if isinstance(part, InputLeaf):
                    self.say(where, "an input leaf stands outside the signature")
                known = part.value is None or part.value is ... if isinstance(part, Lit) else True
                if isinstance(part, Lit) and not known and type(part.value) not in _KINDS:
                    self.say(where, f"{part.value!r} is no literal")

    # ------------------------------------------------------------ signature, entries, state

    def _check_signature(self, method: Method) -> None:
        indices = sorted(leaf.index for leaf in _leaves(method))
        if indices != list(range(len(indices))):
            self.say("signature", f"the input leaves are numbered {indices}")
        for param in method.signature:
            parts = list(operand_parts(param.spec))
            if any(isinstance(part, Ref) for part in parts):
                self.say("signature", f"{param.name} uses a value")
            if param.optional and any(isinstance(part, InputLeaf) for part in parts):
                self.say("signature", f"{param.name} may be left out and needs a run-time value")

    def _state_params(self, entry: Entry) -> tuple[Value, ...]:
        params = self.program.blocks[entry.block].params if entry.block in self.blocks else ()
        return params[max(0, len(params) - entry.state_params) :]

    def _check_entries(self) -> None:
        """One entry for each method and kind of state; those of a kind take the same state."""
        methods = self.program.methods
        names = [method.name for method in methods]
        if len(set(names)) < len(names):
            self.say("program", f"has two methods of one name: {', '.join(names)}")
        if len(self.program.entries) % len(methods):
            self.say("program", f"{len(self.program.entries)} entries for {len(methods)} methods")
            return
        for kind in range(self.program.kinds):
            found = self.program.entries_of(kind)
            for method, entry in zip(methods, found, strict=True):
                self._check_entry(entry, method)
                if [v.type for v in self._state_params(entry)] != [v.type for v in self._state_params(found[0])]:
                    self.say(f"entry b{entry.block}", f"takes another state than b{found[0].block} of the same kind")

    def _check_entry(self, entry: Entry, method: Method) -> None:
        where = f"entry b{entry.block}"
        if entry.block not in self.blocks:
            self.say(where, "the block does not exist")
            return
        params = self.program.block(entry.block).params
        leaves = sorted(_leaves(method), key=lambda leaf: leaf.index)
        if len(params) != len(leaves) + entry.state_params:
            self.say(where, f"{len(params)} parameters for {len(leaves)} inputs and {entry.state_params} state values")
        for param, leaf in zip(params, leaves, strict=False):
            if param.type != leaf.type:
                self.say(where, f"%{param.id} is {print_type(param.type)}, the input {print_type(leaf.type)}")
        own = {param.id for param in params}
        for slot in entry.slots:
            if not own.issuperset(refs(slot.template)):
                self.say(where, f"the state {slot.name} uses a value that is no parameter of the entry")

    def _check_initial(self) -> None:
        for operand in self.program.initial:
            if refs(operand):
                self.say("initial", f"{_show(operand)} uses a value")
        if self.program.entries:
            self._check_args("initial", self.program.initial, self._state_params(self.program.entries[0]))

    # ------------------------------------------------------------ procedures

    def _check_procedures(self) -> None:
        """Nobody but `Invoke` goes into a procedure, and all of its replies fit what its callers take."""
        starts = {procedure.block for procedure in self.program.procedures}
        taken = {entry.block for entry in self.program.entries}
        for index, procedure in enumerate(self.program.procedures):
            if procedure.id != index:
                self.say(f"p{procedure.id}", f"stands at index {index}")
            if procedure.block not in self.blocks:
                self.say(f"p{index}", f"starts at b{procedure.block}, which does not exist")
                return
        if not taken <= set(self.blocks):
            return  # reported with the entry
        if not self._is_numbered() or len(starts) != len(self.program.procedures) or starts & taken:
            self.say("program", "procedures do not start at blocks of their own") if self._is_numbered() else None
            return
        owners = find_owners(self.program)
        for block in self.program.blocks:
            found = owners.get(block.id, frozenset())
            if len(found) > 1:
                self.say(f"b{block.id}", "belongs to more than one procedure")
            if isinstance(block.end, Return | Reply) and (None in found) is not isinstance(block.end, Return):
                self.say(f"b{block.id}", f"ends in a {type(block.end).__name__.lower()} where it must not")
        self._check_replies(owners)

    def _check_replies(self, owners: dict[BlockId, frozenset[ProcedureId | None]]) -> None:
        wanted: dict[ProcedureId, Invoke] = {
            op.procedure: op for block in self.program.blocks for op in block.ops if isinstance(op, Invoke)
        }
        for block in self.program.blocks:
            for op in block.ops:
                if isinstance(op, Invoke) and _types_of(op) != _types_of(wanted[op.procedure]):
                    self.say(f"b{block.id}", f"p{op.procedure} is invoked for other results elsewhere")
            if not isinstance(block.end, Reply):
                continue
            for procedure in owners.get(block.id, frozenset()):
                if procedure not in wanted:
                    continue
                results = wanted[procedure].results
                if len(results) != len(block.end.values):
                    self.say(f"b{block.id}", f"replies {len(block.end.values)} values, {len(results)} are taken")
                for value, operand in zip(results, block.end.values, strict=False):
                    if operand != Lit(None):
                        self._check_fit(f"b{block.id}", operand, value.type, self.types)

    # ------------------------------------------------------------ subgraphs

    def _check_subgraph(self, subgraph: Subgraph) -> None:
        """The body is closed and in order: a scope of its own."""
        where = f"s{subgraph.id}"
        known: dict[ValueId, ValueType] = {}
        self._define(where, subgraph.params, known)
        for op in subgraph.ops:
            self._check_known(where, op_uses(op), known)
            self._check_operands(where, op_operands(op))
            self._check_tensor_op(where, op, known)
            self._define(where, op_definitions(op), known)
        self._check_known(where, subgraph.results, known)
        self._check_stale(where, subgraph.ops, set(subgraph.results))

    def _define(self, where: str, values: Iterable[Value], known: dict[ValueId, ValueType]) -> None:
        for value in values:
            if value.id in known:
                self.say(where, f"%{value.id} is defined a second time")
            known[value.id] = value.type

    def _check_known(self, where: str, used: Iterable[ValueId], known: dict[ValueId, ValueType]) -> None:
        for value in used:
            if value not in known:
                self.say(where, f"%{value} is used and not defined in the subgraph before")


def _types_of(op: Invoke) -> list[ValueType]:
    return [value.type for value in op.results]


def _count_operands(text: str) -> int:
    """How many operands the text of a host function has places for."""
    return len({place for _, place, _, _ in Formatter().parse(text) if place is not None})


def _show(operand: Operand) -> str:
    """The text of an operand; its representation where a wrong literal, which is reported, has none."""
    try:
        return print_operand(operand)
    except InternalError:
        return repr(operand)


def _subgraph_values(subgraph: Subgraph) -> tuple[Value, ...]:
    return subgraph.params + tuple(value for op in subgraph.ops for value in op_definitions(op))


def _is_defined_before(definition: Definition, block: BlockId, index: int, tree: Dominators) -> bool:
    if definition.block == block:
        return definition.index < index
    return block not in tree.first or tree.dominates(definition.block, block)  # unreachable is reported as such


def _seq_kind(of: ListType) -> SeqKind:
    return SeqKind.TUPLE if of.is_tuple else SeqKind.LIST


def _find_type(operand: Operand, types: dict[ValueId, ValueType]) -> ValueType | None:
    """The type of a value or of a literal number or text; None where there is none."""
    if isinstance(operand, Ref):
        return types.get(operand.id)
    kind = _KINDS.get(type(operand.value)) if isinstance(operand, Lit) else None
    return ScalarType(kind) if kind is not None else None


def _leaves(method: Method) -> list[InputLeaf]:
    parts = (part for param in method.signature for part in operand_parts(param.spec))
    return [part for part in parts if isinstance(part, InputLeaf)]


def _fits(found: ValueType | None, wanted: ValueType) -> bool:
    """Can a value of the first type stand for one of the second? A named dimension is any size."""
    if isinstance(wanted, UnionType) and not isinstance(found, UnionType):
        return any(_fits(found, member) for member in wanted.members if not isinstance(member, NothingType))
    if isinstance(found, ListType) and isinstance(wanted, ListType):
        return found.is_tuple == wanted.is_tuple and _fits(found.element, wanted.element)
    if isinstance(found, ArrayType) and isinstance(wanted, ArrayType):
        if found.form is not wanted.form:
            return False
        found, wanted = TensorType(found.dtype, found.shape), TensorType(wanted.dtype, wanted.shape)
    if isinstance(found, StructType) and isinstance(wanted, StructType):
        return _same_structure(found.template, wanted.template)
    if not isinstance(found, TensorType) or not isinstance(wanted, TensorType):
        return found == wanted
    if found.dtype != wanted.dtype or len(found.shape) != len(wanted.shape):
        return False
    pairs = zip(found.shape, wanted.shape, strict=True)
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in pairs)


def _same_structure(found: Operand, wanted: Operand) -> bool:
    match found, wanted:
        case InputLeaf(type=given), InputLeaf(type=needed):
            return _fits(given, needed)
        case Seq(kind=kind, items=items), Seq(kind=same, items=wanted_items):
            return (
                kind is same
                and len(items) == len(wanted_items)
                and all(_same_structure(a, b) for a, b in zip(items, wanted_items, strict=True))
            )
        case Mapping(items=pairs), Mapping(items=wanted_pairs):
            return _keys(pairs) == _keys(wanted_pairs) and all(
                _same_structure(a, b) for (_, a), (_, b) in zip(pairs, wanted_pairs, strict=True)
            )
    return found == wanted


def _keys(pairs: Sequence[tuple[Lit, Operand]]) -> list[Lit]:
    return [key for key, _ in pairs]
