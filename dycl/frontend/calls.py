"""Lowering of calls, nested functions, lambdas and `super()`."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from dycl.diagnostics import SourceRange
from dycl.frontend.builder import FunctionBuilder, lowers_expression, lowers_statement
from dycl.frontend.code import (
    BuildDict,
    Call,
    Code,
    Collection,
    Item,
    LoadCell,
    MakeFunction,
    Move,
    Parameters,
    Register,
    Return,
    StoreCell,
    ZeroSuper,
)
from dycl.frontend.expressions import build, literal
from dycl.frontend.scopes import PlaceKind, Scope
from dycl.frontend.source import FunctionNode
from dycl.frontend.tables import build_tables


@lowers_expression(cst.Call)
def _lower_call(f: FunctionBuilder, node: cst.Call) -> Register:
    loc = f.loc(node)
    func = f.expression(node.func)
    if isinstance(node.func, cst.Name) and node.func.value == "super" and not node.args:
        owner = f.scope.place("__class__")
        if owner.kind is PlaceKind.CELL and f.first_parameter:
            return _lower_zero_super(f, func, loc)
    return call_with(f, func, node.args, loc)


def _lower_zero_super(f: FunctionBuilder, func: Register, loc: SourceRange) -> Register:
    this, dst, name = f.temp(), f.temp(), f.first_parameter
    if name in f.function_scope.cells:
        f.emit(LoadCell(dst=this, name=name, loc=loc))
    else:
        f.emit(Move(dst=this, src=name, loc=loc))
    f.emit(ZeroSuper(dst=dst, func=func, self=this, loc=loc))
    return dst


def call_with(f: FunctionBuilder, func: Register, args: Sequence[cst.Arg], loc: SourceRange) -> Register:
    """A call; as in CPython positional arguments are evaluated before keywords, whatever their order in the source."""
    positional = [arg for arg in args if arg.keyword is None and arg.star != "**"]
    named = [arg for arg in args if arg.keyword is not None or arg.star == "**"]
    items = [*_lower_positional(f, positional, named, loc), *_lower_named(f, named, loc)]
    dst = f.temp()
    f.emit(Call(dst=dst, func=func, items=tuple(items), loc=loc))
    return dst


def _lower_positional(
    f: FunctionBuilder, args: Sequence[cst.Arg], named: Sequence[cst.Arg], loc: SourceRange
) -> list[Item]:
    """The positional items. A lone `*a` is iterated by the call; among others it is iterated where it stands."""
    stars = [index for index, arg in enumerate(args) if arg.star]
    later_code = any(literal(arg.value) is None for arg in (*args[stars[0] + 1 :], *named)) if stars else False
    if len(args) > 1 and later_code:
        whole = build(f, Collection.LIST, [(arg.value, bool(arg.star)) for arg in args], loc)
        return [Item(whole, "*")]
    return [Item(f.expression(arg.value), arg.star) for arg in args]


def _lower_named(f: FunctionBuilder, args: Sequence[cst.Arg], loc: SourceRange) -> list[Item]:
    items: list[Item] = []
    for index, arg in enumerate(args):
        value = f.expression(arg.value)
        if arg.star and any(_may_run_code(later.value) for later in args[index + 1 :]):
            copied = f.temp()
            f.emit(BuildDict(dst=copied, items=((None, value),), loc=loc))
            value = copied
        items.append(Item(value, arg.star, "" if arg.keyword is None else arg.keyword.value))
    return items


def _may_run_code(node: cst.BaseExpression) -> bool:
    return literal(node) is None and not isinstance(node, (cst.Name, cst.Lambda))


# ---------------------------------------------------------------- functions


@lowers_statement(cst.FunctionDef)
def _lower_definition(f: FunctionBuilder, node: cst.FunctionDef) -> None:
    if node.asynchronous is not None:
        raise f.unsupported(node, "an async function cannot be compiled", "make it an ordinary def")
    decorators = [(f.expression(d.decorator), f.loc(d.decorator)) for d in node.decorators]
    value = _make_function(f, node, f.loc(node.name))
    for decorator, loc in reversed(decorators):
        value = f.call(decorator, [value], loc)
    f.store(node.name.value, value, f.loc(node.name), last_use=True)


@lowers_expression(cst.Lambda)
def _lower_lambda(f: FunctionBuilder, node: cst.Lambda) -> Register:
    return _make_function(f, node, f.loc(node))


def _make_function(f: FunctionBuilder, node: FunctionNode, loc: SourceRange) -> Register:
    params = node.params
    defaults = [f.expression(p.default) for p in (*params.posonly_params, *params.params) if p.default is not None]
    named = [(f.scope.mangle(p.name.value), f.expression(p.default)) for p in params.kwonly_params if p.default]
    code = lower_node(f, node)
    dst = f.temp()
    f.emit(MakeFunction(dst=dst, code=code, defaults=tuple(defaults), keyword_defaults=tuple(named), loc=loc))
    return dst


def lower_node(f: FunctionBuilder, node: FunctionNode) -> Code:
    """The code of a function nested in this one."""
    name = "<lambda>" if isinstance(node, cst.Lambda) else node.name.value
    is_global = name in f.scope.declared_global
    return lower_body(child_builder(f, f.unit.scopes[node], name if is_global else _inner(f, name)), node, name)


def _inner(f: FunctionBuilder, name: str) -> str:
    return f"{f.qualname}.<locals>.{name}"


def child_builder(f: FunctionBuilder, scope: Scope, qualname: str) -> FunctionBuilder:
    """A builder for a function inside this one."""
    return FunctionBuilder(f.unit, scope, qualname)


def lower_body(f: FunctionBuilder, node: FunctionNode, name: str) -> Code:
    """The code of the function whose builder this is."""
    params = _parameters(f.scope, node.params)
    f.first_parameter = next(iter((*params.positional_only, *params.positional)), "")
    start = f.loc(node.params) if node.params in f.unit.positions and params.names else f.loc(node)
    if isinstance(node, cst.FunctionDef):
        start = f.loc(node.name)
    captured_parameters(f, params, start)
    if isinstance(node, cst.Lambda):
        f.emit(Return(src=f.expression(node.body), loc=f.loc(node.body)))
    else:
        f.block(node.body)
        f.emit(Return(src=f.const(None, start), loc=start))
    return finish(f, name, params, f.loc(node).line)


def captured_parameters(f: FunctionBuilder, params: Parameters, loc: SourceRange) -> None:
    """Move the captured parameters into their cells."""
    for name in params.names:
        if name in f.scope.cells:
            f.emit(StoreCell(name=name, src=name, loc=loc))


def finish(f: FunctionBuilder, name: str, params: Parameters, line: int) -> Code:
    """The code with its tables."""
    tables = build_tables(*f.resolved(), params.names)
    scope = f.function_scope
    return Code(
        name=name,
        qualname=f.qualname,
        file=f.unit.file,
        line=line,
        parameters=params,
        instructions=tables.instructions,
        handlers=tables.handlers,
        joins=tables.joins,
        live=tables.live,
        cell_names=tuple(sorted(scope.cells)),
        free_names=tuple(sorted(scope.free)),
        is_generator=scope.is_generator,
    )


def _parameters(scope: Scope, params: cst.Parameters) -> Parameters:
    def names(parameters: Sequence[cst.Param]) -> tuple[str, ...]:
        return tuple(scope.mangle(p.name.value) for p in parameters)

    star = params.star_arg
    return Parameters(
        positional_only=names(params.posonly_params),
        positional=names(params.params),
        var_positional=scope.mangle(star.name.value) if isinstance(star, cst.Param) else None,
        keyword_only=names(params.kwonly_params),
        var_keyword=None if params.star_kwarg is None else scope.mangle(params.star_kwarg.name.value),
    )
