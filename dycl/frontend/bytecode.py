"""Whether a live function still is what its source says: the source is compiled and the bytecode compared."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence


def index_codes(module: types.CodeType) -> dict[tuple[int, str], list[types.CodeType]]:
    """The code objects inside a module's by first line and name."""
    index: dict[tuple[int, str], list[types.CodeType]] = {}
    for code in _inner_codes(module):
        index.setdefault((code.co_firstlineno, code.co_name), []).append(code)
    return index


def is_among(code: types.CodeType, compiled: Sequence[types.CodeType]) -> bool:
    """Is one of the code objects the same program as `code`?

    Functions whose asserts pytest has rewritten always are: their bytecode is not that of any text.
    """
    return any(_same(one, code) for one in compiled) or any(name.startswith("@py") for name in _all_names(code))


def _inner_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield const
            yield from _inner_codes(const)


def _all_names(code: types.CodeType) -> Iterator[str]:
    for one in (code, *_inner_codes(code)):
        yield from one.co_names
        yield from one.co_varnames


def _same(a: types.CodeType, b: types.CodeType) -> bool:
    return (
        a.co_code == b.co_code
        and a.co_names == b.co_names
        and a.co_varnames == b.co_varnames
        and a.co_freevars == b.co_freevars
        and a.co_cellvars == b.co_cellvars
        and a.co_exceptiontable == b.co_exceptiontable
        and len(a.co_consts) == len(b.co_consts)
        and all(map(_same_constant, a.co_consts, b.co_consts))
    )


def _same_constant(a: object, b: object) -> bool:
    if isinstance(a, types.CodeType) and isinstance(b, types.CodeType):
        return _same(a, b)
    if isinstance(a, frozenset):
        return a == b
    return type(a) is type(b) and repr(a) == repr(b)
