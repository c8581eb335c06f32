"""Jumps of the tree as Python's: falling through, `break`, `continue`, and a variable `goto` where these do not reach.

Before: `Test(b1, [Goto(b4)], [Goto(b2)])`, `Mark(b2)`, `Mark(b4)`. After: `if ...: goto = 4`, `else: goto = 2`,
`if goto == 2: ...`, and the code of b4. A mark is guarded only if something passes it on its way to a later one; it is
known when all jumps are resolved, so statements keep a reference to the marks their text depends on.
"""

from __future__ import annotations

from collections.abc import Iterator

from dycl.diagnostics import InternalError
from dycl.hostgen.recursion import Call, run
from dycl.hostgen.shape import (
    Body,
    Break,
    Continue,
    Enter,
    Frame,
    Goto,
    If,
    IfGoto,
    Label,
    Leave,
    Loop,
    Mark,
    SetGoto,
    Statement,
    Test,
    Tree,
    While,
    Work,
)
from dycl.ir.graph import ROOT
from dycl.ir.values import BlockId

_NOWHERE = BlockId(-2)  # the end of a body that control never reaches


def resolve_jumps(tree: Tree) -> Body:
    """The statements of a tree."""
    out: Body = []
    run(_resolve(tree, out, None, None))
    return out


def _resolve(tree: Tree, out: Body, fall: Label | None, frame: Frame | None) -> Call[None]:
    """Append the statements of a tree after which control falls to `fall`."""
    falls = [fall]
    for node in reversed(tree):
        falls.append(Label(node.label, node, falls[-1]) if isinstance(node, Mark) else falls[-1])
    falls.reverse()
    for index, node in enumerate(tree):
        following = falls[index + 1]
        match node:
            case Work() | Enter() | Leave() | SetGoto():
                out.append(node)
            case Goto():
                _jump(node, out, following, frame)
            case Test():
                yield _resolve_test(node, out, following, frame)
            case Loop():
                yield _resolve_loop(node, out, following, frame)
            case Mark():
                body: Body = []
                yield _resolve(node.body, body, following, frame)
                out.append(IfGoto(node.label, body, node))


def _resolve_test(node: Test, out: Body, fall: Label | None, frame: Frame | None) -> Call[None]:
    """The smaller arm is indented; if it ends in a jump, the other one goes on at the level of the test."""
    swap = node.sizes[1] < node.sizes[0]
    small, large = (node.orelse, node.then) if swap else (node.then, node.orelse)
    first: Body = []
    yield _resolve(small, first, fall, frame)
    if not _is_terminal(first) and max(node.sizes) > 1 and min(node.sizes) == 0 and _is_loop_end(fall, frame):
        first.append(Continue())
    if _is_terminal(first):
        out.append(If(node.decision, swap, first, []))
        yield _resolve(large, out, fall, frame)
        return
    second: Body = []
    yield _resolve(large, second, fall, frame)
    if _is_terminal(second):
        out.append(If(node.decision, not swap, second, []))
        out.extend(first)
    else:
        then, orelse = (second, first) if swap else (first, second)
        out.append(If(node.decision, False, then, orelse))


def _is_loop_end(fall: Label | None, frame: Frame | None) -> bool:
    return bool(fall and frame and fall.mark is None and fall.block == frame.header)


def _is_terminal(body: Body) -> bool:
    """Whether control never comes to the end of the statements."""
    while body:
        match body[-1]:
            case Leave() | Break() | Continue():
                return True
            case IfGoto(then=then, mark=mark) if mark and not mark.guarded:
                body = then
            case _:
                return False  # an `if` with two arms is written only where neither of them is terminal
    return False


def _resolve_loop(node: Loop, out: Body, fall: Label | None, outer: Frame | None) -> Call[None]:
    marks = frozenset(item.label for item in node.body if isinstance(item, Mark)) if node.dispatch else frozenset()
    frame = Frame(node.header, marks, fall or Label(_NOWHERE, None, None), outer)
    body: Body = []
    end = Label(_NOWHERE if node.header is None else node.header, None, None)
    if node.dispatch:
        for item in node.body:
            assert isinstance(item, Mark)
            item.guarded = True
    yield _resolve(node.body, body, end, frame)
    out.append(While(body, once=node.header is None and not node.dispatch))
    for target in frame.escapes:
        _reroute(target, frame, out, fall, outer)


def _reroute(target: BlockId, left: Frame, out: Body, fall: Label | None, frame: Frame | None) -> None:
    """Go on, after a loop, to a label that its `break` does not land at."""
    if _pass_to(target, fall):
        return
    left.rerouted = True
    if frame is None:
        raise InternalError(f"host generator: no way to block {target}")
    if target == frame.header:
        out.append(IfGoto(target, [Continue()]))
        return
    if target != frame.after.block:
        frame.escapes[target] = None
    out.append(IfGoto(target, [Break()]))


def _jump(node: Goto, out: Body, fall: Label | None, frame: Frame | None) -> None:
    if node.block != ROOT:
        out.append(Enter(node.block, node.edge))
    out.extend(_way(node.target, fall, frame))


def _way(target: BlockId, fall: Label | None, frame: Frame | None) -> Iterator[Statement]:
    """The shortest way to a label."""
    if fall and fall.block == target:
        if fall.mark:
            yield SetGoto(target, False, fall.mark)
    elif frame and target == frame.header:
        yield Continue()
    elif frame and target == frame.after.block:
        yield SetGoto(target, False, frame.after.mark, frame)
        yield Break()
    elif _pass_to(target, fall):
        yield SetGoto(target, True)
    elif frame and target in frame.dispatch:
        yield SetGoto(target, True)
        yield Continue()
    elif frame:
        yield SetGoto(target, True)
        frame.escapes[target] = None
        yield Break()
    else:
        raise InternalError(f"host generator: no way to block {target}")


def _pass_to(target: BlockId, fall: Label | None) -> bool:
    """Whether falling on comes to a label; all that is passed gets a guard."""
    passed: list[Mark] = []
    here = fall
    while here and here.block != target:
        if here.mark is None:
            return False
        passed.append(here.mark)
        here = here.next
    if here is None or here.mark is None:
        return False
    for mark in passed:
        mark.guarded = True
    return True
