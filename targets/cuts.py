"""Values that pass between subgraphs alone: neither the host nor the caller ever looks into them.

How such a value lies in memory is a matter of the subgraphs that make and take it. Their ports fall into groups:
through whatever blocks and arguments a value goes, all ports that it may come from or go to are in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dycl.ir.arrays import WRITES
from dycl.ir.dataflow import edge_bindings, end_uses, op_uses
from dycl.ir.graph import reachable
from dycl.ir.nodes import Dispatch, HostOp, Invoke, Raise, Reply, Return
from dycl.ir.program import Program
from dycl.ir.values import BlockId, Operand, Ref, ScalarType, ValueId, all_refs, refs
from dycl.ir.webs import Webs, find_webs

_QUESTIONS = ("size_of", "array_of")  # they leave what they ask as it is


@dataclass(frozen=True, slots=True, order=True)
class PortPlace:
    """An input or output of a subgraph, by number."""

    subgraph: str
    is_output: bool
    index: int


Ports = dict[PortPlace, list[Operand]]  # and what they make or take, in all dispatches


def find_cuts(program: Program) -> tuple[frozenset[PortPlace], ...]:
    """The groups of ports whose values stay between subgraphs, each with a way in and a way out, in order."""
    webs = find_webs(program, unheeded=_QUESTIONS)
    ports = {**_find_inputs(program), **_find_outputs(program)}
    _join_ports(webs, ports)
    found = _group_ports(ports, webs.hidden())
    return tuple(sorted((group for group in found if len({port.is_output for port in group}) == 2), key=sorted))


def find_handed_on(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that others take, and that nobody but subgraphs looks into under any of their names.

    Those that take them may be given arrays of the host's in other dispatches.
    """
    webs = find_webs(program, unheeded=_QUESTIONS)
    ports = _find_outputs(program)
    _join_ports(webs, ports)
    taken = {value for args in _find_inputs(program).values() for value in all_refs(args)}
    return _ports_of(ports, (web for web in webs.hidden() if not taken.isdisjoint(web)))


def find_fetched(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that the host fetches, and that go nowhere else: what a decision is made of, say.

    In a program whose fetches are written down (`passes/place.py`).
    """
    webs = Webs()
    ports = _find_outputs(program)
    _join_ports(webs, ports)
    fetched: set[ValueId] = set()
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, HostOp) and op.function in ("fetch", "size", "size_of"):
                fetched.update(op_uses(op) if op.function == "fetch" else ())
            else:
                webs.show(op_uses(op))
        webs.follow(program, block)
    return _ports_of(ports, (web for web in webs.hidden() if not fetched.isdisjoint(web)))


def find_private(program: Program) -> frozenset[PortPlace]:
    """The results of subgraphs that no caller can come to hold, whatever else the host does with them."""
    webs = Webs()
    ports = _find_outputs(program)
    _join_ports(webs, ports)
    procedures = {procedure.id: procedure.block for procedure in program.procedures}
    replies = {procedure: _find_replies(program, start) for procedure, start in procedures.items()}
    for block in program.blocks:
        for op in block.ops:
            match op:
                case Invoke():
                    for param, arg in zip(program.block(procedures[op.procedure]).params, op.args, strict=True):
                        webs.unite([param.id, *refs(arg)])
                    for reply in replies[op.procedure]:
                        for value, given in zip(op.results, reply.values, strict=True):
                            webs.unite([value.id, *refs(given)])
                case HostOp(function=function) if function == "set_attr" or function in WRITES:
                    webs.show(op_uses(op))
                case HostOp() if not isinstance(op.result.type, ScalarType):  # a list, a view: it leads to what it has
                    webs.unite([op.result.id, *op_uses(op)])
        for param, arg in edge_bindings(program, block):
            webs.unite([param.id, *refs(arg)])
        if isinstance(block.end, Return | Raise):
            webs.show(end_uses(block.end))
    return _ports_of(ports, webs.hidden())


def _find_replies(program: Program, start: BlockId) -> list[Reply]:
    """The ends of a procedure that begins in this block."""
    blocks = {block.id: block for block in program.blocks}
    ends = (blocks[found].end for found in reachable(blocks, start))
    return [end for end in ends if isinstance(end, Reply)]


# ---------------------------------------------------------------- ports


def _find_outputs(program: Program) -> Ports:
    ports: Ports = {}
    for name, op in _dispatches(program):
        for index, result in enumerate(op.results):
            ports.setdefault(PortPlace(name, True, index), []).append(Ref(result.id))
    return ports


def _find_inputs(program: Program) -> Ports:
    ports: Ports = {}
    for name, op in _dispatches(program):
        for index, arg in enumerate(op.args):
            ports.setdefault(PortPlace(name, False, index), []).append(arg)
    return ports


def _dispatches(program: Program) -> Iterator[tuple[str, Dispatch]]:
    """The dispatches, each with the name of its subgraph."""
    names = {subgraph.id: subgraph.name for subgraph in program.subgraphs}
    for block in program.blocks:
        for op in block.ops:
            if isinstance(op, Dispatch):
                yield names[op.subgraph], op


def _join_ports(webs: Webs, ports: Ports) -> None:
    """What goes through one port lies in one way; so it shows if any of it is the host's own."""
    for operands in ports.values():
        values = all_refs(operands)
        webs.unite(values)
        webs.show(() if all(isinstance(operand, Ref) for operand in operands) else values)


def _group_ports(ports: Ports, webs: Iterable[frozenset[ValueId]]) -> list[frozenset[PortPlace]]:
    """The ports that each of these webs goes through."""
    places: dict[ValueId, list[PortPlace]] = {}
    for port, operands in ports.items():
        for value in all_refs(operands):
            places.setdefault(value, []).append(port)
    return [frozenset(port for value in web for port in places.get(value, ())) for web in webs]


def _ports_of(ports: Ports, webs: Iterable[frozenset[ValueId]]) -> frozenset[PortPlace]:
    """The ports that any of these webs goes through."""
    return frozenset(port for group in _group_ports(ports, webs) for port in group)
