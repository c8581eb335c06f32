"""Matrix products, batched or not, as register tiles: rows of one matrix by vectors of columns of the other."""

from __future__ import annotations

from typing import Any

from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import Block, init_block, inline_all, largest_divisor
from dycl.targets.tvm.rules.elementwise import PARALLEL_WORK


def product(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """One product with what comes before it inlined and what follows it computed on the tile."""
    if not any("matmul" in block.name for block in blocks):
        return False
    sums = [block for block in blocks if not block.is_elementwise]
    if len(sums) != 1:
        return False
    found = sums[0].kinds
    if found != "S" * (len(found) - 1) + "R" or len(found) < 3:
        return False
    place, matmul = blocks.index(sums[0]), sums[0].handle
    after = blocks[place + 1 :]
    *batch, rows, columns, depth = sums[0].extents
    if any(block.extents != (*batch, rows, columns) for block in after):
        return False
    lanes = largest_divisor(columns, processor.lanes)
    if lanes < 4:
        return False
    inline_all(schedule, blocks[:place])
    inline_all(schedule, after[:-1])
    height = largest_divisor(rows, 6)
    vectors = largest_divisor(columns // lanes, max(1, 12 // height) if height > 1 else 8)
    last = after[-1].handle if after else schedule.cache_write(matmul, 0, "local")
    loops = schedule.get_loops(last)
    no, ni = schedule.split(loops[-1], [None, vectors * lanes])
    mo, mi = schedule.split(loops[-2], [None, height])
    schedule.reorder(*loops[:-2], mo, no, mi, ni)
    outer = schedule.fuse(*loops[:-2], mo, no)
    if sums[0].work >= 8 * PARALLEL_WORK:
        schedule.parallel(outer)
    blocks_, lane = schedule.split(ni, [None, lanes])
    schedule.vectorize(lane)
    schedule.unroll(blocks_)
    schedule.unroll(mi)
    if after:
        schedule.set_scope(matmul, 0, "local")
    schedule.compute_at(matmul, outer, preserve_unit_loops=True)
    *batch_loops, m, n, k = schedule.get_loops(matmul)[-len(found) :]
    n0, n1 = schedule.split(n, [None, lanes])
    schedule.reorder(k, *batch_loops, m, n0, n1)
    schedule.vectorize(n1)
    schedule.unroll(n0)
    schedule.unroll(m)
    step = largest_divisor(depth, 4)
    if step > 1:
        k, inner = schedule.split(k, [None, step])
        schedule.unroll(inner)
    schedule.decompose_reduction(matmul, k)
    zero = schedule.get_loops(init_block(schedule, outer))
    schedule.vectorize(zero[-1])
    for loop in zero[-3:-1]:
        schedule.unroll(loop)
    return True
