"""What is known of the host's whole numbers is true in every run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.hostops import HOST_FUNCTIONS
from dycl.ir.nodes import HostOp
from dycl.ir.parser import parse_ir
from dycl.ir.program import Program
from dycl.ir.values import Lit
from dycl.ir.verifier import verify
from dycl.passes import propagate
from dycl.passes.analysis.ranges import COMPARISONS, Ranges

NOTHING = Environment(weights={}, modules={})
HEAD = """program P method forward
dimension u0 from 0
dimension u1 from 0
param x: positional_or_keyword = input 0: float32[{sizes}]
entry b0

b0(%0 x: float32[{sizes}]):
"""


@dataclass
class Writer:
    """Writes a random program of integers: arithmetic, lists that grow, branches and loops with parameters."""

    rng: random.Random
    blocks: list[list[str]] = field(default_factory=lambda: [[]])
    numbers: int = 1

    def fresh(self) -> str:
        self.numbers += 1
        return f"%{self.numbers - 1}"

    def op(self, text: str, kind: str = "int") -> str:
        name = self.fresh()
        self.blocks[-1].append(f"  {name}: {kind} = host {text}")
        return name

    def number(self, known: list[str]) -> str:
        return self.rng.choice([*known, *known, str(self.rng.randrange(-2, 5))])

    def compute(self, known: list[str]) -> str:
        function = self.rng.choice(["add", "add", "sub", "sub", "mul", "min", "max", "mod", "neg", "abs"])
        if function in ("neg", "abs"):
            return self.op(f"{function}({self.rng.choice(known)})")
        second = str(self.rng.randrange(1, 4)) if function in ("mod", "mul") else self.number(known)
        return self.op(f"{function}({self.rng.choice(known)}, {second})")

    def compare(self, known: list[str]) -> str:
        function = self.rng.choice(["eq", "ne", "lt", "le", "gt", "ge"])
        return self.op(f"{function}({self.rng.choice(known)}, {self.number(known)})", "bool")

    def statements(self, known: list[str], items: str, depth: int) -> tuple[list[str], str]:
        """The integers and the list that are in scope afterwards."""
        for _ in range(self.rng.randrange(1, 5)):
            match self.rng.choice(["compute", "compute", "append", "branch", "branch", "loop"]):
                case "append":
                    items = self.op(f"list_append({items}, {self.number(known)})", "list[int]")
                    known = [*known, self.op(f"list_len({items})")]
                case "branch" if depth:
                    known, items = self.branch(known, items, depth)
                case "loop" if depth:
                    known, items = self.loop(known, items, depth)
                case _:
                    known = [*known, self.compute(known)]
        return known, items

    def open(self, params: list[str], kinds: list[str]) -> int:
        """Begin a block; its number is where it stands."""
        header = ", ".join(f"{name}: {kind}" for name, kind in zip(params, kinds, strict=True))
        self.blocks.append([f"b{len(self.blocks)}({header}):" if params else f"b{len(self.blocks)}:"])
        return len(self.blocks) - 1

    def branch(self, known: list[str], items: str, depth: int) -> tuple[list[str], str]:
        condition, start = self.compare(known), len(self.blocks) - 1
        ends, sides = [], []
        for _ in range(2):
            sides.append(self.open([], []))
            inner, grown = self.statements(known, items, depth - 1)
            ends.append((len(self.blocks) - 1, [self.rng.choice(inner), inner[-1], grown]))
        params = [self.fresh() for _ in range(3)]
        join = self.open(params, ["int", "int", "list[int]"])
        self.blocks[start].append(f"  branch {condition} ? b{sides[0]} : b{sides[1]}")
        for block, args in ends:
            self.blocks[block].append(f"  jump b{join}({', '.join(args)})")
        return [*known, *params[:2]], params[2]

    def loop(self, known: list[str], items: str, depth: int) -> tuple[list[str], str]:
        """Up to four rounds; an integer that is carried along, another one beside it, and the list."""
        given = ["0", self.number(known), self.number(known), items]
        params, kinds = [self.fresh() for _ in given], ["int", "int", "int", "list[int]"]
        before = len(self.blocks) - 1
        header = self.open(params, kinds)
        self.blocks[before].append(f"  jump b{header}({', '.join(given)})")
        condition = self.op(f"lt({params[0]}, {self.rng.choice(['2', '4', '1'])})", "bool")
        body = self.open([], [])
        inner, grown = self.statements([*known, *params[:3]], params[3], depth - 1)
        index = self.op(f"add({params[0]}, 1)")
        along = self.op(f"add({params[1]}, 1)") if self.rng.random() < 0.7 else self.rng.choice(inner)
        third = along if self.rng.random() < 0.3 else self.compute([*inner, params[2]])
        self.blocks[-1].append(f"  jump b{header}({index}, {along}, {third}, {grown})")
        after = self.open([], [])
        self.blocks[header].append(f"  branch {condition} ? b{body} : b{after}")
        return [*known, *params[:3]], params[3]

    def program(self) -> Program:
        known, items = self.statements([self.op("size(%0, 0)"), self.op("size(%0, 1)")], "[]", 2)
        known = [*known, self.op(f"list_len({items})")]
        truths = [self.compare(known) for _ in range(3)]
        self.blocks[-1].append(f"  return ({', '.join([*known, *truths])})")
        return parse_ir(HEAD.format(sizes="u0, u1") + "\n\n".join("\n".join(lines) for lines in self.blocks) + "\n")


def results(program: Program) -> list[object]:
    executor = Executor(program, NOTHING)
    return [executor.run([torch.zeros(rows, columns)]) for rows in range(4) for columns in (0, 1, 3)]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_random_program_of_integers_means_the_same(seed: int) -> None:
    program = Writer(random.Random(seed)).program()
    verify(program, after="the test")
    changed = propagate.run(program, NOTHING)
    verify(changed, after="propagate")
    assert results(changed) == results(program)


def test_something_is_known_of_many_comparisons_and_not_of_all() -> None:
    found = []
    for seed in range(60):
        program = Writer(random.Random(seed)).program()
        ranges = Ranges(program)
        found += [
            ranges.decide(op, block.id)
            for block in program.blocks
            for op in block.ops
            if isinstance(op, HostOp) and op.function in COMPARISONS
        ]
    assert min(found.count(True), found.count(False), found.count(None)) > len(found) / 20


def decide(body: str) -> list[bool | None]:
    """What is known of the comparisons of a program, in order."""
    program = parse_ir(HEAD.format(sizes="u0, u1") + body)
    verify(program, after="the test")
    ranges = Ranges(program)
    ops = [(block.id, op) for block in program.blocks for op in block.ops if isinstance(op, HostOp)]
    return [ranges.decide(op, block) for block, op in ops if op.function in COMPARISONS]


def test_a_size_is_no_less_than_nothing() -> None:
    body = """
  %1: int = host size(%0, 0)
  %2: bool = host ge(%1, 0)
  %3: bool = host eq(%1, -1)
  %4: bool = host gt(%1, 0)
  return (%2, %3, %4)
