"""Boolean masks in subscripts become the indices they stand for, so that their count is a size the program knows.

Before::

    y = x[:, mask]

After::

    rows = torch.nonzero(mask, as_tuple=True)   # the size of its results is bound to a run-time number
    y = x[:, *rows]

This is how torch itself defines a mask. Inside of one operation torch could ask about a size that no operation of the
program has yet; after the expansion each question is about a number of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.ir.nodes import Target, TensorOp
from dycl.ir.substitution import map_operand
from dycl.ir.values import Operand, Ref, ValueId
from dycl.passes.specialize.memory_order import expression
from dycl.passes.specialize.readings import known_bools

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_MASKS = (torch.bool, torch.uint8)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a mask is made by: a result of an operation, its operands by their names."""

    target: Target
    operands: tuple[tuple[str | None, Operand], ...]
    result: int


def expanded(machine: Machine, target: torch.Tensor, index: Any) -> Any:
    """The index with its masks as tuples of whole numbers; itself where there are none or one does not fit."""
    items = list(index) if isinstance(index, tuple) else [index]
    masks = [item for item in items if isinstance(item, torch.Tensor) and item.dim() and item.dtype in _MASKS]
    if not masks or not all(_fits(target, items, place) for place, item in enumerate(items) if _is_one(item, masks)):
        return index
    out: list[Any] = []
    for item in items:
        if _is_one(item, masks):
            out += nonzero(machine, item)
        else:
            out.append(item)
    return tuple(out)


def _is_one(item: Any, masks: list[torch.Tensor]) -> bool:
    return any(item is mask for mask in masks)


def _fits(target: torch.Tensor, items: list[Any], place: int) -> bool:
    """Whether the mask has the shape of the dimensions it stands for; run-time sizes are asked about."""
    mask = items[place]
    before = sum(_dimensions(item) for item in items[:place])
    if any(item is Ellipsis for item in items[:place]):
        before = target.dim() - sum(_dimensions(item) for item in items[place:])
    if before < 0 or before + mask.dim() > target.dim():
        return False
    return all(bool(target.shape[before + dim] == size) for dim, size in enumerate(mask.shape))


def _dimensions(item: Any) -> int:
    """How many dimensions of the target an element of an index stands for."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return item.dim() if isinstance(item, torch.Tensor) and item.dtype in _MASKS else 1


def nonzero(machine: Machine, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The indices of the true elements, one tensor for each dimension: the same as before if they are still known."""
    mask = machine.substituted(mask)
    decided = known_bools(machine, mask) if isinstance(mask, FakeTensor) else None
    if decided is not None:
        return _known_indices(machine, decided)
    content = _first_alike(machine, machine.current_vid(mask)) if isinstance(mask, FakeTensor) else id(mask)
    call = ("indices of a mask", content)
    known = machine.state.facts.results.get(call)
    if known is not None and machine.recalled(call, known):
        return known  # type: ignore[no-any-return]
    counted = machine.state.facts.results.get(("count of a mask", content)) if mask.dim() == 1 else None
    if counted is None:
        indices: tuple[torch.Tensor, ...] = machine.recorder.call(torch.nonzero, (mask,), {"as_tuple": True})
    else:
        _bound_count(machine, mask, counted)
        indices = machine.recorder.nonzero(mask, machine.sym_size(counted))
    machine.state.facts.results[call] = indices
    return indices


def _known_indices(machine: Machine, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The indices where the path knows the mask itself: constants, so that their count is no number of the run."""
    with unset_fake_temporarily(), torch._C.DisableTorchFunction():
        rows = [dim.tolist() for dim in torch.nonzero(mask, as_tuple=True)]
    return tuple(machine.recorder.call(torch.tensor, (row,), {"dtype": torch.int64}) for row in rows)


def note_alike(machine: Machine, op: TensorOp) -> None:
    """Remember what masks are made of: others that are made alike have the same true elements."""
    results = machine.state.facts.results
    named = (*((None, arg) for arg in op.args), *op.kwargs)
    operands = [(name, map_operand(arg, lambda ref: Ref(_first_alike(machine, ref.id)))) for name, arg in named]
    for index, made in enumerate(op.results):
        origin = Origin(op.target, tuple(operands), index)
        first, _ = results.setdefault(("a mask made by", repr(origin)), (made.id, origin))
        if first != made.id:
            results["the mask like", made.id] = first


def _first_alike(machine: Machine, vid: ValueId) -> ValueId:
    found: ValueId = machine.state.facts.results.get(("the mask like", vid), vid)
    return found


def learn_count(machine: Machine, tensor: torch.Tensor, size: Any) -> None:
    """What is known of the number of true elements: that of a constant, and that earlier counts were the same."""
    if not isinstance(size, torch.SymInt) or not size.node.expr.is_Symbol:
        return
    symbol, facts = size.node.expr, machine.state.facts
    known = known_bools(machine, tensor) if isinstance(tensor, FakeTensor) else machine.constant_value(tensor)
    if known is not None:
        with unset_fake_temporarily(), torch._C.DisableTorchFunction():
            count = int(torch.count_nonzero(known))
        machine.bound_symbol(symbol, count, count)
    _bound_count(machine, tensor, symbol)
    is_fake = isinstance(tensor, FakeTensor)
    key = ("count of a mask", _first_alike(machine, machine.current_vid(tensor)) if is_fake else id(tensor))
    earlier = facts.results.setdefault(key, symbol)
    if earlier is not symbol:
        facts.learn(sympy.Eq(earlier, symbol), True)
        facts.learn(sympy.Eq(symbol, earlier), True)


def _bound_count(machine: Machine, mask: torch.Tensor, count: sympy.Basic) -> None:
    elements = sympy.prod([expression(size) for size in mask.shape])
    if elements.free_symbols:
        machine.state.facts.learn(sympy.Le(count, elements), True)
