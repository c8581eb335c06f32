"""Values that pass between subgraphs alone: neither the host nor the caller ever looks into them.

How such a value lies in memory is a matter of the subgraphs that make and take it. Their ports fall into groups:
through whatever blocks and arguments a value goes, all ports that it may come from or go to are in one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from dycl.ir.arrays import WRITES
from dycl.ir.dataflow import end_uses, op_definitions, op_uses
from dycl.ir.graph import entry_blocks, reachable
from dycl.ir.nodes import Block, Branch, Dispatch, HostOp, Invoke, Op, Raise, Reply, Return, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Operand, Ref, ScalarType, SubgraphId, ValueId, refs


@dataclass(frozen=True, slots=True, order=True)
class PortPlace:
    """An input or output of a subgraph, by number."""

    subgraph: str
    is_output: bool
    index: int


def find_cuts(program: Program) -> tuple[frozenset[PortPlace], ...]:
    """The groups of ports whose values stay between subgraphs, each with a way in and a way out, in order."""
    groups = _Groups()
    names = {subgraph.id: subgraph.name for subgraph in program.subgraphs}
    begins = entry_blocks(program)
    for block in program.blocks:
        if block.id in begins:
            groups.show(value.id for value in block.params)
        _look_at_operations(block, names, groups)
        _look_at_end(block, program, groups)
    found = [frozenset(group) for group in groups.unseen()]
    return tuple(sorted((group for group in found if len({port.is_output for port in group}) == 2), key=sorted))


def find_handed_on(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that others take, and that nobody but subgraphs looks into under any of their names.

    Those that take them may be given arrays of the host's in other dispatches.
    """
    groups = _Groups()
    names = {subgraph.id: subgraph.name for subgraph in program.subgraphs}
    begins = entry_blocks(program)
    taken: set[ValueId] = set()
    for block in program.blocks:
        if block.id in begins:
            groups.show(value.id for value in block.params)
        for op in block.ops:
            if isinstance(op, Dispatch):
                for arg in op.args:
                    if isinstance(arg, Ref):
                        taken.add(arg.id)
                    else:  # what the host puts together
                        groups.show(refs(arg))
                for index, result in enumerate(op.results):
                    groups.join(PortPlace(names[op.subgraph], True, index), Ref(result.id))
            else:
                _look_at_host_operation(op, groups)
        _look_at_end(block, program, groups)
    return frozenset(port for ports in groups.unseen_with(taken) for port in ports)


