"""Raw blocks to a Program: every value defined once, blocks and values numbered in the order in which they are met."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from dycl.ir.dataflow import block_definitions
from dycl.ir.nodes import (
    Block,
    Branch,
    Edge,
    HostOp,
    Invoke,
    Jump,
    Procedure,
    Raise,
    Reply,
    Return,
    TensorOp,
    Terminator,
)
from dycl.ir.numbering import renumber
from dycl.ir.program import Entry, Method, Program, Schema, SourceFile, StateSlot, Tunable
from dycl.ir.sizes import replace_names, size_names
from dycl.ir.substitution import map_edges, substitute_end, substitute_operand
from dycl.ir.values import BlockId, Operand, ProcedureId, Ref, Value, ValueId, refs
from dycl.passes.sizes import Sizes, rename_sizes, retyped, type_names
from dycl.passes.specialize.residual import RawBlock, RawEntry, RawProcedure, Values

Renaming = dict[ValueId, ValueId]


class Finisher:
    """Renames block parameters apart: in raw blocks they reuse the names of their first arguments.

    So do the sizes in types: a tensor that grows keeps, in the blocks of a loop, the name that its size had before.
    """

    def __init__(self, blocks: list[RawBlock], values: Values) -> None:
        self._blocks = {block.id: block for block in blocks}
        self._values = values
        self._next = len(values.types)
        self._done: dict[int, Block] = {}
        self._sizes: Sizes = {}  # the names of sizes in the block at work, and what they are in the program
        self._made = 0  # how many names of sizes there are

    def finish(
        self,
        name: str,
        methods: tuple[Method, ...],
        entries: list[RawEntry],
        initial: tuple[Operand, ...],
        tunables: tuple[Tunable, ...],
        schemas: tuple[Schema, ...] = (),
        procedures: tuple[RawProcedure, ...] = (),
    ) -> Program:
        """The program."""
        work: list[tuple[int, Renaming, Sizes]] = [
            (block.id, {}, {}) for block in self._blocks.values() if block.params is not None
        ]
        while work:
            block_id, names, self._sizes = work.pop()
            sides = self._block(self._blocks[block_id], names)
            work.extend((side, names_there, dict(self._sizes)) for side, names_there in sides)
        done_entries = []
        for raw in entries:
            block = self._done[raw.block.id]
            names = dict(zip((*raw.inputs, *raw.state), (param.id for param in block.params), strict=True))
            slots = tuple(StateSlot(slot, self._operand(template, names)) for slot, template in raw.slots)
            done_entries.append(Entry(block=block.id, slots=slots, state_params=len(raw.state)))
        blocks = tuple(self._done[block_id] for block_id in sorted(self._done))
        dense = {block.id: BlockId(index) for index, block in enumerate(blocks)}
        program = Program(
            name=name,
            method=methods[0].name,
            signature=methods[0].signature,
            others=methods[1:],
            entries=tuple(dataclasses.replace(entry, block=dense[entry.block]) for entry in done_entries),
            initial=initial,
            blocks=tuple(_renumbered(block, dense) for block in blocks),
            tunables=tunables,
            schemas=schemas,
            procedures=tuple(
                Procedure(
                    id=ProcedureId(index), name=raw.name, block=dense[self._done[raw.block.id].id], loc=raw.block.loc
                )
                for index, raw in enumerate(procedures)
            ),
        )
        program = _renumbered_sizes(renumber(program))
        return dataclasses.replace(program, sources=_sources(program))

    def _block(self, raw: RawBlock, names: Renaming) -> list[tuple[int, Renaming]]:
        """Finish one block and the sides of its fork; a block with parameters sees nothing else."""
        params: tuple[Value, ...] = ()
        if raw.params is not None:
            names = {}
            params = tuple(self._fresh(param, names) for param in raw.params)
        else:
            names = dict(names)
        ops: list[TensorOp | HostOp | Invoke] = []
        for op in raw.ops:
            match op:
                case TensorOp():
                    args = tuple(self._operand(arg, names) for arg in op.args)
                    kwargs = tuple((key, self._operand(arg, names)) for key, arg in op.kwargs)
                    old = [names.get(value, value) for value, _ in op.mutates]
                    results = tuple(self._fresh(value.id, names) for value in op.results)
                    mutates = tuple(
                        (before, self._fresh(after.id, names))
                        for before, (_, after) in zip(old, op.mutates, strict=True)
                    )
                    sizes = tuple((str(self._size(left)), self._size(right)) for left, right in op.sizes)
                    ops.append(
                        dataclasses.replace(op, args=args, kwargs=kwargs, results=results, mutates=mutates, sizes=sizes)
                    )
                case HostOp():
                    args = tuple(self._operand(arg, names) for arg in op.args)
                    ops.append(dataclasses.replace(op, args=args, result=self._fresh(op.result.id, names)))
                case Invoke():
                    args = tuple(self._operand(arg, names) for arg in op.args)
                    results = tuple(self._fresh(value.id, names) for value in op.results)
                    ops.append(dataclasses.replace(op, args=args, results=results))
        end, sides = self._end(raw.end, names)
        self._done[raw.id] = Block(id=BlockId(raw.id), params=params, ops=tuple(ops), end=end, loc=raw.loc)
        return sides

    def _end(self, end: Terminator | None, names: Renaming) -> tuple[Terminator, list[tuple[int, Renaming]]]:
        assert end is not None, "a path was left open"
        match end:
            case Jump(edge=edge):
                args = tuple(self._operand(arg, names) for arg in edge.args)
                return dataclasses.replace(end, edge=Edge(edge.target, args)), []
            case Branch(cond=cond, if_true=yes, if_false=no):
                return dataclasses.replace(end, cond=names.get(cond, cond)), [(yes.target, names), (no.target, names)]
            case Return() | Raise() | Reply():
                return substitute_end(end, {old: Ref(new) for old, new in names.items()}), []

    def _fresh(self, raw: ValueId, names: Renaming) -> Value:
        new = ValueId(self._next)
        self._next += 1
        names[raw] = new
        value = Value(new, self._values.types[raw], self._values.names.get(raw, ""))
        self._name_sizes(type_names(value.type))
        return retyped(value, self._sizes)

    def _size(self, size: int | str) -> int | str:
        self._name_sizes(size_names(size))
        return replace_names(size, self._sizes) if isinstance(size, str) else size

    def _name_sizes(self, names: tuple[str, ...]) -> None:
        """Give these names of torch's to sizes of their own; those that the caller has named keep theirs."""
        for name in names:
            if name not in self._sizes and _is_made(name):
                self._sizes[name] = f"u{self._made}"
                self._made += 1

    def _operand(self, operand: Operand, names: Renaming) -> Operand:
        return substitute_operand(operand, {old: Ref(new) for old, new in names.items()}) if refs(operand) else operand


