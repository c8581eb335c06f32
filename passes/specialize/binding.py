"""Arguments to parameters."""

from __future__ import annotations

from typing import Any

from dycl.frontend.code import Code


def bind(
    code: Code,
    defaults: tuple[Any, ...],
    keyword_defaults: dict[str, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Arguments to parameters, with Python's own errors."""
    parameters = code.parameters
    positional = parameters.positional_only + parameters.positional
    name = code.qualname
    bound = dict(zip(positional, args, strict=False))
    rest = dict(kwargs)
    if len(args) > len(positional) and parameters.var_positional is None:
        plural = "s" * (len(positional) != 1)
        raise TypeError(f"{name}() takes {len(positional)} positional argument{plural} but {len(args)} were given")
    if parameters.var_positional is not None:
        bound[parameters.var_positional] = tuple(args[len(positional) :])
    for parameter in (*parameters.positional, *parameters.keyword_only):
        if parameter in rest:
            if parameter in bound:
                raise TypeError(f"{name}() got multiple values for argument '{parameter}'")
            bound[parameter] = rest.pop(parameter)
    first_default = len(positional) - len(defaults)
    missing = []
    for index, parameter in enumerate(positional):
        if parameter not in bound:
            if index >= first_default:
                bound[parameter] = defaults[index - first_default]
            else:
                missing.append(parameter)
    for parameter in parameters.keyword_only:
        if parameter not in bound:
            if parameter in keyword_defaults:
                bound[parameter] = keyword_defaults[parameter]
            else:
                missing.append(parameter)
    if missing:
        plural = "s" * (len(missing) != 1)
        raise TypeError(f"{name}() missing {len(missing)} required argument{plural}: {', '.join(map(repr, missing))}")
    if parameters.var_keyword is not None:
        bound[parameters.var_keyword] = rest
    elif rest:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(rest))}'")
    return bound