"""
    assert decide(body) == [True, False, None]


def test_each_side_of_a_branch_knows_its_condition() -> None:
    body = """
  %1: int = host size(%0, 0)
  %2: bool = host eq(%1, 0)
  %3: bool = host not_(%2)
  branch %3 ? b1 : b2

b1:
  %4: int = host sub(%1, 1)
  %5: bool = host ge(%4, 0)
  %6: bool = host lt(%4, %1)
  return (%5, %6)

b2:
  %7: bool = host lt(%1, 1)
  return %7
"""
    assert decide(body) == [None, True, True, True]


def test_what_one_side_knows_the_join_does_not() -> None:
    body = """
  %1: int = host size(%0, 0)
  %2: bool = host eq(%1, 0)
  branch %2 ? b1 : b2

b1:
  jump b2

b2:
  %3: bool = host eq(%1, 0)
  return %3
"""
    assert decide(body) == [None, None]


def test_a_loop_carries_a_size_and_the_size_less_one() -> None:
    body = """
  %1: int = host size(%0, 0)
  %2: int = host sub(%1, 1)
  jump b1(%1, %2, 0)

b1(%3: int, %4: int, %5: int):
  %6: int = host add(%4, 1)
  %7: bool = host eq(%6, %3)
  %8: int = host add(%5, 1)
  %9: bool = host gt(%8, 0)
  %10: bool = host lt(%8, 5)
  %11: int = host mul(%3, 2)
  %12: int = host sub(%11, 1)
  branch %10 ? b1(%11, %12, %8) : b2

b2:
  return (%7, %9)
"""
    assert decide(body) == [True, True, None]


def test_a_list_to_which_something_is_appended_is_not_empty() -> None:
    body = """
  %1: list[int] = host list_append([], 7)
  jump b1(%1, 0)

b1(%2: list[int], %3: int):
  %4: int = host list_len(%2)
  %5: bool = host ne(%4, 0)
  %6: int = host add(%3, 1)
  %7: bool = host eq(%4, %6)
  %8: list[int] = host list_append(%2, %3)
  %9: bool = host lt(%6, 3)
  branch %9 ? b1(%8, %6) : b2

