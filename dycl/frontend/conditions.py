"""Lowering of truth: conditions become jumps, `and`/`or`/`not`/chains/conditional expressions keep no bool between."""

from __future__ import annotations

import libcst as cst

from dycl.frontend.builder import FunctionBuilder, Label, lowers_expression
from dycl.frontend.code import Move, Register
from dycl.frontend.expressions import compare, literal


def jump_on(f: FunctionBuilder, node: cst.BaseExpression, want: bool, target: Label) -> None:
    """Go to `target` if the truth of the expression is `want`, else go on."""
    known = literal(node)
    match node:
        case _ if known is not None:
            if bool(known[0]) is want:
                f.jump(target, f.loc(node))
        case cst.UnaryOperation(operator=cst.Not(), expression=inner):
            jump_on(f, inner, not want, target)
        case cst.BooleanOperation():
            _jump_on_operands(f, node, want, target)
        case cst.Comparison(comparisons=comparisons) if len(comparisons) > 1:
            _jump_on_chain(f, node, want, target)
        case cst.IfExp():
            other, end = f.label(), f.label()
            jump_on(f, node.test, False, other)
            jump_on(f, node.body, want, target)
            f.jump(end, f.loc(node))
            f.place(other)
            jump_on(f, node.orelse, want, target)
            f.place(end)
        case _:
            f.jump_if(f.expression(node), want, target, f.loc(node))


def _operands(node: cst.BooleanOperation) -> list[cst.BaseExpression]:
    """The operands of a chain of the same operator."""
    operands: list[cst.BaseExpression] = []
    for side in (node.left, node.right):
        same = isinstance(side, cst.BooleanOperation) and type(side.operator) is type(node.operator)
        operands += _operands(side) if same and isinstance(side, cst.BooleanOperation) else [side]
    return operands


def _jump_on_operands(f: FunctionBuilder, node: cst.BooleanOperation, want: bool, target: Label) -> None:
    operands, stop = _operands(node), isinstance(node.operator, cst.Or)
    if want is stop:
        for operand in operands:
            jump_on(f, operand, want, target)
        return
    skip = f.label()
    for operand in operands[:-1]:
        jump_on(f, operand, stop, skip)
    jump_on(f, operands[-1], want, target)
    f.place(skip)


def _jump_on_chain(f: FunctionBuilder, node: cst.Comparison, want: bool, target: Label) -> None:
    loc, left, fail = f.loc(node), f.expression(node.left), f.label()
    for comparison in node.comparisons[:-1]:
        outcome, left = compare(f, left, comparison, loc)
        f.jump_if(outcome, False, fail if want else target, loc)
    outcome, _ = compare(f, left, node.comparisons[-1], loc)
    f.jump_if(outcome, want, target, loc)
    f.place(fail)


# ---------------------------------------------------------------- values


@lowers_expression(cst.BooleanOperation)
def _lower_boolean(f: FunctionBuilder, node: cst.BooleanOperation) -> Register:
    dst, end = f.temp(), f.label()
    operands, stop = _operands(node), isinstance(node.operator, cst.Or)
    for operand in operands[:-1]:
        _stop_on(f, operand, stop, dst, end)
    f.emit(Move(dst=dst, src=f.expression(operands[-1]), loc=f.loc(node)))
    f.place(end)
    return dst


def _stop_on(f: FunctionBuilder, node: cst.BaseExpression, want: bool, dst: Register, end: Label) -> None:
    """If the truth of the expression is `want`, go to `end` with its value in `dst`; tested once, as CPython does."""
    if not isinstance(node, cst.BooleanOperation):
        f.emit(Move(dst=dst, src=f.expression(node), loc=f.loc(node)))
        f.jump_if(dst, want, end, f.loc(node))
        return
    operands, stop = _operands(node), isinstance(node.operator, cst.Or)
    if stop is want:
        for operand in operands:
            _stop_on(f, operand, want, dst, end)
        return
    skip = f.label()
    for operand in operands[:-1]:
        jump_on(f, operand, stop, skip)
    _stop_on(f, operands[-1], want, dst, end)
    f.place(skip)


@lowers_expression(cst.IfExp)
def _lower_conditional(f: FunctionBuilder, node: cst.IfExp) -> Register:
    dst, other, end = f.temp(), f.label(), f.label()
    jump_on(f, node.test, False, other)
    f.emit(Move(dst=dst, src=f.expression(node.body), loc=f.loc(node.body)))
    f.jump(end, f.loc(node))
    f.place(other)
    f.emit(Move(dst=dst, src=f.expression(node.orelse), loc=f.loc(node.orelse)))
    f.place(end)
    return dst
