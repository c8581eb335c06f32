"""Whatever has reductions and no rule of its own: softmax, normalisation, pooling, sums, maxima."""

from __future__ import annotations

import contextlib
from typing import Any

from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import Block, extent, find_blocks
from dycl.targets.tvm.rules.elementwise import PARALLEL_WORK, vectorise


def reductions(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Elementwise blocks are inlined where they can be; each reduction runs in as many lanes as a vector has."""
    for block in blocks[:-1]:
        if block.is_elementwise and not block.is_result:
            with contextlib.suppress(_schedule_error()):
                schedule.compute_inline(block.handle)
    for block in find_blocks(schedule) or ():
        with contextlib.suppress(_schedule_error()):  # a step that cannot be taken leaves the block as it was before
            if block.is_elementwise:
                vectorise(schedule, block, processor)
            else:
                _reduce(schedule, block, processor)
    return True


def _reduce(schedule: Any, block: Block, processor: Processor) -> None:
    found = block.kinds
    spatial = found.count("S")
    if found != "S" * spatial + "R" * found.count("R") or len(block.extents) != len(found):
        return
    loops = schedule.get_loops(block.handle)
    reduced = schedule.fuse(*loops[spatial:]) if found.count("R") > 1 else loops[-1]
    rows = schedule.fuse(*loops[:spatial]) if spatial > 1 else loops[0] if spatial else None
    size, lanes = extent(schedule, reduced), processor.lanes
    writes = schedule.get(block.handle).writes
    is_float = str(writes[0].source.dtype) == "float32"
    if size is not None and size % lanes == 0 and size > lanes and len(writes) == 1 and is_float:
        _, lane = schedule.split(reduced, [None, lanes])
        partial = schedule.rfactor(lane, 0)
        *outer, last = schedule.get_loops(partial)
        if extent(schedule, last) == lanes:
            schedule.vectorize(last)
        rows = outer[0] if spatial else None
    if rows is not None and block.work >= PARALLEL_WORK:
        schedule.parallel(rows)


def _schedule_error() -> type[Exception]:
    from tvm.s_tir.schedule import ScheduleError

    error: type[Exception] = ScheduleError
    return error
