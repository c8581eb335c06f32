"""Element by element: everything in one loop over vectors."""

from __future__ import annotations

from typing import Any

from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import Block, inline_all, largest_divisor

PARALLEL_WORK = 1 << 15  # what is less is done before another thread has woken up


def elementwise(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """A function without a reduction: all blocks inlined into those that write its results, which run in vectors."""
    if not all(block.is_elementwise for block in blocks):
        return False
    inline_all(schedule, [block for block in blocks if not block.is_result])
    for block in blocks:
        if block.is_result:
            vectorise(schedule, block, processor)
    return True


def vectorise(schedule: Any, block: Block, processor: Processor) -> None:
    """The loops around an elementwise block as one, in vectors and on several threads where it is large."""
    loops = schedule.get_loops(block.handle)
    if not loops:
        return
    fused = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    lanes = largest_divisor(block.work, processor.lanes)
    if lanes < 4:
        return
    outer, inner = schedule.split(fused, [None, lanes])
    schedule.vectorize(inner)
    if block.work >= PARALLEL_WORK:
        outermost, _ = schedule.split(outer, [None, largest_divisor(block.work // lanes, 256)])
        schedule.parallel(outermost)
