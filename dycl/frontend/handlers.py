"""Lowering of `try` and `with`: handlers, and the work on every way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst

from dycl.diagnostics import SourceRange
from dycl.frontend.assignment import assign
from dycl.frontend.builder import FunctionBuilder, Label, lowers_statement
from dycl.frontend.checks import exception_class
from dycl.frontend.code import (
    Catch,
    Const,
    Delete,
    EndCatch,
    LoadSpecial,
    MatchException,
    Register,
    Reraise,
    StoreCell,
)
from dycl.frontend.scopes import PlaceKind


@lowers_statement(cst.TryStar)
def _lower_try_star(f: FunctionBuilder, node: cst.TryStar) -> None:
    raise f.unsupported(node.handlers[0], "`except*` cannot be compiled", "use an ordinary except")


@lowers_statement(cst.Try)
def _lower_try(f: FunctionBuilder, node: cst.Try) -> None:
    if node.finalbody is None:
        _lower_except(f, node)
        return
    final, end, body = f.label(), f.label(), node.finalbody.body
    loc = f.loc(node.finalbody)
    with f.guarded(final, lambda: f.block(body)):
        if node.handlers:
            _lower_except(f, node)
        else:
            f.block(node.body)
    f.block(body)
    f.jump(end, loc)
    f.place(final)

    def handle(exc: Register) -> None:
        f.block(body)
        _pass_on(f, exc, loc)

    catch(f, handle, loc)
    f.place(end)


def catch(f: FunctionBuilder, handle: Callable[[Register], None], loc: SourceRange) -> None:
    """A handler, from here to a jump or a raise: `handle` gets the exception.

    Ways out of it stop handling the exception first; so do its own exceptions, where a handler further out sees them.
    """
    exc, saved = f.temp(), f.temp()
    f.emit(Catch(dst=exc, saved=saved, loc=loc))
    cleanup = None if f.handler is None else f.label()
    with f.guarded(cleanup, lambda: f.emit(EndCatch(saved=saved, loc=loc))):
        handle(exc)
    if cleanup is not None:
        _cleanup(f, cleanup, lambda: f.emit(EndCatch(saved=saved, loc=loc)), loc)


def _done(f: FunctionBuilder, end: Label, loc: SourceRange) -> None:
    """The innermost handler ends normally."""
    with f.leaving(len(f.exits) - 1):
        f.jump(end, loc)


def _pass_on(f: FunctionBuilder, exc: Register, loc: SourceRange) -> None:
    """The innermost handler ends, and its exception goes on."""
    with f.leaving(len(f.exits) - 1):
        f.emit(Reraise(src=exc, loc=loc))


def _cleanup(f: FunctionBuilder, label: Label, work: Callable[[], None], loc: SourceRange) -> None:
    """Do the work and pass the exception on."""
    f.place(label)
    exc, saved = f.temp(), f.temp()
    f.emit(Catch(dst=exc, saved=saved, loc=loc))
    f.emit(EndCatch(saved=saved, loc=loc))
    work()
    f.emit(Reraise(src=exc, loc=loc))


def _lower_except(f: FunctionBuilder, node: cst.Try) -> None:
    """`try` without its `finally`."""
    caught, end, loc = f.label(), f.label(), f.loc(node.handlers[0])
    with f.guarded(caught):
        f.block(node.body)
    if node.orelse is not None:
        f.block(node.orelse.body)
    f.jump(end, loc)
    f.place(caught)

    def handle(exc: Register) -> None:
        for handler in node.handlers:
            _lower_handler(f, handler, exc, end)
        if node.handlers[-1].type is not None:
            _pass_on(f, exc, loc)

    catch(f, handle, loc)
    f.place(end)


def _lower_handler(f: FunctionBuilder, node: cst.ExceptHandler, exc: Register, end: Label) -> None:
    other, loc = f.label(), f.loc(node)
    if node.type is not None:
        where = f.loc(node.type)
        kind, matches = f.expression(node.type), f.temp()
        f.emit(MatchException(dst=matches, exc=exc, type=kind, loc=where))
        f.jump_if(matches, False, other, where)
    if node.name is None:
        f.block(node.body)
        _done(f, end, loc)
    else:
        _lower_named_handler(f, node, cst.ensure_type(node.name.name, cst.Name), exc, end)
    f.place(other)


def _lower_named_handler(
    f: FunctionBuilder, node: cst.ExceptHandler, name: cst.Name, exc: Register, end: Label
) -> None:
    """`except T as e`: e is unbound on every way out."""
    loc, cleanup = f.loc(node), f.label()
    f.store(name.value, exc, f.loc(name))
    with f.guarded(cleanup, lambda: _unbind(f, name)):
        f.block(node.body)
    _unbind(f, name)
    _done(f, end, loc)
    _cleanup(f, cleanup, lambda: _unbind(f, name), loc)


def _unbind(f: FunctionBuilder, name: cst.Name) -> None:
    """`e = None; del e`: no error where the handler has deleted it itself."""
    loc, place = f.loc(name), f.scope.place(f.scope.mangle(name.value))
    if place.kind is PlaceKind.LOCAL:
        f.emit(Const(dst=place.name, value=None, loc=loc))
    elif place.kind is PlaceKind.CELL:
        f.emit(StoreCell(name=place.name, src=f.const(None, loc), loc=loc))
    else:
        raise f.unsupported(name, "an exception is bound to a global", "bind it to a local variable")
    f.emit(Delete(name=place.name, cell=place.kind is PlaceKind.CELL, loc=loc))


# ---------------------------------------------------------------- with


@lowers_statement(cst.With)
def _lower_with(f: FunctionBuilder, node: cst.With) -> None:
    if node.asynchronous is not None:
        raise f.unsupported(node, "`async with` cannot be compiled", "use an ordinary with")
    _lower_items(f, node.items, node.body)


def _lower_items(f: FunctionBuilder, items: Sequence[cst.WithItem], body: cst.BaseSuite) -> None:
    if not items:
        f.block(body)
        return
    item, loc = items[0].item, f.loc(items[0].item)
    manager, enter, leave = f.expression(item), f.temp(), f.temp()
    f.emit(LoadSpecial(dst=enter, obj=manager, name="__enter__", loc=loc))
    f.emit(LoadSpecial(dst=leave, obj=manager, name="__exit__", loc=loc))
    value = f.call(enter, [], loc)

    def exit_normally() -> None:
        nothing = f.const(None, loc)
        f.call(leave, [nothing, nothing, nothing], loc)

    caught, end = f.label(), f.label()
    with f.guarded(caught, exit_normally):
        if items[0].asname is not None:
            assign(f, items[0].asname.name, value)
        _lower_items(f, items[1:], body)
    exit_normally()
    f.jump(end, loc)
    f.place(caught)

    def handle(exc: Register) -> None:
        suppressed = f.label()
        kind = f.call(f.const(exception_class, loc), [exc], loc)
        answer = f.call(leave, [kind, exc, f.const(None, loc)], loc)
        f.jump_if(answer, True, suppressed, loc)
        _pass_on(f, exc, loc)
        f.place(suppressed)
        _done(f, end, loc)

    catch(f, handle, loc)
    f.place(end)
