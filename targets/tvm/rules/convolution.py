"""Convolutions of two dimensions, as register tiles: a block of results stays in vector registers while it is summed.

Both rules want the weights as [channels in, height, width, channels out], which `pack_weights` arranges. They differ in
what a vector holds:

`over_width`     pixels of a row: one load of pixels and one number of the weights, broadcast. For rows of whole vectors
                 and steps of one pixel.
`over_channels`  channels of the result: one load of weights and one pixel, broadcast. For whatever width and step. The
                 tile is turned when it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import Block, init_block, inline_all, largest_divisor
from dycl.targets.tvm.rules.elementwise import PARALLEL_WORK

_KINDS = "SSSSRRR"  # image, channel, row, column; channel in, kernel's row, kernel's column


@dataclass(frozen=True, slots=True)
class _Parts:
    """A convolution's function: what pads the input, the sum, and what follows element by element."""

    before: list[Block]
    conv: Block
    after: list[Block]


def over_width(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Vectors of pixels; see above."""
    parts = _find_parts(blocks)
    if parts is None or _column_step(schedule, parts.conv) != 1:
        return False
    _, channels, _, columns, *_ = parts.conv.extents
    lanes = processor.lanes
    while columns % lanes:
        lanes //= 2
    if lanes < 4:
        return False
    vectors = largest_divisor(columns // lanes, 2)
    height = largest_divisor(channels, 6 if vectors == 2 else 12)
    if height * vectors < 4:
        return False
    _tile(schedule, parts, (height, 1, vectors * lanes), lanes, over="columns")
    return True


def over_channels(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Vectors of channels; see above."""
    parts = _find_parts(blocks)
    if parts is None:
        return False
    _, channels, rows, columns, *_ = parts.conv.extents
    lanes = processor.lanes
    while channels % lanes:
        lanes //= 2
    if lanes < 4:
        return False
    vectors = largest_divisor(channels // lanes, 2)
    room = 12 // vectors
    width = largest_divisor(columns, room)
    height = largest_divisor(rows, max(1, room // width))
    _tile(schedule, parts, (vectors * lanes, height, width), lanes, over="channels")
    return True


def depthwise(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Each channel by itself: vectors of pixels, the kernel unrolled."""
    parts = _find_parts(blocks)
    if parts is None:
        return False
    _, _, _, columns, depth, height, width = parts.conv.extents
    sources = int(schedule.get(parts.conv.handle).reads[0].source.shape[1])
    if depth != 1 or sources == 1 or height * width > 49:
        return False
    last, conv = _prepare(schedule, parts), parts.conv.handle
    n, f, y, x = schedule.get_loops(last)
    lanes = largest_divisor(columns, processor.lanes)
    outer, inner = schedule.split(x, [None, lanes])
    row = schedule.fuse(n, f, y)
    if parts.conv.work >= PARALLEL_WORK:
        schedule.parallel(row)
    schedule.vectorize(inner)
    schedule.set_scope(conv, 0, "local")
    schedule.compute_at(conv, outer, preserve_unit_loops=True)
    *_, column, rc, ry, rx = schedule.get_loops(conv)
    schedule.reorder(rc, ry, rx, column)
    schedule.vectorize(column)
    schedule.unroll(rx)
    schedule.unroll(ry)
    schedule.decompose_reduction(conv, rc)
    schedule.vectorize(schedule.get_loops(init_block(schedule, outer))[-1])
    return True


def _find_parts(blocks: list[Block]) -> _Parts | None:
    if not any("conv2d" in block.name for block in blocks):
        return None
    sums = [block for block in blocks if not block.is_elementwise]
    if len(sums) != 1 or sums[0].kinds != _KINDS:
        return None
    place = blocks.index(sums[0])
    after = blocks[place + 1 :]
    if any(block.extents != sums[0].extents[:4] for block in after):
        return None
    return _Parts(blocks[:place], sums[0], after)


def _column_step(schedule: Any, conv: Block) -> int:
    """By how many pixels of the input the next pixel of the result is further."""
    from tvm.sym import detect_linear_equation

    block = schedule.get(conv.handle)
    step, _ = detect_linear_equation(block.reads[0].region[-1].min, [block.iter_vars[3].var])
    return int(step)


def _prepare(schedule: Any, parts: _Parts) -> Any:
    """What follows in one block, the input padded; the block that writes the result."""
    inline_all(schedule, parts.after[:-1])
    inline_all(schedule, parts.before[:-1])
    for block in parts.before[-1:]:
        _pad(schedule, block)
    return parts.after[-1].handle if parts.after else schedule.cache_write(parts.conv.handle, 0, "local")


def _pad(schedule: Any, block: Block) -> None:
    """The padded input row by row, each in vectors as far as it goes."""
    loops = schedule.get_loops(block.handle)
    rows = schedule.fuse(*loops[:-1])
    if block.work >= PARALLEL_WORK:
        schedule.parallel(rows)


def _tile(schedule: Any, parts: _Parts, tile: tuple[int, int, int], lanes: int, *, over: str) -> None:
    """Sum a tile of channels, rows and columns at a time, with vectors over channels or columns."""
    last, conv = _prepare(schedule, parts), parts.conv.handle
    n, f, y, x = schedule.get_loops(last)
    channels, rows, columns = tile
    fo, fi = schedule.split(f, [None, channels])
    yo, yi = schedule.split(y, [None, rows])
    xo, xi = schedule.split(x, [None, columns])
    schedule.reorder(n, fo, yo, xo, fi, yi, xi)
    outer = schedule.fuse(n, fo, yo)
    if parts.conv.work >= PARALLEL_WORK:
        schedule.parallel(outer)
    if parts.after:
        schedule.set_scope(conv, 0, "local")
    schedule.compute_at(conv, xo, preserve_unit_loops=True)
    if over == "channels":
        schedule.transform_layout(conv, ("write", 0), lambda n, f, y, x: (n, y, x, f))
    _, f, y, x, rc, ry, rx = schedule.get_loops(conv)[-7:]
    vector = x if over == "columns" else f
    blocks, lane = schedule.split(vector, [None, lanes])
    inner = (f, y, blocks, lane) if over == "columns" else (y, x, blocks, lane)
    schedule.reorder(rc, ry, rx, *inner)
    schedule.vectorize(lane)
    for loop in (*inner[:-1], rx):
        schedule.unroll(loop)
    schedule.decompose_reduction(conv, rc)
    zero = schedule.get_loops(init_block(schedule, xo))
    schedule.vectorize(zero[-1])
    for loop in zero[-4:-1]:
        schedule.unroll(loop)
    blocks, lane = schedule.split(xi, [None, largest_divisor(columns, lanes)])
    schedule.vectorize(lane)
    for loop in (fi, yi, blocks):
        schedule.unroll(loop)
