"""Let what every way into a block does at its end be done once, in the block: its operands are passed, not its result.

Before (a loop whose next region is cut out at its end, before it is asked whether there is one)::

    b0(%0 x: float32[4, 4], %1 count: int):
      %2: float32[1, 4] = call torch.narrow(%0, 0, 0, 1)
      jump b1(%2, 0)
    b1(%3 region: float32[1, 4], %4 index: int):
      %5: int = host add(%4, 1)
      %6: bool = host lt(%5, %1)
      branch %6 ? b2 : b3
    b2:
      %7: float32[1, 4] = call torch.narrow(%0, 0, %5, 1)
      jump b1(%7, %5)
    b3:
      %8: float32[1, 4] = module head(%3)
      return %8

After, the cut is a part of the dispatch that reads it (`sink-work` takes it there)::

    b0(%0 x: float32[4, 4], %1 count: int):
      jump b1(0)
    b1(%2 index: int):
      %3: int = host add(%2, 1)
      %4: bool = host lt(%3, %1)
      branch %4 ? b1(%3) : b2
    b2:
      %5: float32[1, 4] = call torch.narrow(%0, 0, %2, 1)
      %6: float32[1, 4] = module head(%5)
      return %6

LLVM's SimplifyCFG does so (`sinkCommonCode`). Numbers of the host's sink, too, where nothing more has to be passed for
it: of a size and that size less one, both passed around a loop, one is enough, and the check that compares them is
decided.

Only what has no effect and cannot fail moves, as in `sink-work`, and nothing whose memory is written. It is kept where
calls then take less time.
"""

from __future__ import annotations

from dycl.ir.environment import Environment
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.values import BlockId
from dycl.passes import dead_code, fold_host, simplify_cfg, sink_work
from dycl.passes.analysis.frequency import estimate_call
from dycl.passes.analysis.naming import name_operations
from dycl.passes.common_work import Sunk, find_common

_MOST_TRIED = 8  # joins by themselves, where all together win nothing


def run(program: Program, environment: Environment) -> Program:
    """The program with common work behind its joins."""
    return _sink_all(program, environment)[0]


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """What `run` does to this program, and what it leaves where it is."""
    return _sink_all(program, environment)[1]


def _sink_all(program: Program, environment: Environment) -> tuple[Program, tuple[Note, ...]]:
    notes: list[Note] = []
    program = renumber(program)
    while True:
        together: Program = program
        found: list[Sunk] = []
        while (sunk := find_common(together, environment, [each.join for each in found])) is not None:
            together = sunk.program
            found.append(sunk)
        if not found:
            return program, tuple(notes)
        spent = _estimate(program, environment)
        changed = _tidy(together, environment)
        won = spent - _estimate(changed, environment)
        if won <= 0 and len(found) > 1:  # some of it may be worth it
            changed, won, found = max(
                (_weigh(program, spent, join, environment) for join in [sunk.join for sunk in found][:_MOST_TRIED]),
                key=lambda tried: tried[1],
            )
        notes += (_note(sunk, won) for sunk in found)
        if won <= 0:
            return program, tuple(notes)
        program = changed


def _weigh(
    program: Program, spent: float, join: BlockId, environment: Environment
) -> tuple[Program, float, list[Sunk]]:
    """The program with the work behind this join alone, and what is won by that."""
    sunk = find_common(program, environment, [block.id for block in program.blocks if block.id != join])
    if sunk is None:  # it was found where other work had gone before
        return program, 0.0, []
    changed = _tidy(sunk.program, environment)
    return changed, spent - _estimate(changed, environment), [sunk]


def _note(sunk: Sunk, won: float) -> Note:
    where = "done once behind the join" if won > 0 else "done on each way into the join"
    text = f"{name_operations(sunk.work)}: {where} ({won:+.1f} µs)"
    return Note("sink-common", won > 0, sunk.work[0].loc, text)


def _estimate(program: Program, environment: Environment) -> float:
    """How long a call takes, once work has gone to the sides that need it."""
    return estimate_call(sink_work.run(program, environment), environment)


def _tidy(program: Program, environment: Environment) -> Program:
    for step in (fold_host.run, simplify_cfg.run, dead_code.run):
        program = step(program, environment)
    return renumber(program)
