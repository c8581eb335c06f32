"""A smaller program that shows the same: statements are taken out, expressions replaced by parts of themselves."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

Edit = Callable[[ast.Module], bool]


def shrink(text: str, shows: Callable[[str], bool], *, rounds: int = 400) -> str:
    """The smallest program found that still shows what the first one does; at most so many are tried."""
    best = text
    left = rounds
    is_smaller = True
    while is_smaller and left > 0:
        is_smaller = False
        index = 0
        while left > 0:
            candidate = _edited(best, index)
            if candidate is None:
                break
            left -= 1
            if len(candidate) < len(best) and shows(candidate):
                best, is_smaller = candidate, True
            else:
                index += 1
    return best


def _edited(text: str, index: int) -> str | None:
    """The program with its edit of that number made; None if there are no more."""
    for number, edit in enumerate(_edits(ast.parse(text))):
        if number == index:
            tree = ast.parse(text)
            edit(tree)
            return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    return None


def _edits(tree: ast.Module) -> Iterator[Callable[[ast.Module], None]]:
    """All edits of a tree, those that take most first; an edit finds its place by number."""
    nodes = list(ast.walk(tree))
    for number, node in enumerate(nodes):
        for field, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                for place in range(len(value)):
                    yield _without(number, field, place)
                    if _bodies(value[place]):
                        yield _flattened(number, field, place)
                if field in ("orelse", "finalbody"):
                    yield _emptied(number, field)
    for number, node in enumerate(nodes):
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                for part in range(len(_parts(value))):
                    yield _replaced(number, field, None, part)
            elif isinstance(value, list):
                for place, item in enumerate(value):
                    if isinstance(item, ast.expr):
                        yield _without(number, field, place)
                        for part in range(len(_parts(item))):
                            yield _replaced(number, field, place, part)


def _node(tree: ast.Module, number: int) -> ast.AST:
    return list(ast.walk(tree))[number]


def _without(number: int, field: str, place: int) -> Callable[[ast.Module], None]:
    def edit(tree: ast.Module) -> None:
        items = getattr(_node(tree, number), field)
        removed = items.pop(place)
        if not items and field == "body" and isinstance(removed, ast.stmt):
            items.append(ast.Pass())

    return edit


def _bodies(statement: ast.stmt) -> list[ast.stmt]:
    """What is inside a compound statement that could stand in its place."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return []
    inside = [*getattr(statement, "body", []), *getattr(statement, "orelse", []), *getattr(statement, "finalbody", [])]
    return [item for item in inside if isinstance(item, ast.stmt)]


def _flattened(number: int, field: str, place: int) -> Callable[[ast.Module], None]:
    def edit(tree: ast.Module) -> None:
        items = getattr(_node(tree, number), field)
        items[place : place + 1] = _bodies(items[place])

    return edit


def _emptied(number: int, field: str) -> Callable[[ast.Module], None]:
    def edit(tree: ast.Module) -> None:
        setattr(_node(tree, number), field, [])

    return edit


def _parts(node: ast.expr) -> list[ast.expr]:
    """Smaller expressions that could stand for this one."""
    if isinstance(node, (ast.Constant, ast.Name)) or isinstance(getattr(node, "ctx", None), ast.Store):
        return []
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _replaced(number: int, field: str, place: int | None, part: int) -> Callable[[ast.Module], None]:
    def edit(tree: ast.Module) -> None:
        node = _node(tree, number)
        value = getattr(node, field) if place is None else getattr(node, field)[place]
        new = copy.deepcopy(_parts(value)[part])
        if place is None:
            setattr(node, field, new)
        else:
            getattr(node, field)[place] = new

    return edit
