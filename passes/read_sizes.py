"""Let the host ask an array that it has anyway for a size, instead of having one handed out for its size alone.

Before::

    subgraph s0 00_getitem_gt_nonzero (%0 x: int64[u0]):
      %1: bool[u0] = call torch.gt(%0, 1)
      %2: int64[u1] = call torch.nonzero(%1, as_tuple=True)
      %3: int64[u1] = call torch.Tensor.__getitem__(%0, (%2,))
      results (%2, %3)
    b0(%0 x: int64[u0]):
      %1: int64[u1], %2: int64[u1] = dispatch s0(%0)
      %3: int[u1] = host size(%1, 0)
      return (%2, %3)

After::

    subgraph s0 00_getitem_gt_nonzero (%0 x: int64[u0]):
      %1: bool[u0] = call torch.gt(%0, 1)
      %2: int64[u1] = call torch.nonzero(%1, as_tuple=True)
      %3: int64[u1] = call torch.Tensor.__getitem__(%0, (%2,))
      results (%3)
    b0(%0 x: int64[u0]):
      %1: int64[u1] = dispatch s0(%0)
      %2: int[u1] = host size(%1, 0)
      return (%1, %2)

Sound because in the types of one dispatch a name is one size. What the host looks into anyway, or hands to the caller,
serves first; then what subgraphs alone see, whose size can be told without making it an array (`hand_on.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from dycl.ir.dataflow import edge_bindings, end_uses, op_uses
from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, Dispatch, HostOp, Op, Raise, Return, Subgraph, TensorOp
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import Lit, Ref, TensorType, Value, ValueId, refs

_Element = tuple[ValueId, int]  # an array and a dimension


def run(program: Program, environment: Environment) -> Program:
    """The program without results that are handed out for their sizes alone."""
    seen, sized = _find_seen(program), _find_sized(program)
    subgraphs = {each.id: each for each in program.subgraphs}
    found: dict[_Element, _Element] = {}
    dispatches = [op for block in program.blocks for op in block.ops if isinstance(op, Dispatch)]
    often = Counter(op.subgraph for op in dispatches)
    for op in dispatches:
        others = [value for value in op.results if value.id not in sized]
        others.sort(key=lambda value: value.id not in seen)
        known: dict[_Element, _Element] = {}
        for value in op.results:
            places = {(value.id, dim): _find_place(value, dim, others) for dim in sized.get(value.id, ())}
            if places and None not in places.values():
                known |= {element: place for element, place in places.items() if place is not None}
        smaller = _without(subgraphs[op.subgraph], op.results, {value for value, _ in known})
        if known and often[op.subgraph] == 1 and _reads_all(smaller):
            found |= known
            subgraphs[op.subgraph] = smaller
    if not found:
        return program
    dropped = {value for value, _ in found}
    blocks = tuple(_rewrite(block, found, dropped) for block in program.blocks)
    changed = tuple(subgraphs[each.id] for each in program.subgraphs)
    return renumber(replace(program, blocks=blocks, subgraphs=changed))


def _reads_all(subgraph: Subgraph) -> bool:
    """Whether a subgraph needs all that it is given."""
    needed = {*subgraph.results, *(value for op in subgraph.ops for value in op_uses(op))}
    return all(param.id in needed for param in subgraph.params)


def _find_seen(program: Program) -> set[ValueId]:
    """The values that the host looks into, or the caller, under whatever name."""
    seen: set[ValueId] = set()
    for block in program.blocks:
        seen.update(value for op in block.ops if isinstance(op, HostOp) for value in op_uses(op))
        seen.update(end_uses(block.end) if isinstance(block.end, Return | Raise) else ())
    passed = [(param.id, refs(arg)) for block in program.blocks for param, arg in edge_bindings(program, block)]
    while more := {value for param, values in passed if param in seen for value in values} - seen:
        seen |= more
    return seen


def _find_sized(program: Program) -> dict[ValueId, set[int]]:
    """The values of which nothing but sizes is asked, and the dimensions."""
    sized: dict[ValueId, set[int]] = {}
    others: set[ValueId] = set()
    for block in program.blocks:
        others.update(end_uses(block.end))
        for op in block.ops:
            match op:
                case HostOp(function="size", args=(Ref(id=value), Lit(value=int(dim)))):
                    sized.setdefault(value, set()).add(dim)
                case _:
                    others.update(op_uses(op))
    return {value: dims for value, dims in sized.items() if value not in others}


def _find_place(value: Value, dim: int, others: list[Value]) -> _Element | None:
    """Another array and its dimension of the same size."""
    size = value.type.shape[dim] if isinstance(value.type, TensorType) else None
    for other in others:
        if isinstance(other.type, TensorType) and size in other.type.shape:
            return other.id, other.type.shape.index(size)
    return None


def _rewrite(block: Block, found: dict[_Element, _Element], dropped: set[ValueId]) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        match op:
            case HostOp(function="size", args=(Ref(id=value), Lit(value=int(dim)))) if value in dropped:
                other, place = found[value, dim]
                ops.append(replace(op, args=(Ref(other), Lit(place))))
            case Dispatch(results=results):
                ops.append(replace(op, results=tuple(each for each in results if each.id not in dropped)))
            case _:
                ops.append(op)
    return replace(block, ops=tuple(ops))


def _without(subgraph: Subgraph, outside: tuple[Value, ...], dropped: set[ValueId]) -> Subgraph:
    """The subgraph that does not hand these out, nor computes what it would only hand out."""
    kept = tuple(inside for value, inside in zip(outside, subgraph.results, strict=True) if value.id not in dropped)
    if len(kept) == len(subgraph.results):
        return subgraph
    needed = set(kept)
    ops: list[TensorOp] = []
    for op in reversed(subgraph.ops):
        if op.mutates or not op.results or any(value.id in needed for value in op.results):
            ops.insert(0, op)
            needed.update(op_uses(op))
    return replace(subgraph, ops=tuple(ops), results=kept)