b2:
  return (%5, %7)
"""
    assert decide(body) == [True, True, None]


def test_an_index_that_a_list_does_not_have_leaves_its_length_open() -> None:
    body = """
  %1: int = host size(%0, 0)
  %2: list[int] = host list_append([], 7)
  %3: list[int] = host list_set(%2, %1, 8)
  %4: int = host list_len(%3)
  %5: bool = host eq(%4, 1)
  %6: list[int] = host list_delete(%2, %1)
  %7: int = host list_len(%6)
  %8: bool = host eq(%7, 0)
  return (%5, %8)
"""
    assert decide(body) == [None, None]


def test_what_is_stacked_has_as_many_rows_as_the_list_items() -> None:
    body = """
  %1: float32[] = call torch.sum(%0)
  %2: list[float32[]] = host list_append([], %1)
  %3: float32[u2] = host stack(%2, 0)
  %4: int = host size(%3, 0)
  %5: bool = host eq(%4, 1)
  return %5
"""
    assert decide(body) == [True]


def test_a_call_may_pass_what_it_likes() -> None:
    text = """program P method forward
param n: positional_or_keyword = input 0: int
entry b0

b0(%0 n: int):
  %1: bool = host gt(%0, 0)
  %2: int = host add(%0, 1)
  %3: bool = host gt(%2, %0)
  return (%1, %3)
"""
    program = parse_ir(text)
    ranges = Ranges(program)
    assert [ranges.decide(op, block.id) for block in program.blocks for op in block.ops] == [None, None, True]


def test_numbers_that_are_no_integers_are_left_alone() -> None:
    body = """
  %1: float32[] = call torch.sum(%0)
  %2: float = host item(%1)
  %3: bool = host eq(%2, %2)
  %4: bool = host lt(1.0, 2)
  return (%3, %4)
"""
    assert decide(body) == [None, None]


@pytest.mark.parametrize(
    ("relation", "least", "greatest"),
    [("eq", 3, 3), ("ge", 3, None), ("gt", 4, None), ("le", None, 3), ("lt", None, 2)],
)
@pytest.mark.parametrize("side", ["b1 : b2", "b2 : b1"])
@pytest.mark.parametrize("operands", ["%0, 3", "3, %0"])
def test_what_a_comparison_tells_is_told_to_the_number(
    relation: str, least: int | None, greatest: int | None, side: str, operands: str
) -> None:
    turned = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq"}[relation]
    opposite = {"lt": "ge", "gt": "le", "le": "gt", "ge": "lt", "eq": "ne"}
    function = relation if operands.startswith("%") else turned
    function = function if side.startswith("b1") else opposite[function]
    bounds = [bound for bound in (least, greatest) if bound is not None]
    asked = [(f"{way}(%0, {bound + by})") for bound in bounds for by in (-1, 0, 1) for way in ("ge", "le")]
    asked += [f"ne(%0, {bound + by})" for bound in bounds for by in (-1, 0, 1)]
    lines = [f"  %{index}: bool = host {text}" for index, text in enumerate(asked, 2)]
    text = f"""program P method forward
param n: positional_or_keyword = input 0: int
entry b0

b0(%0 n: int):
  %1: bool = host {function}({operands})
  branch %1 ? {side}

b1:
{chr(10).join(lines)}
  return ({", ".join(f"%{index}" for index in range(2, 2 + len(asked)))})

b2:
  return None
"""
    program = parse_ir(text)
    ranges = Ranges(program)
    numbers = range(-9, 20) if least is None or greatest is None else range(least, greatest + 1)
    allowed = [n for n in numbers if (least is None or n >= least) and (greatest is None or n <= greatest)]
    for op in program.blocks[1].ops:
        assert isinstance(op, HostOp)
        assert isinstance(op.args[1], Lit)
        truths = {HOST_FUNCTIONS[op.function].call(number, op.args[1].value) for number in allowed}
        assert ranges.decide(op, program.blocks[1].id) == (truths.pop() if len(truths) == 1 else None), op


def test_what_a_size_is_not_moves_its_bounds() -> None:
    body = """
  %1: int = host size(%0, 0)
  %2: bool = host eq(%1, 0)
  branch %2 ? b3 : b1

b1:
  %3: bool = host gt(%1, 0)
  %4: bool = host gt(%1, 1)
  %5: bool = host eq(%1, 1)
  branch %5 ? b3 : b2

b2:
  %6: bool = host ge(%1, 2)
  %7: bool = host ge(%1, 3)
  return (%3, %4, %6, %7)

b3:
  return None
"""
    assert decide(body) == [None, True, None, None, True, None]
