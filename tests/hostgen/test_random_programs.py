"""Random graphs: the host goes the way of the executor, with the same results, errors and state."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from dycl.hostgen.flow import find_flow
from dycl.hostgen.leaves import MAX_OPERATIONS
from dycl.ir.nodes import Block, Branch, Edge, HostOp, Jump, Raise, Return
from dycl.ir.numbering import renumber
from dycl.ir.program import Entry, Param, ParamKind, Program, StateSlot
from dycl.ir.values import BlockId, InputLeaf, Lit, Ref, ScalarKind, ScalarType, Seq, SeqKind, Value, ValueId
from tests.hostgen.harness import compare, host_text, make_host, parse

INT, BOOL = ScalarType(ScalarKind.INT), ScalarType(ScalarKind.BOOL)
NAMES = ("x", "n", "count", "if", "len", "", "h")
FUEL = 40  # every call ends: each block burns one


class Graph:
    """Builds a program over random edges. Every block has three parameters: fuel, and two that it shuffles."""

    def __init__(self, draw: st.DrawFn, blocks: int, entries: int) -> None:
        self._draw = draw
        self._count = blocks
        self._next = 0
        self.blocks: list[Block] = []
        for index in range(blocks):
            self.blocks.append(self._block(index, index < entries, entries))
        self.blocks.append(self._end(entries))

    def value(self, of: ScalarType, name: str = "") -> Value:
        self._next += 1
        return Value(ValueId(self._next - 1), of, name)

    def _edge(self, fuel: Value, pool: list[Value], entries: int) -> Edge:
        target = self._draw(st.integers(entries, self._count - 1))
        args = [self._draw(st.sampled_from([*(Ref(v.id) for v in pool), Lit(7)])) for _ in range(2)]
        return Edge(BlockId(target), (Ref(fuel.id), *args))

    def _block(self, index: int, is_entry: bool, entries: int) -> Block:
        params = tuple(self.value(INT, self._draw(st.sampled_from(NAMES))) for _ in range(3))
        ops: list[HostOp] = []
        pool = list(params[1:])
        for _ in range(self._draw(st.integers(0, 3))):
            function = self._draw(st.sampled_from(["add", "sub", "mul", "max", "neg", "floordiv"]))
            args = [Ref(self._draw(st.sampled_from(pool)).id) for _ in range(1 if function == "neg" else 2)]
            wide = self.value(INT, self._draw(st.sampled_from(NAMES)))
            small = self.value(INT, self._draw(st.sampled_from(NAMES)))
            ops.append(HostOp(function=function, args=tuple(args), result=wide))
            ops.append(HostOp(function="mod", args=(Ref(wide.id), Lit(11)), result=small))
            pool.append(small)
        fuel = self.value(INT, "fuel")
        ops.append(HostOp(function="sub", args=(Ref(params[0].id), Lit(1)), result=fuel))
        spent = self.value(BOOL)
        odd = self.value(INT)
        ops.append(HostOp(function="add", args=(Ref(pool[-1].id), Ref(fuel.id)), result=odd))
        ops.append(HostOp(function="gt", args=(Ref(odd.id), Lit(self._draw(st.integers(-5, 60)))), result=spent))
        kind = self._draw(st.sampled_from(["branch"] * 6 + ["jump", "return", "raise"]))
        state = tuple(Ref(v.id) for v in pool[:1])
        resume = self._draw(st.integers(0, entries - 1))
        result = Seq(SeqKind.TUPLE, (Ref(fuel.id), Ref(pool[-1].id)))
        if is_entry and kind in ("return", "raise"):
            kind = "branch"
        if kind == "return":
            end: Branch | Jump | Return | Raise = Return(value=result, resume=resume, state=state)
        elif kind == "raise":
            end = Raise(class_name="builtins:ValueError", args=(Ref(pool[0].id),), resume=resume, state=state)
        elif kind == "jump":
            end = self._guarded(fuel, pool, entries, ops)
        else:
            end = Branch(cond=spent.id, if_true=self._edge(fuel, pool, entries), if_false=self._guard_edge(fuel, pool))
            if not self._draw(st.booleans()):
                end = Branch(cond=spent.id, if_true=end.if_false, if_false=self._edge(fuel, pool, entries))
        return Block(id=BlockId(index), params=params, ops=tuple(ops), end=end)

    def _guarded(self, fuel: Value, pool: list[Value], entries: int, ops: list[HostOp]) -> Branch:
        left = self.value(BOOL)
        ops.append(HostOp(function="gt", args=(Ref(fuel.id), Lit(0)), result=left))
        return Branch(cond=left.id, if_true=self._edge(fuel, pool, entries), if_false=self._guard_edge(fuel, pool))

    def _guard_edge(self, fuel: Value, pool: list[Value]) -> Edge:
        return Edge(BlockId(self._count), (Ref(fuel.id), Ref(pool[0].id), Ref(pool[-1].id)))

    def _end(self, entries: int) -> Block:
        params = tuple(self.value(INT, name) for name in ("fuel", "x", "n"))
        result = Seq(SeqKind.TUPLE, tuple(Ref(p.id) for p in params))
        ops: list[HostOp] = []  # short ends are written at every place that leads to them, long ones once
        for _ in range(self._draw(st.sampled_from([0, MAX_OPERATIONS + 1]))):
            last = ops[-1].result if ops else params[2]
            ops.append(HostOp(function="neg", args=(Ref(last.id),), result=self.value(INT)))
            result = Seq(SeqKind.TUPLE, (*result.items[:2], Ref(ops[-1].result.id)))
        end = Return(value=result, state=(Ref(params[1].id),))
        return Block(id=BlockId(self._count), params=params, ops=tuple(ops), end=end)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A program over a random graph whose loops all burn fuel."""
    entries = draw(st.integers(1, 3))
    graph = Graph(draw, draw(st.integers(entries + 1, 12)), entries)
    return close(graph.blocks, graph, entries)


