"""Compute each host value of a block once.

Before::

    b0(%0 x: float32[1, 4]):
      %1: float32[] = call torch.sum(%0)
      %2: float = host item(%1)
      %3: float = host item(%1)
      %4: float = host add(%2, %3)
      return %4

After::

    b0(%0 x: float32[1, 4]):
      %1: float32[] = call torch.sum(%0)
      %2: float = host item(%1)
      %3: float = host add(%2, %2)
      return %3

Sound because host operations are functions of their operands: a tensor that is written has another name afterwards, and
a tunable cannot change during a call. What raises, raises at the first of the equal operations.
"""

from __future__ import annotations

from dataclasses import replace

from dycl.ir.environment import Environment
from dycl.ir.nodes import Block, HostOp, Op
from dycl.ir.numbering import renumber
from dycl.ir.program import Program
from dycl.ir.substitution import Substitution
from dycl.ir.values import Ref, ScalarType, ValueId
from dycl.passes.rewriting import operand_key, replace_values


def run(program: Program, environment: Environment) -> Program:
    """The program in which no block computes a host value twice."""
    while repeats := find_repeats(program):
        blocks = tuple(_without(block, set(repeats)) for block in program.blocks)
        program = replace_values(replace(program, blocks=blocks), repeats)
    return renumber(program)


def find_repeats(program: Program) -> Substitution:
    """The results that equal an earlier one of their block, and that one."""
    found: Substitution = {}
    for block in program.blocks:
        seen: dict[tuple[str, ...], ValueId] = {}
        for op in block.ops:
            if isinstance(op, HostOp) and isinstance(op.result.type, ScalarType):  # two lists are two objects
                # operand_key, because 1 == 1.0 == True in Python and not in a program
                key = (op.function, *(operand_key(arg) for arg in op.args))
                first = seen.setdefault(key, op.result.id)
                if first != op.result.id:
                    found[op.result.id] = Ref(first)
    return found


def _without(block: Block, dropped: set[ValueId]) -> Block:
    return replace(block, ops=tuple(op for op in block.ops if not _is_dropped(op, dropped)))


def _is_dropped(op: Op, dropped: set[ValueId]) -> bool:
    return isinstance(op, HostOp) and op.result.id in dropped
