"""Lowering of names, literals, operators, displays, subscripts, attributes and text."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

import libcst as cst

from dycl.diagnostics import SourceRange
from dycl.frontend.builder import FunctionBuilder, lowers_expression
from dycl.frontend.code import (
    Append,
    Binary,
    Build,
    BuildDict,
    BuildSlice,
    Collection,
    ForIter,
    Format,
    GetIter,
    Item,
    JoinText,
    LoadAttr,
    LoadItem,
    Move,
    Register,
    Unary,
    Yield,
)

_SINGLETONS: dict[str, object] = {"None": None, "True": True, "False": False, "__debug__": __debug__}

_BINARY: dict[type[cst.CSTNode], str] = {
    cst.Add: "add",
    cst.Subtract: "sub",
    cst.Multiply: "mul",
    cst.MatrixMultiply: "matmul",
    cst.Divide: "truediv",
    cst.FloorDivide: "floordiv",
    cst.Modulo: "mod",
    cst.Power: "pow",
    cst.LeftShift: "lshift",
    cst.RightShift: "rshift",
    cst.BitAnd: "and_",
    cst.BitOr: "or_",
    cst.BitXor: "xor",
}

COMPARISONS: dict[type[cst.CSTNode], str] = {
    cst.Equal: "eq",
    cst.NotEqual: "ne",
    cst.LessThan: "lt",
    cst.LessThanEqual: "le",
    cst.GreaterThan: "gt",
    cst.GreaterThanEqual: "ge",
    cst.Is: "is_",
    cst.IsNot: "is_not",
    cst.In: "in",
    cst.NotIn: "not_in",
}

_UNARY: dict[type[cst.CSTNode], str] = {
    cst.Not: "not_",
    cst.Minus: "neg",
    cst.Plus: "pos",
    cst.BitInvert: "invert",
}


# ---------------------------------------------------------------- literals and names


def literal(node: cst.CSTNode) -> tuple[object] | None:
    """The value of a literal, in a tuple of one; None where the node is not a literal."""
    match node:
        case cst.Name(value=name):
            return (_SINGLETONS[name],) if name in _SINGLETONS else None
        case cst.Integer() | cst.Float() | cst.Imaginary() | cst.SimpleString():
            return (node.evaluated_value,)
        case cst.ConcatenatedString():
            value = node.evaluated_value
            return None if value is None else (value,)
        case cst.Ellipsis():
            return (...,)
        case cst.UnaryOperation(
            operator=cst.Minus(), expression=cst.Integer() | cst.Float() | cst.Imaginary() as number
        ):
            return (-number.evaluated_value,)
        case cst.Tuple(elements=elements):
            values = [literal(e.value) if isinstance(e, cst.Element) else None for e in elements]
            known = [value[0] for value in values if value is not None]
            return (tuple(known),) if len(known) == len(values) else None
        case _:
            return None


def _lower_literal(f: FunctionBuilder, node: cst.BaseExpression) -> Register | None:
    value = literal(node)
    return None if value is None else f.const(value[0], f.loc(node))


@lowers_expression(cst.Integer)
@lowers_expression(cst.Float)
@lowers_expression(cst.Imaginary)
@lowers_expression(cst.SimpleString)
@lowers_expression(cst.Ellipsis)
def _lower_constant(f: FunctionBuilder, node: cst.BaseExpression) -> Register:
    register = _lower_literal(f, node)
    assert register is not None
    return register


@lowers_expression(cst.Name)
def _lower_name(f: FunctionBuilder, node: cst.Name) -> Register:
    return _lower_literal(f, node) or f.load(node.value, f.loc(node))


@lowers_expression(cst.NamedExpr)
def _lower_walrus(f: FunctionBuilder, node: cst.NamedExpr) -> Register:
    value = f.expression(node.value)
    f.store(cst.ensure_type(node.target, cst.Name).value, value, f.loc(node))
    return value


# ---------------------------------------------------------------- operators


@lowers_expression(cst.UnaryOperation)
def _lower_unary(f: FunctionBuilder, node: cst.UnaryOperation) -> Register:
    known = _lower_literal(f, node)
    if known is not None:
        return known
    operand, dst = f.expression(node.expression), f.temp()
    f.emit(Unary(dst=dst, op=_UNARY[type(node.operator)], operand=operand, loc=f.loc(node)))
    return dst


@lowers_expression(cst.BinaryOperation)
def _lower_binary(f: FunctionBuilder, node: cst.BinaryOperation) -> Register:
    left, right, dst = f.expression(node.left), f.expression(node.right), f.temp()
    f.emit(Binary(dst=dst, op=_BINARY[type(node.operator)], left=left, right=right, loc=f.loc(node)))
    return dst


def augmented(operator: cst.BaseAugOp) -> str:
    """The name in `operator` of an augmented assignment's operation."""
    plain = getattr(cst, type(operator).__name__.removesuffix("Assign"))
    return "i" + _BINARY[plain].rstrip("_")


