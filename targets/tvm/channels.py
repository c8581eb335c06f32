"""Convolutions over whatever number of channels: those that differ in nothing else are one kernel.

Where each layer reads what all before it have made, no two convolutions are alike, and to compile them is most of a
compile. Here the number becomes a variable, which the kernel reads from the shapes of its arguments. It is found by
position (this axis of that buffer, this loop), not by its value: what has the same value elsewhere stays as it is. The
loop over these channels is the outermost of those that sum, and runs as often as it did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any

from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import CHANNELS, kinds_of
from dycl.targets.tvm.rules.convolution import find_tile, is_convolution
from dycl.targets.tvm.rules.elementwise import PARALLEL_WORK

_FEWEST = 2  # one channel is what the rule for each channel by itself takes


def free_channels(function: Any, processor: Processor) -> Any:
    """The function for any number of channels, if it is a convolution that is summed in tiles; else as it is."""
    seen = _look_at(function)
    for block in seen.blocks:
        extents = tuple(_number(item.dom.extent) or 0 for item in block.iter_vars)  # 0: known at run time only
        if not is_convolution(str(block.name_hint), kinds_of(block)) or min(extents) < 1 or extents[4] < _FEWEST:
            continue
        if find_tile(block, extents, processor) is not None:
            channels = _Channels(extents[4], seen)
            channels.follow(block.iter_vars[4].var)
            if any(buffer in function.params for buffer, _ in channels.axes):
                return channels.rewrite(function).with_attr(CHANNELS, channels.typical())
    return function


@dataclass(slots=True)
class _Seen:
    """What a function consists of; `extents` by the variable of a loop or of a block's iterator."""

    blocks: list[Any] = field(default_factory=list)
    extents: dict[Any, Any] = field(default_factory=dict)
    bindings: list[tuple[Any, Any]] = field(default_factory=list)  # an iterator's variable, what it is bound to
    accesses: list[tuple[Any, Any]] = field(default_factory=list)  # a buffer, the indices


def _look_at(function: Any) -> _Seen:
    import tvm_ffi
    from tvm import tirx
    from tvm.ir import TensorLoad
    from tvm.s_tir import SBlock, SBlockRealize

    seen = _Seen()

    def bind(realize: Any) -> None:
        variables = [item.var for item in realize.block.iter_vars]
        seen.bindings.extend(zip(variables, realize.iter_values, strict=True))

    callbacks = (
        (SBlock, seen.blocks.append),
        (SBlockRealize, bind),
        (tirx.For, lambda loop: seen.extents.update({loop.loop_var: loop.extent})),
        (tirx.IterVar, lambda item: seen.extents.update({item.var: item.dom.extent})),
        (TensorLoad, lambda load: seen.accesses.append((load.source, load.indices))),
        (tirx.BufferStore, lambda store: seen.accesses.append((store.buffer, store.indices))),
    )
    tvm_ffi.structural_walk(function, callbacks)
    return seen


class _Channels:
    """What of a function is as large as there are channels: loops and iterators by variable, axes of buffers."""

    def __init__(self, size: int, seen: _Seen) -> None:
        self.axes: set[tuple[Any, int]] = set()
        self._size = size
        self._seen = seen
        self._variables: set[Any] = set()

    def follow(self, variable: Any) -> None:
        """From one variable to all that is as large because it is, or is indexed by, the same."""
        self._variables.add(variable)
        before = -1
        while before != (before := len(self._variables) + len(self.axes)):
            for pair in self._seen.bindings:
                if any(each in self._variables for each in pair) and all(map(self._has_size, pair)):
                    self._variables.update(pair)
            for buffer, indices in self._seen.accesses:
                for axis, index in enumerate(indices):
                    if _number(buffer.shape[axis]) == self._size and self._has_size(index):
                        self._match((buffer, axis), index)

    def typical(self) -> int:
        """The least number of channels for which the rules use threads as they do for this one."""
        works = []
        for block in self._seen.blocks:
            sizes = [int(item.dom.extent) for item in block.iter_vars]
            if any(item.var in self._variables for item in block.iter_vars):
                works.append(prod(sizes) // self._size)
        bounds = [ceil(PARALLEL_WORK / work) for work in works]
        return max(bound for bound in (_FEWEST, *bounds) if bound <= self._size)

    def rewrite(self, function: Any) -> Any:
        """The function with a variable for the number."""
        import tvm_ffi
        from tvm import tirx
        from tvm.ir import Range, Var

        count = tirx.Var("channels", "int64")
        buffers = {buffer: _resized(buffer, self.axes, count) for buffer, _ in self.axes}

        def loop(found: Any) -> Any:
            if found.loop_var not in self._variables:
                return found
            return tirx.For(found.loop_var, found.min, count, found.kind, found.body)

        def iterator(found: Any) -> Any:
            if found.var not in self._variables:
                return found
            return tirx.IterVar(Range(found.dom.min, count), found.var, found.iter_type)

        callbacks = ((Var, lambda found: buffers.get(found, found)), (tirx.For, loop), (tirx.IterVar, iterator))
        return tvm_ffi.structural_map(function, callbacks)

    def _has_size(self, found: Any) -> bool:
        """Whether it is a variable with so many values, from zero on."""
        return found in self._seen.extents and _number(self._seen.extents[found]) == self._size

    def _match(self, place: tuple[Any, int], index: Any) -> None:
        if index in self._variables:
            self.axes.add(place)
        elif place in self.axes:
            self._variables.add(index)


def _resized(buffer: Any, axes: set[tuple[Any, int]], count: Any) -> Any:
    from tvm import tirx

    shape = [count if (buffer, axis) in axes else size for axis, size in enumerate(buffer.shape)]
    found = buffer.ty
    return tirx.decl_buffer(
        shape,
        found.dtype,
        buffer.name,
        elem_offset=found.elem_offset,
        scope=found.storage_scope,
        data_alignment=found.data_alignment,
        offset_factor=found.offset_factor,
        layout=found.layout,
    )


def _number(size: Any) -> int | None:
    """An extent that is known."""
    from tvm import tirx

    return int(size) if isinstance(size, tirx.IntImm) else None