def find_fetched(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that the host fetches, and that go nowhere else: what a decision is made of, say.

    In a program whose fetches are written down (`passes/place.py`).
    """
    groups = _Groups()
    names = {subgraph.id: subgraph.name for subgraph in program.subgraphs}
    fetched: set[ValueId] = set()
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, HostOp) and op.function in ("fetch", "size", "size_of"):
                fetched.update(op_uses(op) if op.function == "fetch" else ())
                continue
            groups.show(op_uses(op))
            if isinstance(op, Dispatch):
                for index, result in enumerate(op.results):
                    groups.join(PortPlace(names[op.subgraph], True, index), Ref(result.id))
        passed = list(edges(block.end))
        groups.show(end_uses(block.end) if not passed else ())
        for edge in passed:
            for param, arg in zip(program.block(edge.target).params, edge.args, strict=True):
                groups.join(param.id, arg)
    return frozenset(port for group in groups.unseen_with(fetched) for port in group)


def find_private(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that no caller can come to hold, whatever else the host does with them."""
    groups = _Groups()
    names = {subgraph.id: subgraph.name for subgraph in program.subgraphs}
    procedures = {procedure.id: procedure.block for procedure in program.procedures}
    replies = {procedure: _find_replies(program, start) for procedure, start in procedures.items()}
    results = []
    for block in program.blocks:
        for op in block.ops:
            match op:
                case Dispatch():
                    for index, value in enumerate(op.results):
                        results.append(PortPlace(names[op.subgraph], True, index))
                        groups.unite(value.id, [results[-1]])
                case Invoke():
                    for param, arg in zip(program.block(procedures[op.procedure]).params, op.args, strict=True):
                        groups.unite(param.id, refs(arg))
                    for reply in replies[op.procedure]:
                        for value, given in zip(op.results, reply.values, strict=True):
                            groups.unite(value.id, refs(given))
                case HostOp(function=function) if function == "set_attr" or function in WRITES:
                    groups.show(op_uses(op))
                case HostOp():  # a list or a view leads to the array that it has, a number does not
                    groups.unite(op.result.id, () if isinstance(op.result.type, ScalarType) else op_uses(op))
        for edge in edges(block.end):
            for param, arg in zip(program.block(edge.target).params, edge.args, strict=True):
                groups.unite(param.id, refs(arg))
        if isinstance(block.end, Return | Raise):
            groups.show(end_uses(block.end))
    hidden = {port for ports in groups.unseen() for port in ports}
    return frozenset(hidden.intersection(results))


def _find_replies(program: Program, start: BlockId) -> list[Reply]:
    """The ends of a procedure that begins in this block."""
    blocks = {block.id: block for block in program.blocks}
    ends = (blocks[found].end for found in reachable(blocks, start))
    return [end for end in ends if isinstance(end, Reply)]


def _look_at_operations(block: Block, names: dict[SubgraphId, str], groups: _Groups) -> None:
    for op in block.ops:
        if not isinstance(op, Dispatch):
            _look_at_host_operation(op, groups)
            continue
        for index, arg in enumerate(op.args):
            groups.join(PortPlace(names[op.subgraph], False, index), arg)
        for index, result in enumerate(op.results):
            groups.join(PortPlace(names[op.subgraph], True, index), Ref(result.id))


def _look_at_host_operation(op: Op, groups: _Groups) -> None:
    if not isinstance(op, HostOp) or op.function not in ("size_of", "array_of"):  # these leave what they ask as it is
        groups.show(op_uses(op))
    groups.show(value.id for value in op_definitions(op))


def _look_at_end(block: Block, program: Program, groups: _Groups) -> None:
    if isinstance(block.end, Branch):
        groups.show([block.end.cond])
    passed = list(edges(block.end))
    if not passed:
        groups.show(end_uses(block.end))
    for edge in passed:
        for param, arg in zip(program.block(edge.target).params, edge.args, strict=True):
            groups.join(param.id, arg)


class _Groups:
    """Values and ports that may be one, and those that somebody looks at."""

    def __init__(self) -> None:
        self._above: dict[Hashable, Hashable] = {}
        self._seen: set[Hashable] = set()

    def show(self, values: Iterable[ValueId]) -> None:
        """Somebody else than a subgraph sees these values."""
        for value in values:
            self._find(value)
            self._seen.add(value)

    def join(self, member: Hashable, operand: Operand) -> None:
        """A port or parameter gets what the operand is; anything but another value is the host's own."""
        self._find(member)
        if isinstance(operand, Ref):
            self._above[self._find(operand.id)] = self._find(member)
        else:
            self._seen.add(member)
            self.show(refs(operand))

    def unite(self, member: Hashable, others: Iterable[Hashable]) -> None:
        """Who sees one of these may see the others."""
        for other in (member, *others):
            self._above[self._find(other)] = self._find(member)

    def _find(self, member: Hashable) -> Hashable:
        path = []
        while (above := self._above.setdefault(member, member)) != member:
            path.append(member)
            member = above
        self._above.update(dict.fromkeys(path, member))
        return member

    def unseen_with(self, values: Iterable[ValueId]) -> Iterator[list[PortPlace]]:
        """The ports of each group that has one of these values, and that nobody else sees."""
        wanted = {self._find(value) for value in values}
        yield from (ports for ports in self.unseen() if self._find(ports[0]) in wanted)

    def unseen(self) -> Iterator[list[PortPlace]]:
        """The ports of each group that nobody else sees."""
        seen = {self._find(member) for member in self._seen}
        ports: dict[Hashable, list[PortPlace]] = {}
        for member in list(self._above):
            top = self._find(member)
            if isinstance(member, PortPlace) and top not in seen:
                ports.setdefault(top, []).append(member)
        yield from ports.values()