def compare(f: FunctionBuilder, left: Register, target: cst.ComparisonTarget, loc: SourceRange) -> tuple[str, str]:
    """(register of `left op comparator`, register of the comparator)."""
    right, dst = f.expression(target.comparator), f.temp()
    f.emit(Binary(dst=dst, op=COMPARISONS[type(target.operator)], left=left, right=right, loc=loc))
    return dst, right


@lowers_expression(cst.Comparison)
def _lower_comparison(f: FunctionBuilder, node: cst.Comparison) -> Register:
    loc, left, end = f.loc(node), f.expression(node.left), f.label()
    result = ""
    for index, target in enumerate(node.comparisons):
        outcome, left = compare(f, left, target, loc)
        if len(node.comparisons) == 1:
            return outcome
        result = result or f.temp()
        f.emit(Move(dst=result, src=outcome, loc=loc))
        if index < len(node.comparisons) - 1:
            f.jump_if(result, False, end, loc)
    f.place(end)
    return result


# ---------------------------------------------------------------- attributes and subscripts


@lowers_expression(cst.Attribute)
def _lower_attribute(f: FunctionBuilder, node: cst.Attribute) -> Register:
    obj, dst = f.expression(node.value), f.temp()
    f.emit(LoadAttr(dst=dst, obj=obj, name=f.scope.mangle(node.attr.value), loc=f.loc(node)))
    return dst


@lowers_expression(cst.Subscript)
def _lower_subscript(f: FunctionBuilder, node: cst.Subscript) -> Register:
    obj = f.expression(node.value)
    index, dst = lower_index(f, node), f.temp()
    f.emit(LoadItem(dst=dst, obj=obj, index=index, loc=f.loc(node)))
    return dst


def lower_index(f: FunctionBuilder, node: cst.Subscript) -> Register:
    """The register of what stands between the brackets of a subscript."""
    first = node.slice[0]
    starred = isinstance(first.slice, cst.Index) and first.slice.star is not None
    if len(node.slice) == 1 and not starred and not isinstance(first.comma, cst.Comma):
        return _lower_slice(f, first.slice)
    known = [
        literal(e.slice.value) if isinstance(e.slice, cst.Index) and not e.slice.star else None for e in node.slice
    ]
    if all(value is not None for value in known):
        return f.const(tuple(value[0] for value in known if value is not None), f.loc(node))
    return build(
        f, Collection.TUPLE, [(e.slice, bool(getattr(e.slice, "star", None))) for e in node.slice], f.loc(node)
    )


def _lower_slice(f: FunctionBuilder, node: cst.BaseSlice) -> Register:
    if isinstance(node, cst.Index):
        return f.expression(node.value)
    assert isinstance(node, cst.Slice)
    loc = f.loc(node)
    start, stop, step = (
        f.const(None, loc) if part is None else f.expression(part) for part in (node.lower, node.upper, node.step)
    )
    dst = f.temp()
    f.emit(BuildSlice(dst=dst, start=start, stop=stop, step=step, loc=loc))
    return dst


lowers_expression(cst.Index)(_lower_slice)
lowers_expression(cst.Slice)(_lower_slice)


# ---------------------------------------------------------------- displays


def build(
    f: FunctionBuilder, kind: Collection, parts: Sequence[tuple[cst.CSTNode, bool]], loc: SourceRange
) -> Register:
    """A tuple, list or set of nodes, some of them starred; a starred one is iterated before the next is evaluated."""
    growing = Collection.SET if kind is Collection.SET else Collection.LIST
    items: list[Item] = []
    partial = False  # the items are one starred collection that we made and may add to
    for index, (node, starred) in enumerate(parts):
        value = f.expression(node)
        if partial and not starred:
            f.emit(Append(target=items[0].src, src=value, key=None, loc=loc))
            continue
        items.append(Item(value, "*" if starred else ""))
        if partial or (starred and any(literal(rest) is None for rest, _ in parts[index + 1 :])):
            items, partial = [Item(_build(f, growing, items, loc), "*")], True
    if partial and kind is growing:
        return items[0].src
    return _build(f, kind, items, loc)


def _build(f: FunctionBuilder, kind: Collection, items: Sequence[Item], loc: SourceRange) -> Register:
    dst = f.temp()
    f.emit(Build(dst=dst, kind=kind, items=tuple(items), loc=loc))
    return dst


def _parts(elements: Sequence[cst.BaseElement]) -> list[tuple[cst.CSTNode, bool]]:
    return [(e.value, isinstance(e, cst.StarredElement)) for e in elements]


@lowers_expression(cst.Tuple)
def _lower_tuple(f: FunctionBuilder, node: cst.Tuple) -> Register:
    return _lower_literal(f, node) or build(f, Collection.TUPLE, _parts(node.elements), f.loc(node))


@lowers_expression(cst.List)
def _lower_list(f: FunctionBuilder, node: cst.List) -> Register:
    return build(f, Collection.LIST, _parts(node.elements), f.loc(node))


@lowers_expression(cst.Set)
def _lower_set(f: FunctionBuilder, node: cst.Set) -> Register:
    return build(f, Collection.SET, _parts(node.elements), f.loc(node))


