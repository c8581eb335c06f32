"""How hosts read, and that they are sound Python: golden texts, size and nesting, determinism, ruff."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dycl.hostgen.parts import find_parts
from dycl.hostgen.writer import PythonWriter
from dycl.ir.environment import Environment
from dycl.ir.parser import parse_ir
from dycl.ir.printer import print_ir
from dycl.ir.program import Program
from tests.hostgen.harness import compare, host_text, make_host, parse

GOLDEN = Path(__file__).parents[1] / "golden" / "hostgen"

STEP = """\
subgraph s0 '00_step'(%0: float32[1]):
  %1: float32[1] = call torch.add(%0, $w)
  results (%1)
"""
ENVIRONMENT = Environment({"w": torch.tensor([0.25])})
X = "param x: positional_or_keyword = input 0: float32[1]\n"


def diamonds(count: int) -> Program:
    """A chain of gates, each skipping one step."""
    blocks, value = ["b0(%0 x: float32[1]):\n  jump b1(%0)"], 1
    for index in range(count):
        b = 1 + 2 * index
        blocks.append(
            f"b{b}(%{value} x: float32[1]):\n  %{value + 1}: float = host item(%{value})\n"
            f"  %{value + 2}: bool = host gt(%{value + 1}, {index / 8 - 1})\n"
            f"  branch %{value + 2} ? b{b + 1} : b{b + 2}(%{value})\n"
            f"b{b + 1}:\n  %{value + 3}: float32[1] = dispatch s0(%{value})\n  jump b{b + 2}(%{value + 3})"
        )
        value += 4
    blocks.append(f"b{1 + 2 * count}(%{value} x: float32[1]):\n  return %{value}")
    return parse(X + "entry b0\n" + STEP + "\n".join(blocks) + "\n")


def exits(count: int, *, joined: bool) -> Program:
    """A chain of layers with an exit after each; joined: the exits share work that follows."""
    blocks = []
    for index in range(count):
        head = "(%0 x: float32[1])" if index == 0 else ""
        old, new = (f"%{10 * max(index - 1, 0) + (index > 0)}", f"%{10 * index + 1}")
        leave = f"b{2 * count}({new}, {index})" if joined else f"b{count + index}"
        more = f"b{index + 1}" if index + 1 < count else f"b{2 * count}({new}, {count})"
        blocks.append(
            f"b{index}{head}:\n  {new} x: float32[1] = dispatch s0({old})\n"
            f"  %{10 * index + 2}: float = host item({new})\n"
            f"  %{10 * index + 3}: bool = host gt(%{10 * index + 2}, {index / 2})\n"
            f"  branch %{10 * index + 3} ? {leave} : {more}"
        )
    if not joined:
        blocks += [f"b{count + index}:\n  return (%{10 * index + 1}, {index})" for index in range(count)]
    end = 10 * count
    blocks.append(
        f"b{2 * count if not joined else count}(%{end} x: float32[1], %{end + 1} exit: int):\n"
        f"  %{end + 2} x: float32[1] = dispatch s0(%{end})\n  return (%{end + 2}, %{end + 1})"
    )
    text = "\n".join(blocks).replace(f"b{2 * count}(", f"b{count if joined else 2 * count}(")
    return parse(X + "entry b0\n" + STEP + text + "\n")


DECODER = """\
tunable limit: int = 4
param x: positional_or_keyword = input 0: float32[1]
entry b0
subgraph s0 '00_step'(%0: float32[1]):
  %1: float32[1] = call torch.add(%0, $w)
  results (%1)
b0(%0 h: float32[1]):
  jump b1(%0, [])
b1(%1 h: float32[1], %2 words: list[int]):
  %3: float = host item(%1)
  %4 word: int = host int(%3)
  %5: bool = host eq(%4, 2)
  branch %5 ? b4 : b2
b2:
  %6 words: list[int] = host list_append(%2, %4)
  %7: int = host list_len(%6)
  %8: int = host tunable('limit')
  %9: bool = host ge(%7, %8)
  branch %9 ? b5 : b3
b3:
  %10 h: float32[1] = dispatch s0(%1)
  jump b1(%10, %6)
b4:
  return %2
b5:
  return %6
"""

COUNTER = """\
param x: positional_or_keyword = input 0: float32[1]
initial (0)
entry b0 state 1
  slot count = %1
