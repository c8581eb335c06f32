"""Values that pass between subgraphs alone: neither the host nor the caller ever looks into them.

How such a value lies in memory is a matter of the subgraphs that make and take it. Their ports fall into groups:
through whatever blocks and arguments a value goes, all ports that it may come from or go to are in one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from dycl.ir.graph import end_uses, entry_blocks, op_definitions, op_uses
from dycl.ir.nodes import Block, Branch, Dispatch, HostOp, edges
from dycl.ir.program import Program
from dycl.ir.values import Operand, Ref, SubgraphId, ValueId, refs


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


def find_fetched(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that the host fetches, and that go nowhere else: what a decision is made of, say.

    In a program whose fetches are written down (`passes/place.py`).
    """
    groups = _Groups()
    names = {subgraph.id: subgraph.name for subgraph in program.subgraphs}
    fetched: set[ValueId] = set()
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, HostOp) and op.function in ("fetch", "size"):
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


def _look_at_operations(block: Block, names: dict[SubgraphId, str], groups: _Groups) -> None:
    for op in block.ops:
        if not isinstance(op, Dispatch):
            groups.show([*op_uses(op), *(value.id for value in op_definitions(op))])
            continue
        for index, arg in enumerate(op.args):
            groups.join(PortPlace(names[op.subgraph], False, index), arg)
        for index, result in enumerate(op.results):
            groups.join(PortPlace(names[op.subgraph], True, index), Ref(result.id))


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