def close(blocks: list[Block], graph: Graph, entries: int) -> Program:
    """Put a fuel check on every edge to a block that does not come later."""
    made = list(blocks)
    end = BlockId(len(blocks) - 1)

    def check(source: BlockId, edge: Edge) -> Edge:
        if edge.target > source:
            return edge
        params = tuple(graph.value(INT) for _ in edge.args)
        left = graph.value(BOOL)
        args = tuple(Ref(p.id) for p in params)
        op = HostOp(function="gt", args=(args[0], Lit(0)), result=left)
        number = BlockId(len(made))
        branch = Branch(cond=left.id, if_true=Edge(edge.target, args), if_false=Edge(end, args))
        made.append(Block(id=number, params=params, ops=(op,), end=branch))
        return Edge(number, edge.args)

    for block in blocks:
        if isinstance(block.end, Branch):
            new = Branch(
                cond=block.end.cond,
                if_true=check(block.id, block.end.if_true),
                if_false=check(block.id, block.end.if_false),
            )
            made[block.id] = Block(id=block.id, params=block.params, ops=block.ops, end=new)
    signature = tuple(
        Param(name=name, kind=ParamKind.POSITIONAL_OR_KEYWORD, spec=InputLeaf(i, INT)) for i, name in enumerate("ab")
    )
    starts = tuple(
        Entry(
            block=BlockId(i),
            slots=(StateSlot("kept", Ref(blocks[i].params[2].id)), StateSlot("which", Lit(i))),
            state_params=1,
        )
        for i in range(entries)
    )
    return renumber(Program(name="Random", signature=signature, entries=starts, initial=(Lit(3),), blocks=tuple(made)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.lists(st.integers(-9, 9), min_size=4, max_size=4))
def test_random_graphs(program: Program, seeds: list[int]) -> None:
    compare(program, [(FUEL, seed) for seed in seeds])


def test_the_random_graphs_are_of_all_kinds() -> None:
    kinds: set[tuple[bool, bool, bool]] = set()

    @settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(programs())
    def look(program: Program) -> None:
        flow = find_flow(program)
        kinds.add((flow.reducible, bool(flow.loops), "goto" in host_text(program)))

    look()
    assert {(True, True, False), (True, True, True), (False, False, True)} <= kinds


def test_a_list_that_is_an_input_is_not_appended_to() -> None:
    program = parse("""\
param x: positional_or_keyword = input 0: list[int]
entry b0
b0(%0 x: list[int]):
  %1 x: list[int] = host list_append(%0, 1)
  %2 x: list[int] = host list_append(%1, 2)
  %3: int = host list_len(%1)
  %4 y: list[int] = host list_append(%2, 3)
  return (%4, %3)
""")
    given_list = [0]
    assert make_host(program)(given_list) == ([0, 1, 2, 3], 2)
    assert given_list == [0]


def test_what_may_raise_stays_before_the_decision_and_in_order() -> None:
    program = parse("""\
param x: positional_or_keyword = input 0: int
param y: positional_or_keyword = input 1: int
entry b0
b0(%0: int, %1: int):
  %2: float = host truediv(1, %0)
  %3: float = host math.sqrt(%1)
  %4: bool = host lt(%3, %2)
  %5: int = host floordiv(5, %1)
  branch %4 ? b1 : b2
b1:
  return %5
b2:
  return ((%0, (%1,)), -1)
""")
    compare(program, [(0, -1), (1, -1), (0, 1), (2, 1), (1, 0), (9, 9)])


def test_operators_keep_their_tree() -> None:
    program = parse("""\
param a: positional_or_keyword = input 0: float
param b: positional_or_keyword = input 1: float
entry b0
b0(%0 a: float, %1 b: float):
  %2: float = host add(%0, %1)
  %3: float = host add(%1, %2)
  %4: float = host neg(%3)
  %5: float = host pow(%4, 2)
  %6: bool = host lt(%0, %1)
  %7: bool = host eq(%6, True)
  %8: bool = host not_(%7)
  %9: float = host sub(%5, -1.5)
  return (%9, %8)
""")
    text = host_text(program)
    assert "return (-(b + (a + b))) ** 2 - -1.5, not (a < b) == True" in text
    compare(program, [(0.1, 0.2), (1e16, 1.0), (2.0, -3.0)])


def test_an_unused_result_keeps_the_error_inside_it() -> None:
    program = parse("""\
param x: positional_or_keyword = input 0: int
entry b0
b0(%0: int):
  %1: int = host floordiv(1, %0)
  %2: int = host add(%1, 1)
  return %0
""")
    compare(program, [(1,), (0,)])