entry b3 state 1
  slot memory = %5
b0(%0 x: float32[1], %1 count: int):
  %2: float = host item(%0)
  %3: bool = host lt(%2, 0.0)
  branch %3 ? b1 : b2
b1:
  %4 count: int = host add(%1, 1)
  return %4 resume 0 state (%4)
b2:
  return %1 resume 1 state (%0)
b3(%6 x: float32[1], %5 memory: float32[1]):
  raise builtins:ValueError('full', 1) resume 0 state (7)
"""

CASES = {
    "diamonds": lambda: diamonds(3),
    "early_exits": lambda: exits(3, joined=False),
    "joined_exits": lambda: exits(5, joined=True),
    "decoder": lambda: parse(DECODER),
    "counter": lambda: parse(COUNTER),
}
INPUTS = [(torch.tensor([value]),) for value in (-3.0, -0.3, 0.0, 0.6, 1.1, 1.9, 2.5, 40.0)]


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, update_golden: bool) -> None:
    path = GOLDEN / f"{name}.txt"
    text = host_text(CASES[name]())
    if update_golden:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_the_cases_agree_with_the_executor(name: str) -> None:
    compare(CASES[name](), INPUTS, ENVIRONMENT)


def depth(text: str) -> int:
    """The deepest indentation, in levels."""
    return max((len(line) - len(line.lstrip())) // 4 for line in text.splitlines())


@pytest.mark.parametrize("make", [diamonds, lambda n: exits(n, joined=False), lambda n: exits(n, joined=True)])
def test_long_chains_stay_flat_and_linear(make: object) -> None:
    assert callable(make)
    short, long = host_text(make(54)), host_text(make(108))
    assert depth(long) <= 5
    assert len(long.splitlines()) < 2.1 * len(short.splitlines())
    compare(make(108), INPUTS[:3], ENVIRONMENT)


def test_two_thousand_blocks() -> None:
    assert depth(host_text(diamonds(1000))) <= 4
    assert depth(host_text(exits(1000, joined=True))) <= 5


@pytest.mark.parametrize("name", CASES)
def test_ruff_and_mypy_find_nothing(name: str, tmp_path: Path) -> None:
    package = tmp_path / "made"
    package.mkdir()
    (package / "__init__.py").touch()
    host = host_text(CASES[name]())
    (package / "host.py").write_text(host)
    for module, text in find_parts(host).items():
        (package / module).write_text(text)
    (package / "runtime.py").write_text(
        "from pathlib import Path\nfrom typing import Any\n\nclass Runtime:\n"
        "    def __init__(self, directory: Path, threads: int | None = None, lazy: bool = False) -> None: ...\n"
        "    def subgraph(self, name: str) -> Any: ...\n    def weight(self, name: str) -> Any: ...\n"
    )
    rules = ["--isolated", "--line-length=120", "--select=E,F,I,B,UP,RET,RUF"]
    ruff = [sys.executable, "-m", "ruff", "check", *rules, str(package / "host.py")]
    assert subprocess.run(ruff, capture_output=True, text=True).stdout.strip() == "All checks passed!"
    if name == "decoder":
        mypy = [sys.executable, "-m", "mypy", "--strict", "-p", "made"]
        done = subprocess.run(mypy, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout


def test_what_checks_containers_comes_where_there_are_any() -> None:
    plain = diamonds(1)
    assert "containers.py" not in find_parts(host_text(plain))
    pair = parse_ir(print_ir(plain).replace("input 0: float32[1]", "(input 0: float32[1], None)"))
    assert "containers.py" in find_parts(host_text(pair))


def test_a_decision_of_several_blocks_is_told_once() -> None:
    text = host_text(diamonds(3))
    assert text.count("<unknown>") == 1
    host = make_host(diamonds(3), ENVIRONMENT)
    assert [host.describe(site) for site in (1, 3, 5)] == [("<unknown>", "")] * 3
    with pytest.raises(KeyError):
        host.describe(2)


def test_the_text_does_not_depend_on_hashes() -> None:
    code = "from tests.hostgen.test_host_text import CASES, host_text; print(*[host_text(c()) for c in CASES.values()])"
    other = {**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=other, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == " ".join(host_text(case()) for case in CASES.values()) + "\n"


@pytest.mark.parametrize("name", ["usual", "state", "begin"])
def test_a_subgraph_hides_nothing_of_the_host(name: str) -> None:
    program = diamonds(1)
    named = parse_ir(print_ir(program).replace("00_step", f"00_{name}"))
    host = make_host(named, ENVIRONMENT)
    for value in (-3.0, 2.5):
        x = torch.tensor([value]).numpy()
        assert host(x).tolist() == make_host(program, ENVIRONMENT)(x).tolist()


def test_a_wrong_call_is_refused_by_name() -> None:
    host = make_host(diamonds(1), ENVIRONMENT)
    with pytest.raises(TypeError, match=r"x: expected float32\[1\], got float64\[1\]"):
        host(torch.zeros(1).double().numpy())
    with pytest.raises(ValueError, match=r"x: expected float32\[1\], got float32\[2\]"):
        host(torch.zeros(2).numpy())
    with pytest.raises(TypeError, match="y"):
        host(y=1)


def test_decisions_can_be_forced() -> None:
    host = make_host(diamonds(1), ENVIRONMENT)
    host.force = lambda site, taken: not taken
    x = torch.tensor([3.0]).numpy()
    assert host(x) is x and host.decisions == [(1, False)]


def test_state_goes_out_and_back() -> None:
    host = make_host(parse(COUNTER))
    host(torch.tensor([-1.0]).numpy())
    kept = host.state_dict()
    assert kept == {"count": 1}
    host(torch.tensor([5.0]).numpy())
    assert list(host.state_dict()) == ["memory"]
    with pytest.raises(ValueError, match="full"):
        host(torch.tensor([5.0]).numpy())
    assert host.state_dict() == {"count": 7}
    host.load_state_dict(kept)
    assert host.state_dict() == {"count": 1}
    host.reset()
    assert host.state_dict() == {"count": 0}


LOOP = """\
param x: positional_or_keyword = input 0: float32[1]
entry b0
subgraph s0 '00_step'(%0: float32[1]):
  %1: float32[1] = call torch.add(%0, $w)
  results (%1)
