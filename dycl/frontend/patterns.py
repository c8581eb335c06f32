"""Lowering of `match`: each pattern becomes tests that jump to the next case; names are bound when all have passed."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from dycl.diagnostics import SourceRange
from dycl.frontend.builder import FunctionBuilder, Label, lowers_statement
from dycl.frontend.checks import class_attributes, is_mapping, is_sequence, mapping_without, values_of_keys
from dycl.frontend.code import Binary, Build, Collection, Item, LoadItem, Move, Register, Unpack
from dycl.frontend.conditions import jump_on

_Captures = dict[str, Register]


@lowers_statement(cst.Match)
def _lower_match(f: FunctionBuilder, node: cst.Match) -> None:
    subject, end = f.expression(node.subject), f.label()
    for case in node.cases:
        other, captures = f.label(), _Captures()
        _test(f, case.pattern, subject, other, captures)
        for name, value in captures.items():
            f.store(name, value, f.loc(case.pattern))
        if case.guard is not None:
            jump_on(f, case.guard, False, other)
        f.block(case.body)
        f.jump(end, f.loc(case.pattern))
        f.place(other)
    f.place(end)


def _test(f: FunctionBuilder, pattern: cst.CSTNode, subject: Register, fail: Label, captures: _Captures) -> None:
    """Go on if the pattern matches, else to `fail`; `captures` gets what the names are to be bound to."""
    match pattern:
        case cst.MatchValue(value=value):
            _test_equal(f, "eq", subject, f.expression(value), fail, f.loc(pattern))
        case cst.MatchSingleton(value=value):
            _test_equal(f, "is_", subject, f.expression(value), fail, f.loc(pattern))
        case cst.MatchAs(pattern=inner, name=name):
            if inner is not None:
                _test(f, inner, subject, fail, captures)
            if name is not None:
                _capture(f, name, subject, captures)
        case cst.MatchOr(patterns=alternatives):
            _test_or(f, [a.pattern for a in alternatives], subject, fail, captures)
        case cst.MatchList(patterns=elements) | cst.MatchTuple(patterns=elements):
            _test_sequence(f, pattern, elements, subject, fail, captures)
        case cst.MatchMapping():
            _test_mapping(f, pattern, subject, fail, captures)
        case cst.MatchClass():
            _test_class(f, pattern, subject, fail, captures)
        case _:
            raise f.unsupported(pattern, f"the pattern {type(pattern).__name__} is not supported", "use if and elif")


def _capture(f: FunctionBuilder, name: cst.Name, value: Register, captures: _Captures) -> None:
    held = captures.setdefault(name.value, f.temp())
    f.emit(Move(dst=held, src=value, loc=f.loc(name)))


def _test_equal(f: FunctionBuilder, op: str, subject: Register, value: Register, fail: Label, loc: SourceRange) -> None:
    outcome = f.temp()
    f.emit(Binary(dst=outcome, op=op, left=subject, right=value, loc=loc))
    f.jump_if(outcome, False, fail, loc)


def _test_call(f: FunctionBuilder, check: object, subject: Register, fail: Label, loc: SourceRange) -> None:
    f.jump_if(f.call(f.const(check, loc), [subject], loc), False, fail, loc)


def _test_length(f: FunctionBuilder, op: str, subject: Register, size: int, fail: Label, loc: SourceRange) -> None:
    length = f.call(f.const(len, loc), [subject], loc)
    _test_equal(f, op, length, f.const(size, loc), fail, loc)


def _test_or(
    f: FunctionBuilder, patterns: Sequence[cst.CSTNode], subject: Register, fail: Label, captures: _Captures
) -> None:
    matched = f.label()
    for index, pattern in enumerate(patterns):
        last = index == len(patterns) - 1
        other = fail if last else f.label()
        _test(f, pattern, subject, other, captures)
        if not last:
            f.jump(matched, f.loc(pattern))
            f.place(other)
    f.place(matched)


def _is_wildcard(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.MatchAs) and node.pattern is None and node.name is None


def _test_sequence(
    f: FunctionBuilder,
    node: cst.CSTNode,
    elements: Sequence[cst.MatchSequenceElement | cst.MatchStar],
    subject: Register,
    fail: Label,
    captures: _Captures,
) -> None:
    loc, size = f.loc(node), len(elements)
    star = next((i for i, e in enumerate(elements) if isinstance(e, cst.MatchStar)), -1)
    _test_call(f, is_sequence, subject, fail, loc)
    if star < 0:
        _test_length(f, "eq", subject, size, fail, loc)
    elif size > 1:
        _test_length(f, "ge", subject, size - 1, fail, loc)
    starred = elements[star] if star >= 0 else None
    binds_star = isinstance(starred, cst.MatchStar) and starred.name is not None
    inner = [None if isinstance(e, cst.MatchStar) else e.value for e in elements]
    if not binds_star and all(p is None or _is_wildcard(p) for p in inner):
        return  # `[_, *_]`: nothing of it is looked at
    if star >= 0 and not binds_star:
        _test_elements(f, inner, star, subject, fail, captures, loc)
        return
    parts = [f.temp() for _ in elements]
    f.emit(Unpack(dsts=tuple(parts), src=subject, star=star, loc=loc))
    for element, part in zip(elements, parts, strict=True):
        if isinstance(element, cst.MatchStar):
            if element.name is not None:
                _capture(f, element.name, part, captures)
        else:
            _test(f, element.value, part, fail, captures)


def _test_elements(
    f: FunctionBuilder,
    patterns: Sequence[cst.CSTNode | None],
    star: int,
    subject: Register,
    fail: Label,
    captures: _Captures,
    loc: SourceRange,
) -> None:
    """`[a, *_, b]`: only the elements that are looked at are fetched, by index, as CPython does."""
    for index, pattern in enumerate(patterns):
        if pattern is None or _is_wildcard(pattern):
            continue
        if index < star:
            where = f.const(index, loc)
        else:
            length, where = f.call(f.const(len, loc), [subject], loc), f.temp()
            behind = f.const(len(patterns) - index, loc)
            f.emit(Binary(dst=where, op="sub", left=length, right=behind, loc=loc))
        value = f.temp()
        f.emit(LoadItem(dst=value, obj=subject, index=where, loc=loc))
        _test(f, pattern, value, fail, captures)


def _test_mapping(
    f: FunctionBuilder, node: cst.MatchMapping, subject: Register, fail: Label, captures: _Captures
) -> None:
    loc = f.loc(node)
    _test_call(f, is_mapping, subject, fail, loc)
    if not node.elements and node.rest is None:
        return
    if node.elements:
        _test_length(f, "ge", subject, len(node.elements), fail, loc)
    keys = f.temp()
    items = tuple(Item(f.expression(e.key)) for e in node.elements)
    f.emit(Build(dst=keys, kind=Collection.TUPLE, items=items, loc=loc))
    values = f.call(f.const(values_of_keys, loc), [subject, keys], loc)
    parts = _values(f, values, len(node.elements), fail, loc)
    for element, part in zip(node.elements, parts, strict=True):
        _test(f, element.pattern, part, fail, captures)
    if node.rest is not None:
        _capture(f, node.rest, f.call(f.const(mapping_without, loc), [subject, keys], loc), captures)


def _values(f: FunctionBuilder, values: Register, count: int, fail: Label, loc: SourceRange) -> list[Register]:
    """The elements of a check's result, or on to `fail` where it is None."""
    _test_equal(f, "is_not", values, f.const(None, loc), fail, loc)
    parts = [f.temp() for _ in range(count)]
    f.emit(Unpack(dsts=tuple(parts), src=values, star=-1, loc=loc))
    return parts


def _test_class(f: FunctionBuilder, node: cst.MatchClass, subject: Register, fail: Label, captures: _Captures) -> None:
    loc = f.loc(node)
    kind = f.expression(node.cls)
    names = f.const(tuple(f.scope.mangle(k.key.value) for k in node.kwds), loc)
    count = f.const(len(node.patterns), loc)
    values = f.call(f.const(class_attributes, loc), [subject, kind, count, names], loc)
    inner = [*(e.value for e in node.patterns), *(k.pattern for k in node.kwds)]
    for pattern, part in zip(inner, _values(f, values, len(inner), fail, loc), strict=True):
        _test(f, pattern, part, fail, captures)
