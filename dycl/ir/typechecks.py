"""The invariants of what fits what: each operand is of the type that is wanted of it, and is something to be had there.

A check gives its breaks, one sentence each. What does not exist is reported elsewhere, and nothing is asked of it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from string import Formatter
from typing import assert_never

from dycl.ir.dataflow import leave_operands, op_definitions, op_operands, value_types
from dycl.ir.fits import LITERALS, Types, find_misfits, fits, show_operand
from dycl.ir.graph import find_owners
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import (
    Block,
    Branch,
    Dispatch,
    HostOp,
    Invoke,
    Jump,
    Op,
    Raise,
    Reply,
    Return,
    Subgraph,
    TensorOp,
    Terminator,
    WriteKind,
    edges,
)
from dycl.ir.printer import print_operand, print_type
from dycl.ir.program import Entry, Method, Program
from dycl.ir.scopechecks import Breaks, is_closed
from dycl.ir.values import (
    BlockId,
    InputLeaf,
    Lit,
    Operand,
    ProcedureId,
    Ref,
    ScalarKind,
    ScalarType,
    TensorType,
    Value,
    ValueType,
    Weight,
    operand_parts,
    refs,
)

# ---------------------------------------------------------------- methods and entries


def check_signatures(program: Program) -> Breaks:
    """The run-time inputs of a method are numbered, and what may be left out has none."""
    for method in program.methods:
        indices = sorted(leaf.index for leaf in _leaves(method))
        if indices != list(range(len(indices))):
            yield f"signature: the input leaves are numbered {indices}"
        for param in method.signature:
            parts = list(operand_parts(param.spec))
            if any(isinstance(part, Ref) for part in parts):
                yield f"signature: {param.name} uses a value"
            if param.optional and any(isinstance(part, InputLeaf) for part in parts):
                yield f"signature: {param.name} may be left out and needs a run-time value"


def check_entries(program: Program) -> Breaks:
    """One entry for each method and kind of state; those of a kind take the same state."""
    methods = program.methods
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        yield f"program: has two methods of one name: {', '.join(names)}"
    if len(program.entries) % len(methods):
        yield f"program: {len(program.entries)} entries for {len(methods)} methods"
        return
    for kind in range(program.kinds):
        found = program.entries_of(kind)
        for method, entry in zip(methods, found, strict=True):
            yield from _check_entry(program, entry, method)
            if [v.type for v in _state_params(program, entry)] != [v.type for v in _state_params(program, found[0])]:
                yield f"entry b{entry.block}: takes another state than b{found[0].block} of the same kind"


def _check_entry(program: Program, entry: Entry, method: Method) -> Breaks:
    where = f"entry b{entry.block}"
    params = _params(program, entry.block)
    if params is None:
        yield f"{where}: the block does not exist"
        return
    leaves = sorted(_leaves(method), key=lambda leaf: leaf.index)
    if len(params) != len(leaves) + entry.state_params:
        yield f"{where}: {len(params)} parameters for {len(leaves)} inputs and {entry.state_params} state values"
    for param, leaf in zip(params, leaves, strict=False):
        if param.type != leaf.type:
            yield f"{where}: %{param.id} is {print_type(param.type)}, the input {print_type(leaf.type)}"
    own = {param.id for param in params}
    for slot in entry.slots:
        if not own.issuperset(refs(slot.template)):
            yield f"{where}: the state {slot.name} uses a value that is no parameter of the entry"


def check_initial(program: Program) -> Breaks:
    """The first call finds the state that its entry takes, and no value is a part of it."""
    for operand in program.initial:
        if refs(operand):
            yield f"initial: {show_operand(operand)} uses a value"
    if program.entries:
        state = _state_params(program, program.entries[0])
        yield from _check_args("initial", program.initial, state, value_types(program))


def _leaves(method: Method) -> list[InputLeaf]:
    parts = (part for param in method.signature for part in operand_parts(param.spec))
    return [part for part in parts if isinstance(part, InputLeaf)]


def _state_params(program: Program, entry: Entry) -> tuple[Value, ...]:
    params = _params(program, entry.block) or ()
    return params[max(0, len(params) - entry.state_params) :]


def _params(program: Program, block: BlockId) -> tuple[Value, ...] | None:
    """The parameters of a block, if there is one."""
    return program.blocks[block].params if 0 <= block < len(program.blocks) else None


# ---------------------------------------------------------------- blocks


def check_blocks(program: Program) -> Breaks:
    """What operations, edges and ends are handed is what they take."""
    types = value_types(program)
    for block in program.blocks:
        for op in block.ops:
            yield from _check_operands(f"b{block.id}", op_operands(op))
            yield from _check_op(f"b{block.id}", op, program, types)
        yield from _check_edges(block, program, types)
        yield from _check_end(f"b{block.id}", block.end, program, types)


def _check_edges(block: Block, program: Program, types: Types) -> Breaks:
    for edge in edges(block.end):
        yield from _check_operands(f"b{block.id}", edge.args)
        params = _params(program, edge.target)
        if params is not None:
            yield from _check_args(f"b{block.id} -> b{edge.target}", edge.args, params, types)


def _check_end(where: str, end: Terminator, program: Program, types: Types) -> Breaks:
    match end:
        case Jump():
            pass
        case Branch(cond=cond):
            if cond in types and types[cond] != ScalarType(ScalarKind.BOOL):
                yield f"{where}: the condition of the branch is a {print_type(types[cond])}, no bool"
        case Return() | Raise():
            yield from _check_operands(where, leave_operands(end))
            yield from _check_given(where, end, program)
            yield from _check_resume(where, end, program, types)
        case Reply(values=values):
            yield from _check_operands(where, values)
        case _:
            assert_never(end)


def _check_given(where: str, end: Return | Raise, program: Program) -> Breaks:
    """What the caller sees written is something that it has passed."""
    names = {param.name for method in program.methods for param in method.signature}
    for write in end.writes:
        if not write.place or write.place[0] not in names:
            yield f"{where}: writes to {write.place}, which no method is passed"
        if write.kind is WriteKind.FILL and not isinstance(write.value, Ref | Weight):
            yield f"{where}: fills {write.place} with {print_operand(write.value)}, no tensor"


def _check_resume(where: str, end: Return | Raise, program: Program, types: Types) -> Breaks:
    """The next call finds the state that its entry takes."""
    if 0 <= end.resume < program.kinds:
        state = _state_params(program, program.entries_of(end.resume)[0])
        yield from _check_args(f"{where} -> entry {end.resume}", end.state, state, types)
    else:
        yield f"{where}: resumes at entry {end.resume}, which does not exist"


def check_replies(program: Program) -> Breaks:
    """All replies of a procedure fit what its callers take, and these take the same."""
    if not is_closed(program):
        return
    types, owners = value_types(program), find_owners(program)
    invokes = [(block.id, op) for block in program.blocks for op in block.ops if isinstance(op, Invoke)]
    wanted: dict[ProcedureId | None, Invoke] = {op.procedure: op for _, op in invokes}
    for block_id, op in invokes:
        if _result_types(op) != _result_types(wanted[op.procedure]):
            yield f"b{block_id}: p{op.procedure} is invoked for other results elsewhere"
    for block in program.blocks:
        if isinstance(block.end, Reply):
            for procedure in owners.get(block.id, frozenset()):
                if procedure in wanted:
                    yield from _check_reply(f"b{block.id}", block.end, wanted[procedure].results, types)


def _check_reply(where: str, end: Reply, results: Sequence[Value], types: Types) -> Breaks:
    if len(results) != len(end.values):
        yield f"{where}: replies {len(end.values)} values, {len(results)} are taken"
    for value, operand in zip(results, end.values, strict=False):
        if operand != Lit(None):
            yield from _check_fit(where, operand, value.type, types)


def _result_types(op: Invoke) -> list[ValueType]:
    return [value.type for value in op.results]


# ---------------------------------------------------------------- operations


def check_subgraph_operations(program: Program) -> Breaks:
    """What stands in a subgraph are operations of tensors."""
    for subgraph in program.subgraphs:
        types = {value.id: value.type for value in _inner_values(subgraph)}
        for op in subgraph.ops:
            yield from _check_operands(f"s{subgraph.id}", op_operands(op))
            yield from _check_tensor_op(f"s{subgraph.id}", op, types)


def _inner_values(subgraph: Subgraph) -> Iterator[Value]:
    yield from subgraph.params
    for op in subgraph.ops:
        yield from op_definitions(op)


def _check_op(where: str, op: Op, program: Program, types: Types) -> Breaks:
    match op:
        case TensorOp():
            yield from _check_tensor_op(where, op, types)
        case HostOp():
            yield from _check_host_op(where, op, program)
        case Dispatch():
            yield from _check_dispatch(where, op, program, types)
        case Invoke():
            yield from _check_invoke(where, op, program, types)
        case _:
            assert_never(op)


def _check_tensor_op(where: str, op: TensorOp, types: Types) -> Breaks:
    for value in op_definitions(op):
        if not isinstance(value.type, TensorType):
            yield f"{where}: %{value.id}, a result of a tensor operation, is a {print_type(value.type)}"
    for old, new in op.mutates:
        if old in types and not fits(types[old], new.type):
            yield f"{where}: %{old} is {print_type(types[old])} and is written as {print_type(new.type)}"


def _check_host_op(where: str, op: HostOp, program: Program) -> Breaks:
    function = HOST_FUNCTIONS.get(op.function)
    if function is None:
        yield f"{where}: there is no host function {op.function!r}"
    elif function.text and len(op.args) != _count_operands(function.text):
        count = _count_operands(function.text)
        yield f"{where}: the host function {op.function} takes {count} operands, it has {len(op.args)}"
    names = [tunable.name for tunable in program.tunables]
    named = len(op.args) == 1 and isinstance(op.args[0], Lit) and op.args[0].value in names
    if op.function == "tunable" and not named:
        yield f"{where}: the host function tunable does not name a tunable of the program"


def _count_operands(text: str) -> int:
    """How many operands the text of a host function has places for."""
    return len({place for _, place, _, _ in Formatter().parse(text) if place is not None})


def _check_dispatch(where: str, op: Dispatch, program: Program, types: Types) -> Breaks:
    if not 0 <= op.subgraph < len(program.subgraphs):
        yield f"{where}: dispatches to s{op.subgraph}, which does not exist"
        return
    subgraph = program.subgraphs[op.subgraph]
    where = f"{where} -> s{op.subgraph}"
    for operand in op.args:
        if not isinstance(operand, Ref | Lit | Weight):
            yield f"{where}: {show_operand(operand)} cannot be handed to a subgraph"
    yield from _check_args(where, op.args, subgraph.params, types)
    if len(op.results) != len(subgraph.results):
        yield f"{where}: {len(op.results)} results are taken of {len(subgraph.results)}"
    inside = {value.id: value.type for value in _inner_values(subgraph)}
    for value, given in zip(op.results, subgraph.results, strict=False):
        if given in inside and not fits(inside[given], value.type):
            yield f"{where}: %{value.id} is {print_type(value.type)}, the result {print_type(inside[given])}"


def _check_invoke(where: str, op: Invoke, program: Program, types: Types) -> Breaks:
    if not 0 <= op.procedure < len(program.procedures):
        yield f"{where}: invokes p{op.procedure}, which does not exist"
        return
    params = _params(program, program.procedures[op.procedure].block)
    if params is not None:
        yield from _check_args(f"{where} -> p{op.procedure}", op.args, params, types)


# ---------------------------------------------------------------- operands


def _check_args(where: str, args: Sequence[Operand], params: Sequence[Value], types: Types) -> Breaks:
    if len(args) != len(params):
        yield f"{where}: {len(args)} arguments for {len(params)} parameters"
    for operand, param in zip(args, params, strict=False):
        yield from _check_fit(where, operand, param.type, types)


def _check_fit(where: str, operand: Operand, wanted: ValueType, types: Types) -> Breaks:
    for misfit in find_misfits(operand, wanted, types):
        yield f"{where}: {misfit}"


def _check_operands(where: str, operands: Iterable[Operand]) -> Breaks:
    for operand in operands:
        for part in operand_parts(operand):
            if isinstance(part, InputLeaf):
                yield f"{where}: an input leaf stands outside the signature"
            if isinstance(part, Lit) and not _is_literal(part.value):
                yield f"{where}: {part.value!r} is no literal"


def _is_literal(value: object) -> bool:
    return value is None or value is ... or type(value) in LITERALS