def _is_made(name: str) -> bool:
    """Whether a size has a name that torch's symbols have."""
    return name[0] == "u" and name[1:].isdigit()


def _renumbered_sizes(program: Program) -> Program:
    """The program with the names of sizes numbered in the order in which they are met."""
    found: dict[str, int | str] = {}
    for block in program.blocks:
        values = block_definitions(block)
        met = [name for value in values for name in type_names(value.type)]
        met += [
            name
            for op in block.ops
            if isinstance(op, TensorOp)
            for pair in op.sizes
            for size in pair
            for name in size_names(size)
        ]
        for name in met:
            if _is_made(name):
                found.setdefault(name, f"u{len(found)}")
    return rename_sizes(program, found)


def _renumbered(block: Block, dense: dict[BlockId, BlockId]) -> Block:
    end = map_edges(block.end, lambda _, edge: Edge(dense[edge.target], edge.args))
    return dataclasses.replace(block, id=dense[block.id], end=end)


def _sources(program: Program) -> tuple[SourceFile, ...]:
    files = {op.loc.file for block in program.blocks for op in block.ops} | {
        block.end.loc.file for block in program.blocks
    }
    return tuple(
        SourceFile(file, hashlib.sha256(Path(file).read_bytes()).hexdigest())
        for file in sorted(files)
        if file and Path(file).is_file()
    )
