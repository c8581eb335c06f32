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

_lowered: dict[types.CodeType, Code] = {}


def lower_function(function: types.FunctionType) -> Code:
    """The lowered code of a Python function, made once per code object; UnsupportedError (DY101 to DY103) otherwise."""
    key = function.__code__
    code = _lowered.get(key)
    if code is None:
        source = find_source(function)
        builder = FunctionBuilder(source.unit, source.scope, source.qualname)
        code = _lowered[key] = lower_body(builder, source.node, source.name)
    return code
