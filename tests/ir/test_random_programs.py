"""Random structured programs: verified, renumbered and executed, against the same statements run by Python."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dycl.ir.environment import Environment
from dycl.ir.executor import Executor
from dycl.ir.graph import block_order
from dycl.ir.numbering import renumber
from dycl.ir.parser import parse_ir
from dycl.ir.values import BlockId
from dycl.ir.verifier import verify

# Statements over the variables 0, 1 and 2: ("set", to, function, a, b), ("if", a, b, then, otherwise),
# ("repeat", times, body).
Statement = tuple  # type: ignore[type-arg]
VARIABLES = range(3)

_variables = st.sampled_from(VARIABLES)
_set = st.tuples(st.just("set"), _variables, st.sampled_from(["add", "sub", "max"]), _variables, _variables)


def _nested(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    body = st.lists(inner, max_size=3)
    return st.tuples(st.just("if"), _variables, _variables, body, body) | st.tuples(
        st.just("repeat"), st.integers(0, 3), body
    )


_statements = st.lists(st.recursive(_set, _nested, max_leaves=8), max_size=5)


def run_python(statements: list[Statement], variables: list[int], decisions: list[bool]) -> None:
    """Run the statements on the variables, and note the decisions."""
    functions = {"add": operator.add, "sub": operator.sub, "max": max}
    for statement in statements:
        match statement:
            case ("set", to, function, a, b):
                variables[to] = functions[function](variables[a], variables[b])
            case ("if", a, b, then, otherwise):
                decisions.append(variables[a] < variables[b])
                run_python(then if decisions[-1] else otherwise, variables, decisions)
            case ("repeat", times, body):
                for _ in range(times):
                    decisions.append(True)
                    run_python(body, variables, decisions)
                decisions.append(False)


@dataclass
class Writer:
    """Writes the statements as IR text.

    Sides of a branch take no parameters and see the values above them; joins and loop headers take all variables.
    """

    lines: list[str] = field(default_factory=list)
    values: int = 0
    blocks: int = 0

    def value(self) -> str:
        self.values += 1
        return f"%{self.values}"

    def block(self) -> str:
        self.blocks += 1
        return f"b{self.blocks}"

    def host(self, function: str, a: str, b: str, kind: str = "int") -> str:
        result = self.value()
        self.lines.append(f"{result}: {kind} = host {function}({a}, {b})")
        return result

    def open(self, block: str, count: int) -> list[str]:
        """Begin a block with so many parameters."""
        params = [self.value() for _ in range(count)]
        self.lines.append(f"{block}({', '.join(f'{param}: int' for param in params)}):")
        return params

    def write(self, statements: list[Statement], names: list[str]) -> list[str]:
        for statement in statements:
            match statement:
                case ("set", to, function, a, b):
                    names = [*names]
                    names[to] = self.host(function, names[a], names[b])
                case ("if", a, b, then, otherwise):
                    names = self.write_if(self.host("lt", names[a], names[b], "bool"), then, otherwise, names)
                case ("repeat", times, body):
                    names = self.write_loop(times, body, names)
        return names

    def write_if(self, cond: str, then: list[Statement], otherwise: list[Statement], names: list[str]) -> list[str]:
        yes, no, join = self.block(), self.block(), self.block()
        self.lines.append(f"branch {cond} ? {yes} : {no}")
        for block, body in ((yes, then), (no, otherwise)):
            self.open(block, 0)
            self.lines.append(f"jump {join}({', '.join(self.write(body, names))})")
        return self.open(join, len(names))

    def write_loop(self, times: int, body: list[Statement], names: list[str]) -> list[str]:
        head, inside, after = self.block(), self.block(), self.block()
        self.lines.append(f"jump {head}({', '.join([*names, '0'])})")
        *names, count = self.open(head, len(names) + 1)
        cond = self.host("lt", count, str(times), "bool")
        self.lines.append(f"branch {cond} ? {inside} : {after}")
        self.open(inside, 0)
        changed = self.write(body, names)
        self.lines.append(f"jump {head}({', '.join([*changed, self.host('add', count, '1')])})")
        self.open(after, 0)
        return names


def program_text(statements: list[Statement]) -> str:
    writer = Writer()
    names = writer.open("b0", len(VARIABLES))
    names = writer.write(statements, names)
    params = "".join(f"param v{v}: positional_only = input {v}: int\n" for v in VARIABLES)
    blocks = "\n".join([*writer.lines, f"return ({', '.join(names)})"])
    return f"program P method forward\n{params}entry b0\n{blocks}\n"


@settings(max_examples=120, deadline=None)
@given(_statements, st.tuples(*(st.integers(-2, 2) for _ in VARIABLES)))
def test_programs_mean_what_python_means(statements: list[Statement], inputs: tuple[int, ...]) -> None:
    variables, decisions = list(inputs), []
    run_python(statements, variables, decisions)
    written = parse_ir(program_text(statements))
    program = replace(written, blocks=tuple(sorted(written.blocks, key=lambda block: block.id)))
    verify(program, after="writing")
    canonical = renumber(program)
    verify(canonical, after="renumber")
    assert block_order(canonical) == tuple(BlockId(n) for n in range(len(canonical.blocks)))
    for candidate in (program, canonical):
        run = Executor(candidate, Environment())
        assert run.call(*inputs) == tuple(variables)
        assert [side for _, side in run.decisions] == decisions
