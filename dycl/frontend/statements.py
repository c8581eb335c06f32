"""Lowering of simple statements, `if` and loops."""

from __future__ import annotations

import libcst as cst

from dycl.frontend.assignment import assign
from dycl.frontend.builder import FunctionBuilder, lowers_statement
from dycl.frontend.code import ForIter, GetIter, Raise, Return
from dycl.frontend.conditions import jump_on
from dycl.frontend.expressions import literal, lower_yield_from


@lowers_statement(cst.SimpleStatementLine)
def _lower_line(f: FunctionBuilder, node: cst.SimpleStatementLine) -> None:
    for statement in node.body:
        f.statement(statement)


@lowers_statement(cst.Expr)
def _lower_expression_statement(f: FunctionBuilder, node: cst.Expr) -> None:
    if isinstance(node.value, cst.Yield) and isinstance(node.value.value, cst.From):
        lower_yield_from(f, node.value, node.value.value)
    elif literal(node.value) is None:
        f.expression(node.value)


@lowers_statement(cst.Pass)
@lowers_statement(cst.Global)
@lowers_statement(cst.Nonlocal)
def _lower_nothing(f: FunctionBuilder, node: cst.CSTNode) -> None:
    """These act when the scopes are built, if at all."""


@lowers_statement(cst.Return)
def _lower_return(f: FunctionBuilder, node: cst.Return) -> None:
    loc = f.loc(node)
    value = f.const(None, loc) if node.value is None else f.expression(node.value)
    with f.leaving(0):
        f.emit(Return(src=value, loc=loc))


@lowers_statement(cst.Break)
def _lower_break(f: FunctionBuilder, node: cst.Break) -> None:
    depth = f.innermost_loop()
    target = f.exits[depth].break_to
    assert target is not None
    with f.leaving(depth + 1):
        f.jump(target, f.loc(node))


@lowers_statement(cst.Continue)
def _lower_continue(f: FunctionBuilder, node: cst.Continue) -> None:
    depth = f.innermost_loop()
    target = f.exits[depth].continue_to
    assert target is not None
    with f.leaving(depth + 1):
        f.jump(target, f.loc(node))


@lowers_statement(cst.Raise)
def _lower_raise(f: FunctionBuilder, node: cst.Raise) -> None:
    exc = None if node.exc is None else f.expression(node.exc)
    cause = None if node.cause is None else f.expression(node.cause.item)
    f.emit(Raise(exc=exc, cause=cause, loc=f.loc(node)))


@lowers_statement(cst.Assert)
def _lower_assert(f: FunctionBuilder, node: cst.Assert) -> None:
    if not __debug__:
        return
    loc, passed = f.loc(node), f.label()
    jump_on(f, node.test, True, passed)
    error = f.const(AssertionError, loc)
    if node.msg is not None:
        error = f.call(error, [f.expression(node.msg)], loc)
    f.emit(Raise(exc=error, cause=None, loc=loc))
    f.place(passed)


@lowers_statement(cst.If)
def _lower_if(f: FunctionBuilder, node: cst.If) -> None:
    other, end = f.label(), f.label()
    jump_on(f, node.test, False, other)
    f.block(node.body)
    if node.orelse is not None:
        f.jump(end, f.loc(node.test))
    f.place(other)
    if isinstance(node.orelse, cst.If):
        _lower_if(f, node.orelse)
    elif node.orelse is not None:
        f.block(node.orelse.body)
    f.place(end)


@lowers_statement(cst.While)
def _lower_while(f: FunctionBuilder, node: cst.While) -> None:
    other, end = f.label(), f.label()
    head = f.here()
    jump_on(f, node.test, False, other)
    with f.loop(end, head):
        f.block(node.body)
    f.jump(head, f.loc(node.test))
    f.place(other)
    if node.orelse is not None:
        f.block(node.orelse.body)
    f.place(end)


@lowers_statement(cst.For)
def _lower_for(f: FunctionBuilder, node: cst.For) -> None:
    if node.asynchronous is not None:
        raise f.unsupported(node, "`async for` cannot be compiled", "use an ordinary for")
    other, end, loc = f.label(), f.label(), f.loc(node.iter)
    iterable, iterator, value = f.expression(node.iter), f.temp(), f.temp()
    f.emit(GetIter(dst=iterator, src=iterable, loc=loc))
    head = f.here()
    f.emit(ForIter(dst=value, iterator=iterator, exhausted=other, loc=loc))
    assign(f, node.target, value)
    with f.loop(end, head):
        f.block(node.body)
    f.jump(head, loc)
    f.place(other)
    if node.orelse is not None:
        f.block(node.orelse.body)
    f.place(end)


@lowers_statement(cst.ClassDef)
def _lower_class(f: FunctionBuilder, node: cst.ClassDef) -> None:
    raise f.unsupported(node.name, "a class is defined inside a function", "define the class at module level")
