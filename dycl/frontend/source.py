"""Where a live function was written: its file, its libcst node with positions, and the classes around it.

A file is indexed once with the `ast` module (fast, positions without a second walk); only the statement that holds the
function is parsed by libcst, once, and given positions. A whole large module through libcst costs seconds, one method
milliseconds; what libcst sees is the file's own text, so positions are those of the file.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from dycl.diagnostics import SourceRange, UnsupportedError
from dycl.frontend.bytecode import index_codes, is_among
from dycl.frontend.scopes import Scope, build_scopes

FunctionNode = cst.FunctionDef | cst.Lambda
_AstFunction = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_AstGenerator = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_COMPREHENSIONS: dict[type[ast.AST], str] = {
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}
_SHELL = "if 1:\n"  # holds an indented statement, so that it parses where it stands


@dataclass(slots=True, eq=False)
class Unit:
    """A statement of a file that no function encloses, parsed by libcst, with its positions and scopes."""

    file: str
    positions: dict[cst.CSTNode, CodeRange]
    line_offset: int
    scopes: dict[cst.CSTNode, Scope]
    located: dict[tuple[int, int, bool], FunctionNode]  # start and is-it-a-lambda -> node


@dataclass(frozen=True, slots=True)
class FunctionSource:
    """A function's node in its unit."""

    unit: Unit
    node: FunctionNode
    qualname: str
    name: str

    @property
    def scope(self) -> Scope:
        """The scope the function's body makes."""
        return self.unit.scopes[self.node]


@dataclass(frozen=True, slots=True)
class _Found:
    """A function of the `ast` tree: the nodes around it, outermost first, and the names it is defined under."""

    node: _AstFunction
    around: tuple[ast.AST, ...]
    path: tuple[str, ...]

    @property
    def qualname(self) -> str:
        return ".".join((*self.path, _name(self.node)))


@dataclass(slots=True, eq=False)
class _File:
    """One version of a source file."""

    path: str
    text: str
    lines: list[str]
    functions: dict[int, list[_Found]]
    codes: dict[tuple[int, str], list[types.CodeType]]
    units: dict[tuple[int, int], Unit] = field(default_factory=dict)


_files: dict[str, _File] = {}


def find_source(function: types.FunctionType) -> FunctionSource:
    """The source of a function; DY101 where there is none (any more), DY103 where it does not parse."""
    code = function.__code__
    file = _load_file(code, function.__globals__)
    candidates = [found for found in file.functions.get(code.co_firstlineno, []) if _fits(found, code)]
    if len(candidates) > 1:
        candidates = [found for found in candidates if _same_place(found, code)]
    if len(candidates) != 1:
        raise _changed(code, "is not at this line of its source file")
    if not is_among(code, file.codes.get((code.co_firstlineno, code.co_name), ())):
        raise _changed(code, "is not what its source file says")
    return _source_of(file, candidates[0], code)


def _changed(code: types.CodeType, what: str) -> UnsupportedError:
    return UnsupportedError(
        "DY101",
        SourceRange(code.co_filename, code.co_firstlineno, function=code.co_qualname),
        f"{code.co_qualname} {what}",
        hint="the file was changed after it was imported, or an import hook rewrote it: start again",
    )


def _load_file(code: types.CodeType, namespace: dict[str, object]) -> _File:
    path = code.co_filename
    if path.startswith("<frozen"):  # its bytecode came with the interpreter; the file that it was made of lies beside
        path = str(namespace.get("__file__", path))
    linecache.checkcache(path)
    lines = linecache.getlines(path, namespace)
    loc = SourceRange(path, code.co_firstlineno if lines else 0, function=code.co_qualname)
    if not lines:
        raise UnsupportedError(
            "DY101",
            loc,
            f"no source for {code.co_qualname} in {path}",
            hint="functions made by exec, typed into a prompt or written in C cannot be compiled: put it into a file",
        )
    text = "".join(lines)
    file = _files.get(path)
    if file is None or file.text != text:
        file = _files[path] = _index(path, text, lines)
    return file


