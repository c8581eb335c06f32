"""Arguments to parameters: CPython itself binds them, to a stub with the same parameters."""

from __future__ import annotations

import functools
import types
from typing import Any

from dycl.frontend.code import Code, Parameters


def bind(
    code: Code,
    defaults: tuple[Any, ...],
    keyword_defaults: dict[str, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Arguments to parameters, with Python's own errors."""
    stub = _stub(code.parameters)
    function = types.FunctionType(stub.__code__, {"__builtins__": {}}, code.name, defaults)
    function.__kwdefaults__ = keyword_defaults
    function.__qualname__ = code.qualname
    return dict(zip(code.parameters.names, function(*args, **kwargs), strict=True))


@functools.cache
def _stub(parameters: Parameters) -> types.FunctionType:
    """A function of these parameters that returns their values; who calls it gives it its defaults."""
    head = [*map(_spelled, parameters.positional_only), *(["/"] if parameters.positional_only else [])]
    head += map(_spelled, parameters.positional)
    if parameters.var_positional is not None:
        head.append(f"*{parameters.var_positional}")
    elif parameters.keyword_only:
        head.append("*")
    head += parameters.keyword_only
    if parameters.var_keyword is not None:
        head.append(f"**{parameters.var_keyword}")
    values = "".join(f"{_spelled(name)}, " for name in parameters.names)
    made: types.FunctionType = eval(f"lambda {', '.join(head)}: ({values})", {"__builtins__": {}})
    return made


def _spelled(name: str) -> str:
    """A generator expression's only parameter is called `.0`, which no source can write."""
    return name.replace(".", "_")
