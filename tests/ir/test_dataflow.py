"""Definitions, uses and liveness."""

from __future__ import annotations

from dycl.ir.dataflow import (
    Use,
    definitions,
    edge_bindings,
    find_liveness,
    mutated_values,
    op_reads,
    op_uses,
    uses,
    value_types,
)
from dycl.ir.values import BlockId, Lit, Ref, ScalarKind, ScalarType, ValueId
from tests.ir.tangled import PROGRAM


def values(*numbers: int) -> frozenset[ValueId]:
    return frozenset(ValueId(number) for number in numbers)


def test_definitions_and_uses() -> None:
    defined = definitions(PROGRAM)
    assert (defined[ValueId(20)].block, defined[ValueId(20)].index) == (0, -1)
    assert (defined[ValueId(71)].block, defined[ValueId(71)].index) == (7, 1)
    assert defined[ValueId(42)].index == 0
    assert ValueId(9) not in defined  # a subgraph is a scope of its own
    found = uses(PROGRAM)
    assert found[ValueId(70)] == (Use(BlockId(0), 0), Use(BlockId(2), 0), Use(BlockId(6), 0), *(
        Use(BlockId(7), 1), Use(BlockId(7), 2)))  # fmt: skip
    assert found[ValueId(41)] == (Use(BlockId(4), 0),)  # what is written is used
    assert ValueId(22) in found and ValueId(42) not in found


def test_what_is_written_is_used_and_not_read() -> None:
    (write,) = PROGRAM.block(BlockId(4)).ops
    assert (op_reads(write), op_uses(write)) == ((ValueId(40),), (ValueId(40), ValueId(41)))
    assert mutated_values(PROGRAM) == values(41)


def test_all_that_is_defined_has_a_type() -> None:
    types = value_types(PROGRAM)
    assert types.keys() == definitions(PROGRAM).keys()
    assert types[ValueId(71)] == ScalarType(ScalarKind.BOOL)


def test_the_next_blocks_get_arguments_edge_by_edge() -> None:
    found = [(param.id, arg) for param, arg in edge_bindings(PROGRAM, PROGRAM.block(BlockId(2)))]
    assert found == [(20, Ref(ValueId(22))), (20, Lit(0))]
    assert list(edge_bindings(PROGRAM, PROGRAM.block(BlockId(6)))) == []


def test_liveness() -> None:
    live = find_liveness(PROGRAM)
    assert live.live_in[BlockId(0)] == values(70, 71)
    assert live.live_in[BlockId(2)] == values(20, 70, 71)
    assert live.live_out[BlockId(2)] == values(70, 71)
    assert live.live_in[BlockId(6)] == values(20, 70)
    assert live.live_in[BlockId(7)] == live.live_in[BlockId(3)] == values()
    assert live.live_out[BlockId(7)] == values(70, 71)
    assert live.live_out[BlockId(6)] == values()