b0(%0 x: float32[1]):
  %1 word: float = host item(%0)
  %2: bool = host gt(%1, 1.5)
  branch %2 ? b4([], []) : b1(%0, [])
b1(%3 h: float32[1], %4 words: list[float]):
  %5: int = host list_len(%4)
  %6: bool = host lt(%5, 4)
  branch %6 ? b2 : b4(%4, %4)
b2:
  %7 h: float32[1] = dispatch s0(%3)
  %8 word: float = host item(%7)
  %9: bool = host gt(%8, 1.0)
  branch %9 ? b4(%4, %4) : b3
b3:
  %10 words: list[float] = host list_append(%4, %8)
  jump b1(%7, %10)
b4(%11 words: list[float], %12 again: list[float]):
  return (%11, %12, %11)
"""


def test_a_short_end_stands_where_it_is_reached() -> None:
    """No loop that runs once, no variable that says where to go; one object stays one object."""
    program = parse(LOOP)
    text = host_text(program)
    assert "goto" not in text and "once" not in text
    assert "while decide(1, len(words) < 4):" in text
    compare(program, INPUTS, ENVIRONMENT)
    first, second, third = make_host(program, ENVIRONMENT).forward(np.array([2.0], np.float32))
    assert first == second == third == []
    assert first is third
    assert first is not second


def test_a_long_attribute_is_split_behind_its_annotation() -> None:
    out = PythonWriter()
    with out.block("def f(self):"):
        out.line(f"self._{'x' * 60}: Callable[..., tuple[{', '.join(['np.ndarray'] * 4)}]] = runtime.subgraph('a')")
    ast.parse(out.text())
    assert all(len(line) <= 120 for line in out.text().splitlines())


def test_numbers_fill_the_lines_that_they_need() -> None:
    out = PythonWriter()
    with out.block("SITES = ("):
        out.line(f"({tuple(range(108))}, 'net.py:7', 'if gate(x):'),")
    out.line(")")
    lines = out.text().splitlines()
    assert len(lines) < 14 and all(len(line) <= 120 for line in lines)
    assert ast.literal_eval(out.text().partition(" = ")[2]) == ((tuple(range(108)), "net.py:7", "if gate(x):"),)
