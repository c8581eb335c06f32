"""What the rules ask of a function's blocks and loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

CHANNELS = "dycl.channels"  # the attribute of a function with a size that is a variable: a size to schedule it for
_KINDS = {0: "S", 2: "R"}  # by TVM's number for the type of an iterator


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block as it stood when it was looked at: a rule asks before it changes anything.

    To ask TVM costs more than to answer, and several rules want to know the same. `kinds`: its iterators, S for one of
    the result's dimensions, R for a reduction, O for another. `extents`: how often the loops around it run, from the
    outermost inwards. `is_result`: it writes what the function returns, so it cannot be computed elsewhere.
    """

    handle: Any
    name: str  # its function has it once
    kinds: str
    extents: tuple[int, ...]
    is_result: bool

    @property
    def is_elementwise(self) -> bool:
        """Whether the block computes each element of its result by itself."""
        return set(self.kinds) <= {"S"}

    @property
    def work(self) -> int:
        """How often the block runs."""
        return prod(self.extents)


def find_blocks(schedule: Any) -> list[Block] | None:
    """The blocks of the function, in order; None if a size is known at run time only, and not what to take it for."""
    found = []
    function = schedule.mod["main"]
    given = list(function.params)
    usual = int(function.attrs[CHANNELS]) if CHANNELS in function.attrs else None
    for handle in schedule.get_child_blocks(schedule.get_sblock("root")):
        place = schedule.get_sref(handle)  # not `get_loops`: each of the schedule's answers is checked for its type
        block, sizes = place.stmt, _sizes_around(place, usual)
        if sizes is None:
            return None
        is_result = any(each.same_as(write.source) for write in block.writes for each in given)
        found.append(Block(handle, str(block.name_hint), kinds_of(block), sizes, is_result))
    return found


def kinds_of(block: Any) -> str:
    """What the iterators of a block are for: a letter for each, as in `Block`."""
    return "".join(_KINDS.get(int(item.iter_type), "O") for item in block.iter_vars)


def _sizes_around(place: Any, usual: int | None) -> tuple[int, ...] | None:
    """How often the loops around a place in the tree of loops run, from the outermost inwards.

    Where that varies it is taken to be `usual`; if there is no such number, None.
    """
    from tvm import tirx

    sizes: list[int] = []
    while isinstance((place := place.parent).stmt, tirx.For):
        size = place.stmt.extent if isinstance(place.stmt.extent, tirx.IntImm) else usual
        if size is None:
            return None
        sizes.append(int(size))
    return tuple(reversed(sizes))


def extent(schedule: Any, loop: Any) -> int | None:
    """How often a loop runs; None if that is known at run time only."""
    size = schedule.get(loop).extent
    return int(size) if isinstance(size, int) or hasattr(size, "value") else None


def largest_divisor(size: int, limit: int) -> int:
    """The largest divisor of a size within a limit."""
    return next(divisor for divisor in range(min(size, limit), 0, -1) if size % divisor == 0)


def inline_all(schedule: Any, blocks: Sequence[Block]) -> None:
    """Compute these blocks where their results are read."""
    for block in blocks:
        schedule.compute_inline(block.handle)


def init_block(schedule: Any, loop: Any) -> Any:
    """The block under a loop that `decompose_reduction` has made."""
    blocks = schedule.get_child_blocks(loop)
    return next(block for block in blocks if str(schedule.get(block).name_hint).endswith("_init"))
