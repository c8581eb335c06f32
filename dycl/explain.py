"""What `dycl explain` says: each input-dependent branch of the source, and what lies on each side of it.

A branch of the source may stand in the program many times (once for each layer of an unrolled loop): these are its
variants. A side reaches from the branch to the *join*, the first block that both sides come to; a side that never
comes there ends in a return or a raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import networkx as nx  # type: ignore[import-untyped]

from dycl.diagnostics import SourceRange
from dycl.ir.nodes import Branch, CallModule, Dispatch, HostOp, Invoke, Jump, Op, Raise, Reply, Return, TensorOp, edges
from dycl.ir.program import Program
from dycl.ir.values import BlockId

_EXIT = BlockId(-2)  # the virtual block after every return and raise


@dataclass(frozen=True, slots=True)
class Side:
    """What may run on one side of a branch before the join, in order; and how the side may leave the program."""

    calls: tuple[str, ...]
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchReport:
    """One input-dependent branch of the source."""

    loc: SourceRange
    text: str
    sites: tuple[BlockId, ...]
    if_true: Side
    if_false: Side


def find_branches(program: Program) -> tuple[BranchReport, ...]:
    """Every branch of the source that the input decides, in the order of the source."""
    joins = _find_joins(program)
    groups: dict[tuple[str, int, int], list[BlockId]] = {}
    for block in program.blocks:
        if isinstance(block.end, Branch):
            loc = block.end.loc
            groups.setdefault((loc.file, loc.line, loc.column), []).append(block.id)
    return tuple(_report(program, joins, tuple(sites)) for _, sites in sorted(groups.items()))


def _report(program: Program, joins: dict[BlockId, BlockId], sites: tuple[BlockId, ...]) -> BranchReport:
    ends = [program.block(site).end for site in sites]
    branches = [(site, end) for site, end in zip(sites, ends, strict=True) if isinstance(end, Branch)]
    loc = branches[0][1].loc
    yes = [_find_side(program, end.if_true.target, joins.get(site, _EXIT)) for site, end in branches]
    no = [_find_side(program, end.if_false.target, joins.get(site, _EXIT)) for site, end in branches]
    return BranchReport(loc=loc, text=loc.text, sites=sites, if_true=_merge(yes), if_false=_merge(no))


def _find_joins(program: Program) -> dict[BlockId, BlockId]:
    """The immediate post-dominator of each block from which the program can end."""
    backwards = nx.DiGraph()
    backwards.add_node(_EXIT)
    for block in program.blocks:
        targets = [edge.target for edge in edges(block.end)] or [_EXIT]
        backwards.add_edges_from((target, block.id) for target in targets)
    return dict(nx.immediate_dominators(backwards, _EXIT))


def _find_side(program: Program, start: BlockId, join: BlockId) -> Side:
    calls: dict[str, None] = {}
    ends: dict[str, None] = {}
    seen: set[BlockId] = set()
    pending = [start]
    while pending:
        block_id = pending.pop()
        if block_id in seen or block_id == join:
            continue
        seen.add(block_id)
        block = program.block(block_id)
        calls.update(dict.fromkeys(name for op in block.ops for name in _call_names(program, op)))
        match block.end:
            case Return() | Reply():
                ends["returns"] = None
            case Raise(class_name=name):
                ends[f"raises {name.split(':')[-1]}"] = None
            case Jump() | Branch():
                pending.extend(edge.target for edge in reversed(edges(block.end)))
            case _:
                assert_never(block.end)
    return Side(tuple(calls), tuple(ends))


def _call_names(program: Program, op: Op) -> Iterable[str]:
    match op:
        case TensorOp(target=target):
            yield target.path if isinstance(target, CallModule) else _short_name(target.name)
        case Dispatch(subgraph=subgraph):
            for inner in program.subgraphs[subgraph].ops:
                yield from _call_names(program, inner)
        case HostOp() | Invoke():
            return
        case _:
            assert_never(op)


def _short_name(name: str) -> str:
    """`torch.nn.functional.softmax` as `softmax`: what the call is named in the source."""
    return name.rsplit(".", 1)[-1].strip("_")


def _merge(sides: list[Side]) -> Side:
    """One side for all variants of a branch."""
    calls = dict.fromkeys(call for side in sides for call in side.calls)
    return Side(tuple(fold_numbers(calls)), tuple(dict.fromkeys(end for side in sides for end in side.ends)))


def fold_numbers(names: Iterable[str]) -> list[str]:
    """The names in order, those that differ in numbers alone folded: `a.0.b, a.1.b` is `a.*.b`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", name), []).append(name)
    return [found[0] if len(found) == 1 else pattern for pattern, found in groups.items()]
