"""The schedule rules in the order in which they are tried: the first that takes a function schedules it.

A rule is `rule(schedule, blocks, processor) -> bool`. It says no before it has changed anything, or fails: either way
the next one gets the function as it was. A function that none takes, or whose sizes are not known, stays as TVM wrote
it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dycl.targets.tvm.processor import Processor
from dycl.targets.tvm.rules.blocks import Block, find_blocks
from dycl.targets.tvm.rules.convolution import depthwise, over_channels, over_width
from dycl.targets.tvm.rules.elementwise import elementwise
from dycl.targets.tvm.rules.products import product
from dycl.targets.tvm.rules.reductions import reductions

RULES: tuple[Callable[[Any, list[Block], Processor], bool], ...] = (
    elementwise,
    depthwise,
    over_width,
    over_channels,
    product,
    reductions,
)


def apply_rules(module: Any, processor: Processor) -> Any:
    """The module, each of its functions scheduled; the attribute `dycl.rule` of a function names the rule."""
    from tvm.tirx import PrimFunc

    for name, function in list(module.functions.items()):
        scheduled = _apply(function, processor) if isinstance(function, PrimFunc) else None
        if scheduled is not None:
            module[name] = scheduled
    return module


def _apply(function: Any, processor: Processor) -> Any:
    """The function as the first rule schedules it; None if none does."""
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    schedule = Schedule(function, error_render_level="fast")
    try:
        blocks = find_blocks(schedule)
    except ScheduleError:
        return None  # written by hand in TVM, without blocks
    if blocks is None:
        return None
    for rule in RULES:
        try:
            if rule(schedule, blocks, processor):
                main = schedule.mod["main"].with_attr("tirx.is_scheduled", True)
                return main.with_attr("dycl.rule", rule.__name__)
        except ScheduleError:  # with some of its steps taken
            schedule = Schedule(function, error_render_level="fast")
            blocks = find_blocks(schedule) or []
    return None