def _index(path: str, text: str, lines: list[str]) -> _File:
    """Every function and lambda of a file, by the first line its code object reports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CPython gave them when the file was imported
            tree = ast.parse(text, path)
            compiled = compile(tree, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        column = max(0, (error.offset or 1) - 1)
        end_line, end_column = error.end_lineno or 0, max(0, (error.end_offset or 1) - 1)
        loc = SourceRange(path, error.lineno or 1, column, end_line, end_column)
        raise UnsupportedError("DY103", loc, f"the source does not parse: {error.msg}") from None
    except ValueError as error:
        raise UnsupportedError("DY103", SourceRange(path, 1), f"the source does not parse: {error}") from None
    functions: dict[int, list[_Found]] = {}
    for found in _walk(tree, lines):
        functions.setdefault(_first_line(found.node), []).append(found)
    return _File(path, text, lines, functions, index_codes(compiled))


def _walk(tree: ast.Module, lines: list[str]) -> Iterator[_Found]:
    """Every function; expressions are looked into only where there may be a lambda in them."""
    lambdas = list(itertools.accumulate(("lambda" in line for line in lines), initial=0))

    def is_passed(node: ast.AST, child: ast.AST) -> bool:
        if not isinstance(node, ast.stmt) or not isinstance(child, ast.expr):
            return False
        return lambdas[child.lineno - 1] == lambdas[child.end_lineno or child.lineno]

    stack: list[tuple[ast.AST, tuple[ast.AST, ...], tuple[str, ...]]] = [(tree, (), ())]
    while stack:
        node, around, path = stack.pop()
        inner, body = path, frozenset[ast.AST]()
        if isinstance(node, _AstFunction):
            yield _Found(node, around, path)
            inner = (*path, _name(node), "<locals>")
            body = frozenset([node.body] if isinstance(node, ast.Lambda) else node.body)
        elif isinstance(node, ast.ClassDef):
            inner, body = (*path, node.name), frozenset(node.body)
        elif isinstance(node, _AstGenerator):
            inner = (*path, _COMPREHENSIONS[type(node)], "<locals>")
            body = frozenset(ast.iter_child_nodes(node))
        if isinstance(node, (ast.stmt, ast.Lambda, ast.Module)):
            around = (*around, node)
        # Defaults and decorators belong to what is around a function.
        stack.extend(
            (child, around, inner if child in body else path)
            for child in ast.iter_child_nodes(node)
            if not is_passed(node, child)
        )


def _first_line(node: ast.AST) -> int:
    decorators = getattr(node, "decorator_list", ())
    line: int = decorators[0].lineno if decorators else node.lineno  # type: ignore[attr-defined]
    return line


def _fits(found: _Found, code: types.CodeType) -> bool:
    node = found.node
    if _name(node) != code.co_name or _parameter_count(node.args) != (
        code.co_posonlyargcount,
        code.co_argcount,
        code.co_kwonlyargcount,
        bool(code.co_flags & 0x04),
        bool(code.co_flags & 0x08),
    ):
        return False
    # A function that its parent declares global is named at module level.
    return code.co_qualname in (found.qualname, _name(node))


def _parameter_count(args: ast.arguments) -> tuple[int, int, int, bool, bool]:
    positional = len(args.posonlyargs) + len(args.args)
    return len(args.posonlyargs), positional, len(args.kwonlyargs), bool(args.vararg), bool(args.kwarg)


def _name(node: _AstFunction) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def _same_place(found: _Found, code: types.CodeType) -> bool:
    """Is this the lambda of the code object? The last instruction of a lambda returns its body, with that range."""
    if not isinstance(found.node, ast.Lambda):
        return True
    body = found.node.body
    here = (body.lineno, body.end_lineno, body.col_offset, body.end_col_offset)
    return here in set(code.co_positions())


def _source_of(file: _File, found: _Found, code: types.CodeType) -> FunctionSource:
    node = found.node
    if isinstance(node, ast.AsyncFunctionDef):
        loc = SourceRange(
            file.path, node.lineno, node.col_offset, node.lineno, node.col_offset + len("async def"), code.co_qualname
        )
        raise UnsupportedError("DY102", loc, "an async function cannot be compiled", hint="make it an ordinary def")
    first, last, around = _unit_lines(file, found)
    unit = file.units.get((first, last))
    if unit is None:
        unit = file.units[first, last] = _parse_unit(file, first, last, around)
    column = len(file.lines[node.lineno - 1].encode()[: node.col_offset].decode())
    place = unit.located[node.lineno, column, isinstance(node, ast.Lambda)]
    return FunctionSource(unit, place, code.co_qualname, code.co_name)


def _unit_lines(file: _File, found: _Found) -> tuple[int, int, tuple[ast.AST, ...]]:
    """First and last line of the statement to parse, and what is around it."""
    chain = (*found.around, found.node)
    index = next((i for i, node in enumerate(chain) if isinstance(node, _AstFunction)), len(chain) - 1)
    while index and not _stands_alone(file, chain[index], chain[index - 1]):
        index -= 1
    if index == 0:
        return 1, len(file.lines), ()
    node = chain[index]
    assert isinstance(node, ast.stmt)
    return _first_line(node), node.end_lineno or node.lineno, chain[:index]


def _stands_alone(file: _File, node: ast.AST, parent: ast.AST) -> bool:
    """Can the lines of this node be parsed by themselves? Not a part of a line, not an `elif`."""
    if not isinstance(node, ast.stmt):
        return False
    first, last = _first_line(node), node.end_lineno or node.lineno
    before = file.lines[first - 1].encode()[: node.col_offset]
    if before.strip() or file.lines[first - 1].lstrip().startswith("elif"):
        return False
    after = file.lines[last - 1].encode()[node.end_col_offset :].strip()
    return not after or after.startswith(b"#")


def _parse_unit(file: _File, first: int, last: int, around: tuple[ast.AST, ...]) -> Unit:
    text = "".join(file.lines[first - 1 : last])
    shell = _SHELL if text[:1] in (" ", "\t") else ""
    try:
        wrapper = MetadataWrapper(cst.parse_module(shell + text), unsafe_skip_copy=True)
    except cst.ParserSyntaxError as error:
        loc = SourceRange(file.path, error.raw_line + first - 1 - bool(shell), max(0, error.raw_column))
        raise UnsupportedError("DY103", loc, f"the source does not parse: {error.message}") from None
    positions = {node: place for node, place in wrapper.resolve(PositionProvider).items() if place is not None}
    offset = first - 1 - bool(shell)
    classes = [node.name for node in around if isinstance(node, ast.ClassDef)]
    scopes = build_scopes(wrapper.module, classes[-1] if classes else "")
    located: dict[tuple[int, int, bool], FunctionNode] = {}
    for node in scopes:
        if isinstance(node, (cst.FunctionDef, cst.Lambda)):
            start = positions[node].start
            located[start.line + offset, start.column, isinstance(node, cst.Lambda)] = node
    return Unit(file.path, positions, offset, scopes, located)
