"""What the rules ask of a function's blocks and loops."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any


def child_blocks(schedule: Any) -> list[Any]:
    """The blocks of the function, in order."""
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def extent(schedule: Any, loop: Any) -> int | None:
    """How often a loop runs; None if that is known at run time only."""
    size = schedule.get(loop).extent
    return int(size) if isinstance(size, int) or hasattr(size, "value") else None


def extents(schedule: Any, block: Any) -> list[int]:
    """How often the loops around a block run, from the outermost inwards; the function has been found static."""
    sizes = [extent(schedule, loop) for loop in schedule.get_loops(block)]
    return [size for size in sizes if size is not None]


def is_static(schedule: Any) -> bool:
    """Whether all sizes of the function are known."""
    return all(
        extent(schedule, loop) is not None for block in child_blocks(schedule) for loop in schedule.get_loops(block)
    )


def kinds(schedule: Any, block: Any) -> str:
    """The iterators of a block: S for one of the result's dimensions, R for a reduction, O for another."""
    return "".join({0: "S", 2: "R"}.get(int(item.iter_type), "O") for item in schedule.get(block).iter_vars)


def name_of(schedule: Any, block: Any) -> str:
    """The name of a block, which its function has once."""
    return str(schedule.get(block).name_hint)


def is_elementwise(schedule: Any, block: Any) -> bool:
    """Whether the block computes each element of its result by itself."""
    return set(kinds(schedule, block)) <= {"S"}


def work(schedule: Any, block: Any) -> int:
    """How often the block runs."""
    return prod(extents(schedule, block))


def largest_divisor(size: int, limit: int) -> int:
    """The largest divisor of a size within a limit."""
    return next(divisor for divisor in range(min(size, limit), 0, -1) if size % divisor == 0)


def inline_all(schedule: Any, blocks: Sequence[Any]) -> None:
    """Compute these blocks where their results are read."""
    for block in blocks:
        schedule.compute_inline(block)


def init_block(schedule: Any, loop: Any) -> Any:
    """The block under a loop that `decompose_reduction` has made."""
    return next(block for block in schedule.get_child_blocks(loop) if name_of(schedule, block).endswith("_init"))