@lowers_expression(cst.Dict)
def _lower_dict(f: FunctionBuilder, node: cst.Dict) -> Register:
    loc, pairs = f.loc(node), list[tuple[Register | None, Register]]()
    for index, element in enumerate(node.elements):
        key = f.expression(element.key) if isinstance(element, cst.DictElement) else None
        pairs.append((key, f.expression(element.value)))
        if key is None and index < len(node.elements) - 1:  # it is read before the next element is evaluated
            pairs = [(None, _build_dict(f, pairs, loc))]
    return _build_dict(f, pairs, loc)


def _build_dict(f: FunctionBuilder, pairs: list[tuple[Register | None, Register]], loc: SourceRange) -> Register:
    dst = f.temp()
    f.emit(BuildDict(dst=dst, items=tuple(pairs), loc=loc))
    return dst


# ---------------------------------------------------------------- text


@lowers_expression(cst.ConcatenatedString)
def _lower_concatenated(f: FunctionBuilder, node: cst.ConcatenatedString) -> Register:
    known = _lower_literal(f, node)
    if known is not None:
        return known
    parts: list[Register] = []
    rest: cst.BaseString = node
    while isinstance(rest, cst.ConcatenatedString):
        parts += _text_parts(f, rest.left)
        rest = rest.right
    return _join(f, parts + _text_parts(f, rest), f.loc(node))


@lowers_expression(cst.FormattedString)
def _lower_formatted(f: FunctionBuilder, node: cst.FormattedString) -> Register:
    return _join(f, _text_parts(f, node), f.loc(node))


def _join(f: FunctionBuilder, parts: Sequence[Register], loc: SourceRange) -> Register:
    dst = f.temp()
    f.emit(JoinText(dst=dst, parts=tuple(parts), loc=loc))
    return dst


def _text_parts(f: FunctionBuilder, node: cst.BaseString) -> list[Register]:
    if isinstance(node, cst.FormattedString):
        return _fields(f, node.parts, raw="r" in node.prefix.lower())
    return [_lower_constant(f, node)]


def _fields(f: FunctionBuilder, parts: Sequence[cst.BaseFormattedStringContent], raw: bool) -> list[Register]:
    registers: list[Register] = []
    for part in parts:
        if isinstance(part, cst.FormattedStringText):
            registers.append(f.const(_plain_text(part.value, raw), f.loc(part)))
            continue
        field = cst.ensure_type(part, cst.FormattedStringExpression)
        if field.equal is not None:
            registers.append(f.const(_field_source(field), f.loc(field)))
        registers.append(_lower_field(f, field, raw))
    return registers


def _plain_text(text: str, raw: bool) -> str:
    text = text.replace("{{", "{").replace("}}", "}")
    if raw or "\\" not in text:
        return text
    quoted = re.sub(r'\\.|"', lambda m: m[0] if m[0] != '"' else '\\"', text, flags=re.DOTALL)
    return str(ast.literal_eval(f'"""{quoted}"""'))


def _field_source(field: cst.FormattedStringExpression) -> str:
    """The text that `{expression = }` shows before the value."""
    assert field.equal is not None
    empty = cst.Module([])
    parts: tuple[cst.CSTNode, ...] = (field.whitespace_before_expression, field.expression, field.equal)
    return "".join(empty.code_for_node(part) for part in parts)


def _lower_field(f: FunctionBuilder, field: cst.FormattedStringExpression, raw: bool) -> Register:
    loc = f.loc(field)
    value, spec = f.expression(field.expression), None
    if field.format_spec is not None:
        spec = _join(f, _fields(f, field.format_spec, raw), loc)
    shows_source = field.equal is not None and field.conversion is None and field.format_spec is None
    dst, conversion = f.temp(), "r" if shows_source else field.conversion or ""
    f.emit(Format(dst=dst, src=value, conversion=conversion, spec=spec, loc=loc))
    return dst


# ---------------------------------------------------------------- yield


@lowers_expression(cst.Yield)
def _lower_yield(f: FunctionBuilder, node: cst.Yield) -> Register:
    if isinstance(node.value, cst.From):
        return lower_yield_from(f, node, node.value)
    loc = f.loc(node)
    value = f.const(None, loc) if node.value is None else f.expression(node.value)
    dst = f.temp()
    f.emit(Yield(dst=dst, src=value, loc=loc))
    return dst


def lower_yield_from(f: FunctionBuilder, node: cst.Yield, source: cst.From) -> Register:
    """Yield every item, and give what the generator returns."""
    loc = f.loc(node)
    iterable, iterator, item, end = f.expression(source.item), f.temp(), f.temp(), f.label()
    f.emit(GetIter(dst=iterator, src=iterable, loc=loc))
    result = f.const(None, loc)
    head = f.here()
    f.emit(ForIter(dst=item, iterator=iterator, exhausted=end, value=result, loc=loc))
    f.emit(Yield(dst=f.temp(), src=item, is_delegated=True, loc=loc))
    f.jump(head, loc)
    f.place(end)
    return result


@lowers_expression(cst.Await)
def _lower_await(f: FunctionBuilder, node: cst.Await) -> Register:
    raise f.unsupported(node, "`await` cannot be compiled", "call a function that is not async")
