"""Decide comparisons of sizes, counts and lengths that can only go one way.

Before::

    b0(%0 x: float32[u0, 4]):
      %1: int = host size(%0, 0)
      %2: bool = host eq(%1, 0)
      branch %2 ? b1 : b2
    b1:
      return 0
    b2:
      %3: int = host sub(%1, 1)
      %4: bool = host ge(%3, 0)
      branch %4 ? b3 : b4
    b3:
      return 1
    b4:
      raise builtins:IndexError('empty')

After::

    b0(%0 x: float32[u0, 4]):
      %1: int = host size(%0, 0)
      %2: bool = host eq(%1, 0)
      branch %2 ? b1 : b2
    b1:
      return 0
    b2:
      jump b3
    b3:
      return 1

What torch checks before it indexes, stacks or masks has become decisions, and much of it was asked before in other
words. Each such decision stands between two dispatches that could be one. LLVM calls this correlated value propagation.

Sound because `analysis/ranges.py` tells of integers only what holds in each run that comes there, and Python's own
comparisons of integers neither round nor raise.
"""

from __future__ import annotations

from dataclasses import replace

from dycl.ir.environment import Environment
from dycl.ir.nodes import HostOp, Op
from dycl.ir.notes import Note
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution
from dycl.ir.values import Lit
from dycl.passes import dead_code
from dycl.passes.analysis.ranges import COMPARISONS, Ranges
from dycl.passes.rewriting import replace_values


def run(program: Program, environment: Environment) -> Program:
    """The program without comparisons that can only go one way."""
    decided = program
    while found := _decide_all(decided):
        decided = _without(decided, found)
    return program if decided is program else dead_code.run(decided, environment)


def explain(program: Program, environment: Environment) -> tuple[Note, ...]:
    """The decisions that `run` takes."""
    del environment
    notes: list[Note] = []
    while found := _decide_all(program):
        for op in (op for block in program.blocks for op in block.ops if isinstance(op, HostOp)):
            truth = found.get(op.result.id)
            if isinstance(truth, Lit):
                text = f"{op.function}: always {truth.value}, so nothing is decided"
                notes.append(Note("propagate", True, op.loc, text))
        program = _without(program, found)
    return tuple(notes)


def _without(program: Program, found: Substitution) -> Program:
    """The program without comparisons of which it is known what they give."""
    blocks = tuple(
        replace(block, ops=tuple(op for op in block.ops if not _is_in(op, found))) for block in program.blocks
    )
    # A way that is gone no longer says what its end is given.
    return renumber(replace_values(replace(program, blocks=blocks), found))


def _decide_all(program: Program) -> Substitution:
    """The comparisons that can only go one way, and which."""
    comparisons = [
        (block.id, op)
        for block in program.blocks
        for op in block.ops
        if isinstance(op, HostOp) and op.function in COMPARISONS
    ]
    if not comparisons:
        return {}
    ranges = Ranges(program)
    decided = ((op.result.id, ranges.decide(op, block)) for block, op in comparisons)
    return {value: Lit(truth) for value, truth in decided if truth is not None}


def _is_in(op: Op, found: Substitution) -> bool:
    return isinstance(op, HostOp) and op.result.id in found
