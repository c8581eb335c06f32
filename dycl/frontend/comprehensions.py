"""Lowering of comprehensions and generator expressions.

A list, set or dict comprehension becomes a loop in the function around it, its variables renamed; where a function
inside captures one of them, it becomes a function called at once, so that each run has its own cells. A generator
expression is always a function: it is handed the iterator of its first iterable.
"""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from dycl.diagnostics import SourceRange
from dycl.frontend.assignment import assign
from dycl.frontend.builder import FunctionBuilder, lowers_expression
from dycl.frontend.calls import captured_parameters, child_builder, finish
from dycl.frontend.code import (
    Append,
    Build,
    BuildDict,
    Code,
    Collection,
    ForIter,
    GetIter,
    MakeFunction,
    Parameters,
    Register,
    Return,
    Yield,
)
from dycl.frontend.conditions import jump_on

Comprehension = cst.ListComp | cst.SetComp | cst.DictComp | cst.GeneratorExp

_NAMES: dict[type[cst.CSTNode], str] = {
    cst.ListComp: "<listcomp>",
    cst.SetComp: "<setcomp>",
    cst.DictComp: "<dictcomp>",
    cst.GeneratorExp: "<genexpr>",
}
_ARGUMENT = ".0"


@lowers_expression(cst.ListComp)
@lowers_expression(cst.SetComp)
@lowers_expression(cst.DictComp)
@lowers_expression(cst.GeneratorExp)
def _lower_comprehension(f: FunctionBuilder, node: Comprehension) -> Register:
    loc = f.loc(node)
    iterable, iterator = f.expression(node.for_in.iter), f.temp()
    f.emit(GetIter(dst=iterator, src=iterable, loc=f.loc(node.for_in.iter)))
    scope = f.unit.scopes[node]
    if scope.inlined:
        f.scope, outer = scope, f.scope
        result = _collect(f, node, iterator, loc)
        f.scope = outer
        return result
    function = f.temp()
    f.emit(MakeFunction(dst=function, code=_as_function(f, node), defaults=(), keyword_defaults=(), loc=loc))
    return f.call(function, [iterator], loc)


def _as_function(f: FunctionBuilder, node: Comprehension) -> Code:
    name = _NAMES[type(node)]
    inner = child_builder(f, f.unit.scopes[node], f"{f.qualname}.<locals>.{name}")
    params = Parameters(positional_only=(_ARGUMENT,))
    loc = inner.loc(node)
    captured_parameters(inner, params, loc)
    if isinstance(node, cst.GeneratorExp):
        _loop(inner, node.for_in, _ARGUMENT, lambda: _yield_element(inner, node))
        result = inner.const(None, loc)
    else:
        result = _collect(inner, node, _ARGUMENT, loc)
    inner.emit(Return(src=result, loc=loc))
    return finish(inner, name, params, loc.line)


def _yield_element(f: FunctionBuilder, node: cst.GeneratorExp) -> None:
    value = f.expression(node.elt)
    f.emit(Yield(dst=f.temp(), src=value, loc=f.loc(node.elt)))


def _collect(f: FunctionBuilder, node: Comprehension, iterator: Register, loc: SourceRange) -> Register:
    target = f.temp()
    if isinstance(node, cst.DictComp):
        f.emit(BuildDict(dst=target, items=(), loc=loc))
    else:
        kind = Collection.SET if isinstance(node, cst.SetComp) else Collection.LIST
        f.emit(Build(dst=target, kind=kind, items=(), loc=loc))

    def add() -> None:
        key = f.expression(node.key) if isinstance(node, cst.DictComp) else None
        element = node.value if isinstance(node, cst.DictComp) else node.elt
        f.emit(Append(target=target, src=f.expression(element), key=key, loc=f.loc(element)))

    _loop(f, node.for_in, iterator, add)
    return target


def _loop(f: FunctionBuilder, loop: cst.CompFor, iterator: Register, body: Callable[[], None]) -> None:
    """One `for` of a comprehension with its conditions and the loops inside."""
    if loop.asynchronous is not None:
        raise f.unsupported(loop, "an async comprehension cannot be compiled", "use an ordinary for")
    end, loc, value = f.label(), f.loc(loop.target), f.temp()
    head = f.here()
    f.emit(ForIter(dst=value, iterator=iterator, exhausted=end, loc=f.loc(loop)))
    assign(f, loop.target, value)
    for condition in loop.ifs:
        jump_on(f, condition.test, False, head)
    if loop.inner_for_in is None:
        body()
    else:
        inner, source = f.temp(), f.expression(loop.inner_for_in.iter)
        f.emit(GetIter(dst=inner, src=source, loc=f.loc(loop.inner_for_in.iter)))
        _loop(f, loop.inner_for_in, inner, body)
    f.jump(head, loc)
    f.place(end)
