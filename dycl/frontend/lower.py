"""A live function, lowered: the front end's entry.

Before: the source of a function in its file. After: a `Code`, with the functions inside it lowered along.
"""

from __future__ import annotations

import types

# Each of these registers the lowering of some node types.
import dycl.frontend.comprehensions
import dycl.frontend.handlers
import dycl.frontend.patterns
import dycl.frontend.statements  # noqa: F401
from dycl.frontend.builder import FunctionBuilder
from dycl.frontend.calls import lower_body
from dycl.frontend.code import Code
from dycl.frontend.source import find_source

# By identity: equal code objects may come from different files or columns. The code object is kept, so its id is too.
_lowered: dict[int, tuple[types.CodeType, Code]] = {}


def lower_function(function: types.FunctionType) -> Code:
    """The lowered code of a Python function, made once per code object; UnsupportedError (DY101 to DY103) otherwise."""
    native = function.__code__
    known = _lowered.get(id(native))
    if known is not None:
        return known[1]
    source = find_source(function)
    code = lower_body(FunctionBuilder(source.unit, source.scope, source.qualname), source.node, source.name)
    _lowered[id(native)] = (native, code)
    return code
