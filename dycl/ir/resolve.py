"""Functions and constants of torch by the names a program gives them, and the names of live ones.

A name is only ever given to an object if it leads back to the same object.
"""

from __future__ import annotations

import ast
import enum
import importlib
from collections.abc import Callable, Hashable
from functools import cache
from types import BuiltinFunctionType, MethodWrapperType
from typing import Any, cast

import torch
from torch.overrides import resolve_name

from dycl.diagnostics import InternalError


@cache
def resolve_function(name: str) -> Callable[..., Any]:
    """The function of torch of this name: `torch.Tensor.add_`, `torch._VF.lstm`, `torch.Tensor.real.__get__`."""
    found = _resolve_dotted(name)
    if not callable(found):
        raise InternalError(f"{name!r} is no function of torch but {found!r}")
    return cast(Callable[..., Any], found)


@cache
def resolve_torch(text: str) -> object:
    """The constant of torch that is written so: `torch.float32`, `torch.device('cpu')`, `torch.channels_last`."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise InternalError(f"{text!r} is no constant of torch") from None
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.device" and not node.keywords:
        return torch.device(*(ast.literal_eval(argument) for argument in node.args))
    return _resolve_dotted(text)


def function_name(function: Callable[..., Any]) -> str | None:
    """The dotted name of a function of torch, or None if none of its names leads back to it."""
    return _find_name(function) if isinstance(function, Hashable) else None  # every function of torch is hashable


@cache
def _find_name(function: Callable[..., Any]) -> str | None:
    bare = str(getattr(function, "__name__", ""))
    modules = ("torch", "torch.nn.functional", "torch._VF", "torch._C._nn", "torch._C", "torch.Tensor")
    candidates = [
        resolve_name(function),
        f"torch.ops.{function}",
        f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}",
        *(f"{module}.{bare}" for module in modules),
    ]
    return next((name for name in candidates if name and _leads_to(name, function)), None)


def torch_text(constant: object) -> str | None:
    """How a dtype, device, layout, memory format or enum of torch is written, or None if it is none of these."""
    if isinstance(constant, torch.device):
        return f"torch.device({str(constant)!r})"
    if isinstance(constant, torch.dtype | torch.layout | torch.memory_format | torch.qscheme):
        return repr(constant)
    of = type(constant)
    if isinstance(constant, enum.Enum) or hasattr(of, "__members__"):  # the latter: an enum of pybind11
        text = f"{of.__module__}.{constant}"
        return text if _leads_to(text, constant) else None
    return None


def _resolve_dotted(name: str) -> object:
    root, *parts = name.split(".")
    if root != "torch":
        raise InternalError(f"{name!r} is no name of torch")
    found: object = torch
    path = root
    for part in parts:
        path = f"{path}.{part}"
        if not hasattr(found, part) and not _import_module(path):
            raise InternalError(f"there is no {path!r}, which {name!r} names")
        found = getattr(found, part)
    return found


def _import_module(path: str) -> bool:
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        return False
    return True


def _leads_to(name: str, wanted: object) -> bool:
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        found = _resolve_dotted(name)
    except InternalError:
        return False
    # A method wrapper (`torch.Tensor.real.__get__`) is made anew at each access, and equal to its likes.
    return found is wanted or (isinstance(wanted, MethodWrapperType | BuiltinFunctionType) and found == wanted)
