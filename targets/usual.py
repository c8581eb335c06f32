"""What subgraphs with sizes that only the run knows do in usual calls: what a profile says of their size.

From the program alone nothing is known of them, and they are taken for large. A call that is much larger than those of
the profile is slower for it, and never wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from dycl.ir.environment import Environment
from dycl.ir.executor import Executor, Values
from dycl.ir.nodes import Dispatch
from dycl.ir.program import Program
from dycl.ir.values import SubgraphId
from dycl.targets.samples import has_run_time_sizes
from dycl.targets.work import Watch, Work

_MARGIN = 4  # calls may be so many times larger than those of the profile


class _Worker(Executor):
    """The reference executor, which watches what subgraphs do."""

    def __init__(self, program: Program, environment: Environment) -> None:
        super().__init__(program, environment)
        self.found: dict[SubgraphId, Work] = {}
        self._wanted = {subgraph.id for subgraph in program.subgraphs if has_run_time_sizes(subgraph)}

    def _run_dispatch(self, op: Dispatch, values: Values) -> None:
        if op.subgraph not in self._wanted:
            super()._run_dispatch(op, values)
            return
        with Watch() as watch:
            super()._run_dispatch(op, values)
        work = Work(_MARGIN * watch.work.heaviest, _MARGIN * watch.work.size)
        self.found[op.subgraph] = work.or_more(self.found.get(op.subgraph, work))


def find_usual_work(program: Program, environment: Environment) -> Mapping[SubgraphId, Work]:
    """What the subgraphs of run-time sizes do in the calls of the environment, those that any of them reaches."""
    if not environment.calls or not any(map(has_run_time_sizes, program.subgraphs)):
        return {}
    worker = _Worker(program, environment)
    for seed, call in enumerate(environment.calls):
        worker.reset()
        worker.random.seed(seed)
        args, kwargs = copy.deepcopy(call)  # the model may write into what it is given
        try:
            worker.call(*args, **kwargs)
        except Exception:  # whatever the model raises
            continue
    return worker.found
