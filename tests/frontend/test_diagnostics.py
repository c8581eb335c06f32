"""What the front end refuses: code, line and column of each refusal, and that the right function is found."""

from __future__ import annotations

import importlib.util
import itertools
import linecache
import operator
import types
from pathlib import Path
from typing import Any

import pytest
from interpreter import interpreted

from dycl.diagnostics import UnsupportedError, render
from dycl.frontend.lower import lower_function
from dycl.frontend.source import find_source

_numbers = itertools.count()


def load(path: Path, text: str) -> Any:
    """The module of a source text."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(f"diagnosed_{next(_numbers)}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFUSED = [
    ("def f(x):\n    y = 1\n    class C:\n        pass\n", 3, 10, "C"),
    ("async def f(x):\n    pass\n", 1, 0, "async def"),
    ("def f(x):\n    async def g():\n        await x\n", 2, 4, "async def g():"),
    ("def f(x):\n    try:\n        x()\n    except* ValueError:\n        pass\n", 4, 4, "except* ValueError:"),
    ("def f(x):\n    global g\n    del g\n", 3, 8, "g"),
    ("class A:\n    class B:\n        def f(self):\n            def g():\n                class C: pass\n", 5, 22, "C"),
    ("def f(x):\n    é = 'é'; class_ = é\n    if é:\n        class D: pass\n", 4, 14, "D"),
]


@pytest.mark.parametrize(("text", "line", "column", "shown"), REFUSED)
def test_refusal_has_its_place(tmp_path: Path, text: str, line: int, column: int, shown: str) -> None:
    module = load(tmp_path / "m.py", text)
    function = module.A.B.f if hasattr(module, "A") else module.f
    with pytest.raises(UnsupportedError) as caught:
        lower_function(function)
    error = caught.value
    assert (error.code, error.loc.line, error.loc.column) == ("DY102", line, column)
    assert error.loc.file == str(tmp_path / "m.py") and error.hint
    source, caret = render(error).splitlines()[1:3]
    start = caret.index("^")
    assert source[start : start + caret.count("^")].startswith(shown)


def test_no_source() -> None:
    space: dict[str, Any] = {}
    exec("def f(): return 1", space)
    with pytest.raises(UnsupportedError) as caught:
        lower_function(space["f"])
    assert caught.value.code == "DY101" and caught.value.loc.line == 0 and "exec" in caught.value.hint


def test_file_is_gone(tmp_path: Path) -> None:
    module = load(tmp_path / "m.py", "def f():\n    return 1\n")
    (tmp_path / "m.py").unlink()
    linecache.clearcache()
    with pytest.raises(UnsupportedError) as caught:
        lower_function(module.f)
    assert caught.value.code == "DY101"


CHANGES = {
    "moved": "# a line more\ndef f(x):\n    return x.size + 1\n",
    "other name": "def g(x):\n    return x.size + 1\n",
    "other parameters": "def f(x, y):\n    return x.size + 1\n",
    "other attribute": "def f(x):\n    return x.shape + 1\n",
    "other constant": "def f(x):\n    return x.size + 2\n",
    "other operator": "def f(x):\n    return x.size - 1\n",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.replace(" ", "-"))
def test_file_has_changed(tmp_path: Path, change: str) -> None:
    module = load(tmp_path / "m.py", "def f(x):\n    return x.size + 1\n")
    (tmp_path / "m.py").write_text(CHANGES[change])
    linecache.clearcache()
    with pytest.raises(UnsupportedError) as caught:
        lower_function(module.f)
    assert (caught.value.code, caught.value.loc.line, caught.value.loc.column) == ("DY101", 1, 0)
    assert "changed" in caught.value.hint


def test_does_not_parse(tmp_path: Path) -> None:
    module = load(tmp_path / "m.py", "def f():\n    return 1\n")
    (tmp_path / "m.py").write_text("def f():\n    return (1 +\n")
    linecache.clearcache()
    with pytest.raises(UnsupportedError) as caught:
        lower_function(module.f)
    assert (caught.value.code, caught.value.loc.line, caught.value.loc.column) == ("DY103", 2, 11)


def test_python_that_libcst_does_not_parse(tmp_path: Path) -> None:
    module = load(tmp_path / "m.py", "x = 1\n\n\nclass A:\n    def f(self):\n        (w): int = 1\n        return w\n")
    with pytest.raises(UnsupportedError) as caught:
        lower_function(module.A.f)
    assert caught.value.code == "DY103" and caught.value.loc.line in (6, 7), "libcst points behind the statement"


LAYOUTS = '''
fs = [lambda x: x + 1, lambda x: x + 2]; gs = [lambda x: (lambda y: x + y), lambda x: "é" + x]
if True: h = lambda x: (x,
    x)
elif (lambda: 1)(): pass
class A:
    one = lambda self: 1
    two = staticmethod(lambda x, y=lambda z: z * 2:
                       y(x))
    if fs:
        def three(self, __private=3):
            return __private, [
                """a
