"""What must not be run at compile time: its answer then says nothing about its answer at run time.

Clocks and draws are operations of the host (`draws.py`), and so are the variables of the environment here. All else is
refused: by name where the model calls it, by watching (`Watched`) where Python of the standard library does.
"""

from __future__ import annotations

import _thread
import io
import logging
import os
import platform
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from dycl.diagnostics import UnsupportedError
from dycl.ir.values import ScalarKind
from dycl.passes.specialize import pymodels
from dycl.passes.specialize.builtins import Interpret, model
from dycl.passes.specialize.callhook import borrow, give_back
from dycl.passes.specialize.draws import draw_number
from dycl.passes.specialize.values import Scalar

if TYPE_CHECKING:
    from dycl.passes.specialize.machine import Machine

_HINT = "pass what it returns as an input"

_IMPURE_MODULES = frozenset(
    {
        "time",
        "random",
        "secrets",
        "uuid",
        "posix",
        "nt",
        "os",
        "socket",
        "_socket",
        "subprocess",
        "_random",
        "numpy.random",
        "numpy.random.mtrand",
        "numpy.random._generator",
        "numpy.random.bit_generator",
        "shutil",
        "tempfile",
        "glob",
        "urllib.request",
    }
)
_IMPURE: frozenset[Any] = frozenset(
    {
        open,
        input,
        torch.manual_seed,
        torch.seed,
        torch.initial_seed,
        torch.get_rng_state,
        torch.set_rng_state,
        torch.set_default_dtype,
        torch.set_default_device,
        torch.set_num_threads,
        torch.get_num_threads,
        torch.get_num_interop_threads,
        sys.getrefcount,
        platform.node,
        platform.uname,
        platform.platform,
        platform.machine,
        platform.processor,
        platform.architecture,
        platform.system,
        platform.release,
        platform.version,
        torch.random.fork_rng,
        torch.save,
        torch.load,
        threading.get_ident,
        threading.get_native_id,
    }
)
_OF_THE_PROCESS = frozenset({"argv", "orig_argv", "stdin", "executable"})
_PURE_NAMES = frozenset({"fspath", "fsencode", "fsdecode", "strerror"})
_WATCHED_MODULES = frozenset({"posix", "nt", "time", "_random", "_socket", "_posixsubprocess"})
_SPEAKS_OF_SOURCE = tuple(
    os.path.join(os.path.dirname(os.__file__), *name.split("/"))
    for name in ("linecache.py", "inspect.py", "warnings.py", "importlib/metadata/__init__.py")
)


def is_impure(function: Any) -> bool:
    """Whether a native function's answer now says nothing about its answer at run time."""
    module = _module_of(function)
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__self__", None)
    try:
        if function in _IMPURE:
            return True
    except TypeError:
        pass
    if isinstance(owner, type) and name in ("now", "today", "utcnow", "fromtimestamp"):
        return True
    if name == "data_ptr" and isinstance(owner, torch.Tensor | torch.UntypedStorage | torch.TypedStorage):
        return True
    if module in _IMPURE_MODULES and name not in _PURE_NAMES:
        return True
    return type(owner).__module__ in ("_random", "random", "numpy.random.mtrand", "numpy.random", "os")


def _module_of(function: Any) -> Any:
    owner_type = type(getattr(function, "__self__", None))
    return getattr(function, "__module__", None) or getattr(owner_type, "__module__", "")


def check_pure(machine: Machine, function: Any, args: tuple[Any, ...]) -> None:
    """Refuse a native function that must not run at compile time, and whatever else is done to the environment."""
    if is_impure(function) or any(arg is os.environ for arg in args):
        raise UnsupportedError("DY210", machine.loc(), _frozen(function), hint=_HINT)
    if function in (next, iter) and args and isinstance(args[0], Iterator) and id(args[0]) in machine.known_objects:
        raise UnsupportedError(
            "DY206",
            machine.loc(),
            f"a {type(args[0]).__name__} that was there before the call is advanced",
            hint="count in an attribute of the model, or keep the items in a list",
        )


def check_attribute(machine: Machine, target: Any, name: str) -> None:
    """Refuse what a module of the standard library says of the process."""
    if target is sys and name in _OF_THE_PROCESS:
        raise UnsupportedError("DY210", machine.loc(), f"sys.{name} would be frozen at compile time", hint=_HINT)


def _frozen(function: Any) -> str:
    name = getattr(function, "__name__", function)
    return f"{_module_of(function)}.{name} would be run at compile time and its answer frozen"


