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


@dataclass(frozen=True, slots=True)
class Tile:
    """What is summed at a time: so many channels, rows and columns, in vectors of `lanes` over one of them."""

    over: str
    channels: int
    rows: int
    columns: int
    lanes: int


def over_width(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Vectors of pixels; see above."""
    parts = _find_parts(blocks)
    if parts is None:
        return False
    tile = _tile_of_columns(schedule.get(parts.conv.handle), parts.conv.extents, processor)
    return tile is not None and _sum_tiles(schedule, parts, tile, processor)


def over_channels(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Vectors of channels; see above."""
    parts = _find_parts(blocks)
    if parts is None:
        return False
    tile = _tile_of_channels(parts.conv.extents, processor)
    return tile is not None and _sum_tiles(schedule, parts, tile, processor)


def find_tile(block: Any, extents: tuple[int, ...], processor: Processor) -> Tile | None:
    """How one of the two rules would sum a convolution: TVM's block and its extents. None if neither takes it."""
    return _tile_of_columns(block, extents, processor) or _tile_of_channels(extents, processor)


def _tile_of_columns(block: Any, extents: tuple[int, ...], processor: Processor) -> Tile | None:
    if _column_step(block) != 1:
        return None
    _, channels, _, columns, *_ = extents
    lanes = processor.lanes
    while columns % lanes:
        lanes //= 2
    vectors = largest_divisor(columns // lanes, 2)
    height = largest_divisor(channels, 6 if vectors == 2 else 12)
    if lanes < 4 or height * vectors < 4:
        return None
    return Tile("columns", height, 1, vectors * lanes, lanes)


def _tile_of_channels(extents: tuple[int, ...], processor: Processor) -> Tile | None:
    _, channels, rows, columns, *_ = extents
    lanes = processor.lanes
    while channels % lanes:
        lanes //= 2
    if lanes < 4:
        return None
    vectors = largest_divisor(channels // lanes, 2)
    room = 12 // vectors
    width = largest_divisor(columns, room)
    height = largest_divisor(rows, max(1, room // width))
    return Tile("channels", vectors * lanes, height, width, lanes)


def depthwise(schedule: Any, blocks: list[Block], processor: Processor) -> bool:
    """Each channel by itself: vectors of pixels, the kernel unrolled."""
    parts = _find_parts(blocks)
    if parts is None:
        return False
    _, _, _, columns, depth, height, width = parts.conv.extents
    if depth != 1 or height * width > 49 or int(schedule.get(parts.conv.handle).reads[0].source.shape[1]) == 1:
        return False
    lanes = largest_divisor(columns, processor.lanes)
    last, conv = _prepare(schedule, parts, processor.lanes), parts.conv.handle
    n, f, y, x = schedule.get_loops(last)
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


def is_convolution(name: str, kinds: str) -> bool:
    """Whether a block of that name with such iterators sums a convolution of two dimensions."""
    return "conv2d" in name and kinds == _KINDS


def _find_parts(blocks: list[Block]) -> _Parts | None:
    sums = [block for block in blocks if not block.is_elementwise]
    if len(sums) != 1 or not is_convolution(sums[0].name, sums[0].kinds):
        return None
    place = blocks.index(sums[0])
    after = blocks[place + 1 :]
    if any(block.extents != sums[0].extents[:4] for block in after):
        return None
    return _Parts(blocks[:place], sums[0], after)


def _column_step(block: Any) -> int:
    """By how many pixels of the input the next pixel of the result is further."""
    from tvm.sym import detect_linear_equation

    step, _ = detect_linear_equation(block.reads[0].region[-1].min, [block.iter_vars[3].var])
    return int(step)


def _prepare(schedule: Any, parts: _Parts, lanes: int) -> Any:
    """What follows in one block, the input padded; the block that writes the result."""
    inline_all(schedule, parts.after[:-1])
    inline_all(schedule, parts.before[:-1])
    for block in parts.before[-1:]:
        if _is_copy(schedule, block):  # padding by nothing
            schedule.compute_inline(block.handle)
        else:
            _pad(schedule, block, lanes)
    return parts.after[-1].handle if parts.after else schedule.cache_write(parts.conv.handle, 0, "local")


def _pad(schedule: Any, block: Block, lanes: int) -> None:
    """The input as it is summed, row by row; where that is padding, zeros first, and then what lies within them."""
    handle, pads = block.handle, _is_padding(schedule, block)
    if pads:
        zeros = schedule.decompose_padding(handle, schedule.get_loops(handle)[0])
        schedule.fuse(*schedule.get_loops(zeros))  # which LLVM sees to be a call of memset
    *outer, row = schedule.get_loops(handle)
    rows = schedule.fuse(*outer)
    if block.work >= PARALLEL_WORK:
        schedule.parallel(rows)
    if pads:
        _vectorise(schedule, row, lanes)


def _is_copy(schedule: Any, block: Block) -> bool:
    from tvm.ir import TensorLoad

    return isinstance(schedule.get(block.handle).body.value, TensorLoad)


def _is_padding(schedule: Any, block: Block) -> bool:
    """Whether all that the block does is to choose between an element and a constant."""
    from tvm import tirx

    value = schedule.get(block.handle).body.value
    chooses = getattr(getattr(value, "op", None), "name", "") == "prim.if_then_else"
    return chooses and isinstance(value.args[2], tirx.FloatImm)


def _vectorise(schedule: Any, loop: Any, lanes: int) -> None:
    """The loop in whole vectors, if some that are not too short divide it; else LLVM may find a way."""
    size = int(schedule.get(loop).extent)
    while size % lanes:
        lanes //= 2
    if lanes >= 4:
        _, lane = schedule.split(loop, [None, lanes])
        schedule.vectorize(lane)


def _sum_tiles(schedule: Any, parts: _Parts, tile: Tile, processor: Processor) -> bool:
    """Sum a tile at a time, and write it with what follows."""
    last, conv = _prepare(schedule, parts, processor.lanes), parts.conv.handle
    n, f, y, x = schedule.get_loops(last)
    fo, fi = schedule.split(f, [None, tile.channels])
    yo, yi = schedule.split(y, [None, tile.rows])
    xo, xi = schedule.split(x, [None, tile.columns])
    schedule.reorder(n, fo, yo, xo, fi, yi, xi)
    outer = schedule.fuse(n, fo, yo)
    if parts.conv.work >= PARALLEL_WORK:
        schedule.parallel(outer)
    if parts.after:
        schedule.set_scope(conv, 0, "local")
    schedule.compute_at(conv, xo, preserve_unit_loops=True)
    if tile.over == "channels":
        schedule.transform_layout(conv, ("write", 0), lambda n, f, y, x: (n, y, x, f))
    _, f, y, x, rc, ry, rx = schedule.get_loops(conv)[-7:]
    vector = x if tile.over == "columns" else f
    blocks, lane = schedule.split(vector, [None, tile.lanes])
    inner = (f, y, blocks, lane) if tile.over == "columns" else (y, x, blocks, lane)
    schedule.reorder(rc, ry, rx, *inner)
    schedule.vectorize(lane)
    for loop in (*inner[:-1], rx):
        schedule.unroll(loop)
    schedule.decompose_reduction(conv, rc)
    zero = schedule.get_loops(init_block(schedule, xo))
    schedule.vectorize(zero[-1])
    for loop in zero[-4:-1]:
        schedule.unroll(loop)
    blocks, lane = schedule.split(xi, [None, largest_divisor(tile.columns, tile.lanes)])
    schedule.vectorize(lane)
    for loop in (fi, yi, blocks):
        schedule.unroll(loop)
    return True
