"""Which ways through a program calls take: the profile that `speculate` goes by."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from dycl.ir.environment import Environment
from dycl.ir.executor import Executor, Values
from dycl.ir.nodes import Block, Branch, Edge
from dycl.ir.program import Program
from dycl.ir.values import BlockId

Way = list[tuple[BlockId, int]]  # the blocks of a call, and by which of its edges each is left


class _Tracer(Executor):
    """The reference executor, which notes the blocks that a call goes through, and by which edge it leaves each."""

    def trace(self, args: Sequence[object], kwargs: dict[str, object]) -> Way:
        """The way of a call; one that raises has a way as far as that."""
        self._way: Way = []
        self._open: list[int] = []  # of the blocks that a branch will end: their positions
        try:
            self.call(*args, **kwargs)
        except Exception:  # whatever the model raises
            self.reset()
        return self._way

    def _enter(self, block: Block, args: Sequence[object], before: Values) -> Values:
        if isinstance(block.end, Branch):
            self._open.append(len(self._way))
        self._way.append((block.id, 0))
        return super()._enter(block, args, before)

    def _choose(self, block: Block, end: Branch, values: Values) -> Edge:
        edge = super()._choose(block, end, values)
        self._way[self._open.pop()] = (block.id, 0 if edge is end.if_true else 1)
        return edge


def find_ways(program: Program, environment: Environment, most: int | None = None) -> list[Way]:
    """The way of each of the calls in the environment, or of the first few."""
    tracer = _Tracer(program, environment)
    ways = []
    for seed, call in enumerate(environment.calls[:most]):
        tracer.reset()
        tracer.random.seed(seed)
        args, kwargs = copy.deepcopy(call)  # the model may write into what it is given
        ways.append(tracer.trace(args, kwargs))
    return ways
