"""Raw blocks to a Program: every value defined once, blocks and values numbered in the order in which they are met."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from dycl.ir.graph import renumber, substitute_operand
from dycl.ir.nodes import (
    Block,
    BlockId,
    Branch,
    Edge,
    Entry,
    HostOp,
    Invoke,
    Jump,
    Method,
    Operand,
    Procedure,
    ProcedureId,
    Program,
    Raise,
    Ref,
    Reply,
    Return,
    Schema,
    SourceFile,
    StateSlot,
    TensorOp,
    Terminator,
    Tunable,
    Value,
    ValueId,
)
from dycl.passes.specialize.residual import RawBlock, RawEntry, RawProcedure, Values

Renaming = dict[ValueId, ValueId]


class Finisher:
    """Renames block parameters apart: in raw blocks they reuse the names of their first arguments."""

    def __init__(self, blocks: list[RawBlock], values: Values) -> None:
        self._blocks = {block.id: block for block in blocks}
        self._values = values
        self._next = len(values.types)
        self._done: dict[int, Block] = {}

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
        work: list[tuple[int, Renaming]] = [
            (block.id, {}) for block in self._blocks.values() if block.params is not None
        ]
        while work:
            block_id, names = work.pop()
            work.extend(self._block(self._blocks[block_id], names))
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
        program = renumber(program)
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
                    ops.append(dataclasses.replace(op, args=args, kwargs=kwargs, results=results, mutates=mutates))
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
            case Return(value=value, state=state):
                kept = tuple(self._operand(arg, names) for arg in state)
                return dataclasses.replace(end, value=self._operand(value, names), state=kept), []
            case Raise(args=args, state=state):
                kept = tuple(self._operand(arg, names) for arg in state)
                return dataclasses.replace(end, args=tuple(self._operand(arg, names) for arg in args), state=kept), []
            case Reply(values=values):
                return dataclasses.replace(end, values=tuple(self._operand(value, names) for value in values)), []

    def _fresh(self, raw: ValueId, names: Renaming) -> Value:
        new = ValueId(self._next)
        self._next += 1
        names[raw] = new
        return Value(new, self._values.types[raw], self._values.names.get(raw, ""))

    def _operand(self, operand: Operand, names: Renaming) -> Operand:
        return (
            substitute_operand(operand, {old: Ref(new) for old, new in names.items()})
            if _has_refs(operand)
            else operand
        )


def _has_refs(operand: Operand) -> bool:
    from dycl.ir.nodes import refs

    return bool(refs(operand))


def _renumbered(block: Block, dense: dict[BlockId, BlockId]) -> Block:
    end = block.end
    match end:
        case Jump(edge=edge):
            end = dataclasses.replace(end, edge=Edge(dense[edge.target], edge.args))
        case Branch(if_true=yes, if_false=no):
            end = dataclasses.replace(
                end, if_true=Edge(dense[yes.target], yes.args), if_false=Edge(dense[no.target], no.args)
            )
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