def is_logging(function: Any) -> bool:
    """Whether a call only writes a log."""
    return isinstance(getattr(function, "__self__", None), (logging.Logger, logging.LoggerAdapter)) or (
        getattr(function, "__module__", "") == "logging"
        and getattr(function, "__name__", "") in ("debug", "info", "warning", "error", "critical", "exception", "log")
    )


# ---------------------------------------------------------------- the standard library, which runs natively


def is_to_be_watched(function: Any) -> bool:
    """Whether this is Python of the standard library, which may go on to what must not run at compile time."""
    return type(function) is types.FunctionType and _module_of(function).partition(".")[0] in sys.stdlib_module_names


class Watched:
    """While it is entered, what the standard library asks of the system is an error."""

    def __init__(self, loc: Callable[[], Any], function: Any) -> None:
        self._loc, self._function = loc, function
        self._before: Any = None
        self._error: UnsupportedError | None = None

    def __enter__(self) -> None:
        self._before = borrow(self._watch)

    def __exit__(self, *error: object) -> None:
        give_back(self._before)
        if self._error is not None:  # the library may have swallowed it
            raise self._error from None

    def _watch(self, frame: types.FrameType, event: str, arg: Any) -> None:
        if isinstance(self._before, types.FunctionType | types.MethodType):
            self._before(frame, event, arg)
        if event == "c_call" and self._error is None and _asks_system(arg) and not _reads_source(frame):
            self._error = UnsupportedError("DY210", self._loc(), _frozen(self._function), hint=_HINT)
            raise self._error
        if event == "call" and frame.f_code is _ENVIRON_READ and self._error is None:
            self._error = UnsupportedError("DY210", self._loc(), _frozen(self._function), hint=_HINT)
            raise self._error


_ENVIRON_READ = type(os.environ).__getitem__.__code__


def _asks_system(function: Any) -> bool:
    if function in (io.open, _thread.get_ident):
        return True
    module = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
    return module in _WATCHED_MODULES and getattr(function, "__name__", "") not in _PURE_NAMES


def _reads_source(frame: types.FrameType) -> bool:
    """Whether modules are imported, installed packages asked for their versions, or source is read for a message."""
    caller: types.FrameType | None = frame
    while caller is not None:
        file = caller.f_code.co_filename
        if file.startswith("<frozen importlib") or file in _SPEAKS_OF_SOURCE:
            return True
        caller = caller.f_back
    return False


# ---------------------------------------------------------------- addresses


@model(id)
def _id(machine: Machine, value: Any, *, native: Any) -> Any:
    raise UnsupportedError(
        "DY210", machine.loc(), "id() of an object would be frozen at compile time", hint="compare with `is`"
    )


@model(hash)
def _hash(machine: Machine, value: Any, *, native: Any) -> Any:
    """Numbers have a hash of their own; all other hashes are addresses, or seeded anew by each process.

    What a method `__hash__` computes only says where a dict or a set looks.
    """
    own = machine.own_method(value, "__hash__")
    if own is not None:
        return Interpret(own, (value,))
    if _has_fixed_hash(value) or machine.state.frames[-1].code.name == "__hash__":
        return NotImplemented
    raise UnsupportedError(
        "DY210",
        machine.loc(),
        f"hash() of a {type(value).__name__} differs from process to process",
        hint="use a number of the model's own as a key",
    )


def _has_fixed_hash(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_has_fixed_hash, value))
    return type(value) in (int, float, bool, complex) or isinstance(value, Scalar)


# ---------------------------------------------------------------- variables of the environment


@model(os.getenv)
def _getenv(machine: Machine, key: Any, default: Any = None, *, native: Any) -> Any:
    return Interpret(pymodels.environment_get, (key, default))


@model(Mapping.get)
def _mapping_get(machine: Machine, table: Any, key: Any, default: Any = None, *, native: Any) -> Any:
    return Interpret(pymodels.environment_get, (key, default)) if table is os.environ else NotImplemented


@model(pymodels.has_variable)
def _has_variable(machine: Machine, key: Any, *, native: Any) -> Any:
    return draw_number(machine, "environment_has", (machine.plain(key),), ScalarKind.BOOL)


@model(pymodels.variable)
def _variable(machine: Machine, key: Any, *, native: Any) -> Any:
    return machine.text_of(draw_number(machine, "environment", (machine.plain(key),), ScalarKind.STR))