indented wrong""",
            ]
    @property
    def four(self): return self.__hidden
    __hidden = 4
\tdef five(self): return 5
'''.replace("\tdef", "    def")


def test_the_right_function_is_found(tmp_path: Path) -> None:
    module = load(tmp_path / "m.py", LAYOUTS)
    first, second = module.fs
    assert (interpreted(first)(1), interpreted(second)(1)) == (2, 3)
    curried, accented = module.gs
    assert interpreted(curried(5))(2) == 7 and interpreted(curried)(5)(2) == 7
    assert interpreted(accented)("x") == "éx"
    assert interpreted(module.h)(1) == (1, 1)
    a = module.A()
    assert interpreted(module.A.one)(a) == 1
    assert interpreted(module.A.two)(4, lambda z: z) == 4
    assert interpreted(module.A.two.__defaults__[0])(4) == 8
    assert interpreted(module.A.three)(a) == module.A.three(a)
    assert interpreted(module.A.four.fget)(a) == 4
    assert interpreted(module.A.five)(a) == 5


def test_places_are_those_of_the_file(tmp_path: Path) -> None:
    """Each instruction lies inside its function, on lines of the file."""
    module = load(tmp_path / "m.py", LAYOUTS)
    code = lower_function(module.A.three)
    lines = LAYOUTS.splitlines()
    start = next(i for i, line in enumerate(lines, 1) if "def three" in line)
    assert {i.loc.line for i in code.instructions} <= set(range(start, start + 5))
    assert {i.loc.function for i in code.instructions} == {"A.three"}
    assert code.line == start and code.qualname == "A.three" and code.file == str(tmp_path / "m.py")


def test_condition_has_its_range(tmp_path: Path) -> None:
    from dycl.frontend.code import JumpIf

    text = "def f(a, b, c):\n    if a and not b.x > 1:\n        return 1\n    return 2 if (c()) else 3\n"
    code = lower_function(load(tmp_path / "m.py", text).f)
    lines = text.splitlines()
    found = [lines[i.loc.line - 1][i.loc.column : i.loc.end_column] for i in code.instructions if isinstance(i, JumpIf)]
    assert found == ["a", "b.x > 1", "c()"]
    assert not any(type(i).__name__ == "Unary" for i in code.instructions)


def test_inner_function_found_by_itself(tmp_path: Path) -> None:
    """A function made at run time by a function that cannot itself be lowered."""
    text = "def make(n):\n    class C:\n        def f(self, x):\n            return x + n, __class__.__name__\n"
    text += "    return C()\n"
    made = load(tmp_path / "m.py", text).make(5)
    assert interpreted(type(made).f)(made, 1) == (6, "C")


def test_equal_code_objects_are_told_apart(tmp_path: Path) -> None:
    """Code objects compare equal without their file and columns."""
    text = "f, g = lambda x: x, lambda x: x\n"
    one, two = load(tmp_path / "one.py", text), load(tmp_path / "two.py", text)
    assert one.f.__code__ == two.f.__code__
    assert lower_function(one.f).file != lower_function(two.f).file
    assert [lower_function(f).instructions[-1].loc.column for f in (two.f, two.g)] == [17, 30]


def test_source_is_parsed_once(tmp_path: Path) -> None:
    module = load(tmp_path / "m.py", LAYOUTS)
    assert find_source(module.A.one).unit is find_source(module.A.one).unit
    function = types.FunctionType(module.A.one.__code__, {})
    assert lower_function(function) is lower_function(module.A.one)
    assert operator.attrgetter("kind.value")(find_source(module.A.one).scope) == "lambda"
