"""Calls: what is stepped into, what runs natively, and what is recorded as one operation.

Python that is not torch's or the standard library's is always interpreted: it is cheap, and only so do writes go to the
journal and forks find a program point. A module tree that is torch's own is one operation. Torch's and the standard
library's Python runs natively until it is caught deciding something that only the run knows; then it is interpreted too.
"""

from __future__ import annotations

import functools
import inspect
import operator
import os
import types
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from dycl.diagnostics import DyclError, UnsupportedError
from dycl.frontend.code import Code
from dycl.frontend.lower import lower_function
from dycl.ir.nodes import ScalarKind, ScalarType, TensorType
from dycl.passes.specialize import pymodels
from dycl.passes.specialize.builtins import MODELS, Interpret, check_pure, has_runtime, is_logging, is_runtime
from dycl.passes.specialize.journal import Journal
from dycl.passes.specialize.recorder import Recorder
from dycl.passes.specialize.signals import Drain, Question, Signal, Unknown
from dycl.passes.specialize.state import Frame
from dycl.passes.specialize.trees import leaves, map_leaves
from dycl.passes.specialize.values import (
    Closure,
    Generator,
    RangeIterator,
    RuntimeList,
    RuntimeRange,
    Scalar,
    SequenceIterator,
    Text,
    TextPart,
)

TORCH = os.path.dirname(torch.__file__) + os.sep
STDLIB = os.path.dirname(os.__file__) + os.sep
MODELS_FILE = pymodels.__file__
OWN = os.path.dirname(MODELS_FILE) + os.sep  # the machine's own values are no source of the model's
MAX_DEPTH = 300

# Parts of the standard library that are interpreted from the start: their Python calls back into the model.
_STEPPED_LIBRARY = tuple(
    STDLIB + name for name in ("contextlib.py", "functools.py", "dataclasses.py", "collections" + os.sep)
)

# Native functions that may be handed run-time values: they move them about, compare them or ask for their truth.
_MOVERS: frozenset[Any] = frozenset(
    {
        list,
        tuple,
        dict,
        set,
        frozenset,
        sum,
        any,
        all,
        min,
        max,
        sorted,
        isinstance,
        issubclass,
        callable,
        id,
        object,
        slice,
        next,
        zip,
        bool,
        divmod,
        abs,
        round,
        pow,
        hasattr,
        getattr,
        type,
        str,
        repr,
        super,
    }
)

_SUBSCRIPTS = (operator.getitem, operator.setitem, operator.delitem, operator.contains)
_NO_VALUE = object()


class Calls(Journal):
    """The part of the machine that calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.recorder = Recorder(self)  # type: ignore[arg-type]
        self.guilty: set[types.CodeType] = set()  # library code caught deciding something
        self.guilty_modules: set[int] = set()
        self._torch_only: dict[int, bool] = {}
        self.codes: dict[types.CodeType, Code] = {}

    # ------------------------------------------------------------ policy

    def is_steppable(self, function: Any) -> bool:
        """Whether calls of this function are interpreted."""
        if type(function) is not types.FunctionType:
            return False
        code = function.__code__
        if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            raise UnsupportedError("DY102", self.loc(), f"{function.__qualname__} is asynchronous")
        file = code.co_filename
        if code in self.guilty or file == MODELS_FILE:
            return True
        if file.startswith(OWN):
            return False
        if file.startswith("<"):
            return False
        if file.startswith(TORCH):
            return False
        if file.startswith(STDLIB) and "site-packages" not in file:
            return file.startswith(_STEPPED_LIBRARY)
        return True

    def is_leaf(self, module: torch.nn.Module) -> bool:
        """Whether a module and all that is in it is torch's own, without hooks: then its call is one operation."""
        found = self._torch_only.get(id(module))
        if found is None:
            found = self._torch_only[id(module)] = all(
                type(part).__module__.startswith("torch.nn.modules")
                and "forward" not in vars(part)
                and not part._forward_hooks
                and not part._forward_pre_hooks
                for part in module.modules()
            )
        return found and not any(id(part) in self.guilty_modules for part in module.modules())

    # ------------------------------------------------------------ the call

    def call(self, frame: Frame, dst: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Call; the result goes to the register, now or when the frame that was entered returns."""
        function, args, kwargs = self._peel(function, args, kwargs)
        if type(function) is Closure:
            self.enter_code(
                function.code,
                function.globals,
                function.cells,
                function.defaults,
                function.keyword_defaults,
                args,
                kwargs,
                dst,
            )
            return
        if isinstance(function, torch.nn.Module):
            self._call_module(frame, dst, function, args, kwargs)
            return
        result = self._modelled(frame, dst, function, args, kwargs)
        if result is not NotImplemented:
            if result is not _NO_VALUE:
                self.put(frame, dst, result)
            return
        if self.is_steppable(function):
            self.enter(function, args, kwargs, dst)
            return
        if isinstance(function, type) and self._is_constructed(function):
            self.enter(pymodels.construct, (function, args, kwargs), {}, dst)
            return
        method = getattr(type(function), "__call__", None)
        if type(function) is not types.FunctionType and self.is_steppable(method):
            self.enter(method, (function, *args), kwargs, dst)
            return
        self.put(frame, dst, self.native(function, args, kwargs))

    def _peel(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The function behind partials, bound methods, caches and gradient-mode decorators."""
        while True:
            if type(function) is functools.partial:
                function, args, kwargs = function.func, (*function.args, *args), {**function.keywords, **kwargs}
            elif type(function) is types.MethodType:
                function, args = function.__func__, (function.__self__, *args)
            elif isinstance(function, functools._lru_cache_wrapper) or _is_gradient_wrapper(function):
                function = function.__wrapped__
            else:
                return function, args, kwargs

    def _modelled(self, frame: Frame, dst: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            found = MODELS.get(function)
        except TypeError:
            return NotImplemented
        if (
            found is None
            and isinstance(function, types.BuiltinFunctionType)
            and type(function.__self__) is list
            and function.__name__ == "sort"
        ):
            found, function, args = MODELS[list.sort], list.sort, (function.__self__, *args)
        if found is None:
            return NotImplemented
        with self.recorder:
            result = found(self, *args, native=function, **kwargs)
        if isinstance(result, Interpret):
            self.enter(result.function, result.args, {}, dst)
            return _NO_VALUE
        return result

    def _is_constructed(self, cls: type) -> bool:
        """Whether making an instance runs Python of the model's."""
        if type(cls).__call__ is not type.__call__:
            return False
        return self.is_steppable(cls.__init__) or self.is_steppable(getattr(cls.__new__, "__func__", cls.__new__))

    # ------------------------------------------------------------ modules

    def _call_module(
        self, frame: Frame, dst: str, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        own_call = type(module).__call__
        if own_call is not torch.nn.Module.__call__ and self.is_steppable(own_call):
            self.enter(own_call, (module, *args), kwargs, dst)
            return
        hooks, pre_hooks = _hooks(module)
        if hooks or pre_hooks:
            self.enter(pymodels.call_with_hooks, (module, module.forward, pre_hooks, hooks, args, kwargs), {}, dst)
            return
        if self.is_leaf(module) and self._is_plain(args, kwargs):
            path = self.weight_names.module(module)
            try:
                with torch._C.DisableTorchFunction():
                    self.put(frame, dst, self.recorder.module(path, module, args, kwargs))
                return
            except Unknown:
                self.guilty_modules.add(id(module))
                self._forget_operations()
        forward = module.forward
        function = getattr(forward, "__func__", None)
        if isinstance(function, types.FunctionType):
            self.guilty.add(function.__code__) if function.__code__.co_filename.startswith(TORCH) else None
        self.call(frame, dst, forward, args, kwargs)

    def _is_plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return all(
            leaf is None or isinstance(leaf, (torch.Tensor, bool, int, float, str, Scalar, torch.SymInt))
            for leaf in leaves((args, kwargs))
        )

    def _forget_operations(self) -> None:
        """Take back what the current instruction has recorded: it will be run in another way."""
        if any(effect for _, _, effect in (*self.state.replay, *self.fresh_log)):
            raise UnsupportedError(
                "DY201", self.loc(), "a library function writes into a tensor before it decides something"
            )
        del self.state.block.ops[self.operations_before :]
        self.state.replay, self.fresh_log, self.position = [], [], 0

    # ------------------------------------------------------------ stepping in

    def enter(self, function: types.FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any], dst: Any) -> None:
        """Push a frame for a Python function."""
        code = self.codes.get(function.__code__)
        if code is None:
            code = self.codes[function.__code__] = lower_function(function)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        self.remember_old(function)
        for cell in cells.values():
            self.known_objects.setdefault(id(cell), cell)
            self.keep.append(cell)
        self.enter_code(
            code,
            function.__globals__,
            cells,
            function.__defaults__ or (),
            function.__kwdefaults__ or {},
            args,
            kwargs,
            dst,
        )

    def enter_code(
        self,
        code: Code,
        global_names: dict[str, Any],
        cells: dict[str, Any],
        defaults: tuple[Any, ...],
        keyword_defaults: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        dst: Any,
    ) -> None:
        """Push a frame for lowered code, or make its generator."""
        frame = Frame(code, global_names)
        frame.regs = bind(code, defaults, keyword_defaults, args, kwargs)
        frame.cells = {name: cells[name] for name in code.free_names}
        for name in code.cell_names:
            frame.cells[name] = types.CellType()
        frame.result = dst
        if code.is_generator:
            generator = Generator(frame)
            frame.owner = generator
            self.put(self.state.frames[-1], dst, generator)
            return
        if len(self.state.frames) >= MAX_DEPTH:
            raise UnsupportedError(
                "DY208",
                self.loc(),
                f"more than {MAX_DEPTH} calls within one another",
                hint="recursion whose depth depends on the input is not supported yet",
            )
        frame.forks = self.state.forks
        self.state.frames.append(frame)

    # ------------------------------------------------------------ native calls

    def native(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of native code, whose calls of torch are recorded."""
        check_pure(self, function)  # type: ignore[arg-type]
        if is_logging(function):
            self.dropped_effects.append(self.loc())
            return None
        args, kwargs = self._native_text(function, args, kwargs)
        if self._is_torch(function, args):
            args, kwargs = self.native_arguments((args, kwargs))
        self._check_mover(function, args, kwargs)
        snapshots = self.before_native(function, args, kwargs)
        try:
            with self.recorder:
                result = function(*args, **kwargs)
        except (Question, Unknown) as signal:
            self.undo_native(snapshots)
            if isinstance(function, types.FunctionType) and self._blame(function):
                self._forget_operations()
                raise StepIn from signal
            if isinstance(signal, Unknown):
                raise UnsupportedError(
                    "DY203",
                    self.loc(),
                    f"{getattr(function, '__name__', function)} decides something that only the run knows ({signal})",
                ) from None
            raise
        except Signal:
            self.undo_native(snapshots)
            raise
        self.after_native(snapshots)
        return result

    def _is_torch(self, function: Any, args: tuple[Any, ...]) -> bool:
        """Whether torch's own code gets the arguments: it takes its symbolic numbers, not the machine's scalars."""
        owner = getattr(function, "__self__", None)
        if function in _SUBSCRIPTS:
            return isinstance(args[0], torch.Tensor)
        if isinstance(owner, torch.Tensor) or any(isinstance(arg, torch.Tensor) for arg in args):
            return not isinstance(owner, (list, dict, set)) and function not in (isinstance, list, tuple)
        module = getattr(function, "__module__", None)
        return (
            (isinstance(module, str)
            and module.partition(".")[0] == "torch")
            or owner is torch._C._VariableFunctions
            or (type(owner).__name__ == "module"
            and owner.__name__.startswith("torch"))
        )

    def _blame(self, function: types.FunctionType) -> bool:
        """Interpret this library function from now on; False if that cannot help."""
        code = function.__code__
        if code in self.guilty or code.co_filename.startswith("<"):
            return False
        self.guilty.add(code)
        return True

    def _native_text(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Native code reads characters: run-time text becomes text, one branch for each value of its numbers."""
        keeps = isinstance(function, type) and issubclass(function, BaseException)
        if keeps or not any(isinstance(leaf, Text) for leaf in leaves((args, kwargs))):
            owner = getattr(function, "__self__", None)
            if isinstance(owner, Text):
                raise UnsupportedError("DY204", self.loc(), f"str.{function.__name__} of a text with run-time numbers")
            return args, kwargs
        if isinstance(getattr(function, "__self__", None), (list, dict, set)):
            return args, kwargs
        return map_leaves(self.plain, args), map_leaves(self.plain, kwargs)

    def _check_mover(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Native code may be handed run-time values only if it is known what it does with them."""
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or type(owner).__module__
        if isinstance(owner, torch.Tensor) or (
            isinstance(module, str) and module.partition(".")[0] in ("torch", "dycl", "_operator", "operator")
        ):
            return
        if (
            isinstance(owner, type(torch._C))
            or owner is torch._C
            or getattr(function, "__objclass__", None) is torch._C.TensorBase
        ):
            return
        if isinstance(owner, (list, dict, set, tuple, frozenset)) or type(owner).__module__ == "collections":
            return
        if isinstance(function, type) and (
            issubclass(function, BaseException) or hasattr(function, "_fields") or self._keeps_fields(function)
        ):
            return
        try:
            if function in _MOVERS:
                return
        except TypeError:
            pass
        if isinstance(function, types.FunctionType) and function.__code__.co_filename.startswith("<"):
            return
        if (
            type(owner) is type
            or inspect.ismethoddescriptor(function)
            or isinstance(function, types.MethodWrapperType | types.WrapperDescriptorType)
        ):
            return
        if not has_runtime((args, kwargs)) and not isinstance(owner, (Scalar, RuntimeList)):
            return
        if isinstance(function, types.FunctionType) and self._blame(function):
            raise StepIn
        if module == "collections" or isinstance(owner, Scalar):
            return
        raise UnsupportedError(
            "DY203",
            self.loc(),
            f"{module}.{getattr(function, '__qualname__', function)} is handed run-time values",
            hint="use the function of torch or of Python's own that does the same",
        )

    def _keeps_fields(self, cls: type) -> bool:
        """A class whose native constructor only stores its arguments."""
        return (
            hasattr(cls, "__dataclass_fields__")
            or cls.__init__ is object.__init__
            or cls.__module__.partition(".")[0] in ("collections", "types")
        )

    # ------------------------------------------------------------ iteration

    def iterator(self, value: Any) -> Any:
        """`iter(value)` as the machine's own iterator, or `Interpret`."""
        kind = type(value)
        if kind in (RangeIterator, SequenceIterator, Generator):
            return value
        if kind is RuntimeRange:
            return Interpret(pymodels.range_, (value.start, value.stop, value.step))
        if kind is RuntimeList:
            return Interpret(pymodels.list_items, (value,))
        if isinstance(value, torch.Tensor) and value.dim() and not isinstance(value.shape[0], int):
            return Interpret(pymodels.tensor_rows, (value,))
        if kind is range:
            return RangeIterator(value.start, value.stop, value.step)
        if kind is list:
            return SequenceIterator(value)
        own = getattr(kind, "__iter__", None)
        if self.is_steppable(own):
            return Interpret(own, (value,))
        if isinstance(value, Text):
            raise UnsupportedError("DY204", self.loc(), "iteration over a text with run-time numbers")
        items = tuple(self.native(iter, (value,), {}))
        return SequenceIterator(items, value if kind in (dict, set) else None)

    def plain_iterator(self, value: Any) -> Any:
        """Something iterable that a fork can copy: native views and iterators become the machine's own."""
        if isinstance(
            value, (list, tuple, range, RuntimeList, RuntimeRange, Generator, torch.Tensor)
        ) or self.is_steppable(getattr(type(value), "__iter__", None)):
            return value
        found = self.iterator(value)
        if isinstance(found, SequenceIterator) and found is not value and found.watched is None:
            found.is_private = True
        return found

    # ------------------------------------------------------------ small services

    def put(self, frame: Frame, dst: Any, value: Any) -> None:
        """Write a result to a register, in the machine's terms."""
        frame.regs[dst] = self.wrapped(value)

    def wrapped(self, value: Any) -> Any:
        """Torch's symbolic numbers as scalars, stateful weights as the tensors that stand for them."""
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return self.scalar_of(value)
        if self.stateful_fakes and id(value) in self.stateful_fakes:
            return self.stateful_fakes[id(value)]
        return value

    def plain(self, value: Any) -> Any:
        """A text whose run-time numbers are made concrete."""
        if not isinstance(value, Text):
            return value
        return "".join(part if isinstance(part, str) else self._concrete_part(part) for part in value.parts)

    def _concrete_part(self, part: TextPart) -> str:
        value = self.concrete(part.value)
        converted = {"": lambda v: v, "s": str, "r": repr, "a": ascii}[part.conversion](value)
        return format(converted, part.spec)

    def formatted(self, value: Any, conversion: str, spec: str) -> Any:
        """One field of a text."""
        if isinstance(value, torch.Tensor):
            if value.dim() or conversion in ("r", "a"):
                raise UnsupportedError("DY203", self.loc(), "the text of a tensor", hint="format its item() instead")
            value = self.recorder.item(value)
        if isinstance(value, Scalar):
            return Text.of(TextPart(value, conversion, spec))
        if isinstance(value, Text) and not spec and conversion in ("", "s"):
            return value
        if is_runtime(value) or has_runtime(value):
            raise UnsupportedError(
                "DY203", self.loc(), f"the text of a {type(value).__name__} that holds run-time values"
            )
        return format({"": lambda v: v, "s": str, "r": repr, "a": ascii}[conversion](value), spec)

    def truth_of(self, value: Any) -> bool:
        """`bool(value)`."""
        if isinstance(value, Scalar):
            return self.truth(value)
        if isinstance(value, RuntimeList):
            return self.truth(self.host("ne", self.list_length(value), 0))
        if isinstance(value, RuntimeRange):
            return self.truth(value.start < value.stop) if value.step > 0 else self.truth(value.start > value.stop)
        if isinstance(value, (Generator, Closure)):
            return True
        with self.recorder:
            return bool(value)

    # ------------------------------------------------------------ run-time lists

    def list_length(self, items: RuntimeList) -> Scalar:
        """len() of a run-time list."""
        call = ("list_len", items.vid)
        found, out = self.replayed(call)
        if found:
            return out
        length = self.host_op("list_len", (self.operand(items),), ScalarKind.INT)
        self._give_symbol(length)
        self.bound_symbol(length.expr, 0, None)  # type: ignore[arg-type]
        self.log(call, length)
        return length

    def list_append(self, items: RuntimeList, value: Any) -> None:
        """items.append(value)."""
        value = self.list_value(items, value)
        old = items.vid
        items.vid = self.values.new(items.type, self.values.names.get(old, ""))
        self.emit_list("list_append", (old, value), items.vid)

    def list_get(self, items: RuntimeList, index: Any) -> Any:
        """items[index], with the index checked as a decision."""
        length = self.list_length(items)
        position = index if self.truth(index >= 0) else self.host("add", index, length)
        if not (self.truth(self.host("ge", position, 0)) and self.truth(self.host("lt", position, length))):
            raise IndexError("list index out of range")
        call = ("list_get", items.vid, getattr(position, "vid", position))
        found, out = self.replayed(call)
        if found:
            return out
        assert isinstance(items.element, ScalarType)
        got = self.host_op("list_get", (self.operand(items), self.operand(position)), items.element.kind)
        if got.kind is ScalarKind.INT:
            self._give_symbol(got)
        self.log(call, got)
        return got

    def list_value(self, items: RuntimeList, value: Any) -> Any:
        """A value that such a list can hold."""
        if isinstance(items.element, ScalarType):
            from dycl.passes.specialize.scalars import kind_of

            if isinstance(value, (Scalar, bool, int, float)) and kind_of(value) is items.element.kind:
                return value
        raise UnsupportedError(
            "DY204",
            self.loc(),
            f"a {type(value).__name__} in a list of run-time length that holds {_element_text(items.element)}",
        )

    def emit_list(self, name: str, args: tuple[Any, ...], vid: Any) -> None:
        """Emit a host operation that makes a list."""
        from dycl.ir.nodes import HostOp, Ref

        old, value = args
        self.emit(HostOp(function=name, args=(Ref(old), self.operand(value)), result=self.value(vid), loc=self.loc()))

    # ------------------------------------------------------------ exceptions of torch

    def genuine(self, error: Exception, function: Any, args: Any, kwargs: Any) -> BaseException:
        """The exception eager would raise: torch's meta functions fail differently, so the kernel is asked with zeros."""
        if isinstance(error, DyclError):
            return error
        if not self.has_symbols(args, kwargs):
            with unset_fake_temporarily(), torch._C.DisableTorchFunction():
                real_args, real_kwargs = map_leaves(_zeros, (args, kwargs))
                try:
                    function(*real_args, **real_kwargs)
                except Exception as real:
                    if type(real) is type(error) or isinstance(real, type(error)):
                        return type(real)(*real.args)
        return UnsupportedError(
            "DY209",
            self.loc(),
            f"torch cannot tell the shape of this operation without data: {type(error).__name__}: {_first_line(error)}",
        )


class _StepIn(Signal):
    """The instruction is to be run again: its callee will be interpreted now."""


StepIn = _StepIn("step in")


def _zeros(leaf: Any) -> Any:
    if isinstance(leaf, FakeTensor):
        return torch.zeros(tuple(leaf.shape), dtype=leaf.dtype)
    return leaf


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _element_text(element: TensorType | ScalarType) -> str:
    return element.kind.value if isinstance(element, ScalarType) else "tensors"


def _is_gradient_wrapper(function: Any) -> bool:
    """`@torch.no_grad()` and its relatives: everything runs without gradients anyway."""
    return (
        type(function) is types.FunctionType
        and function.__code__.co_name == "decorate_context"
        and function.__code__.co_filename.startswith(TORCH)
        and hasattr(function, "__wrapped__")
    )


def _hooks(module: torch.nn.Module) -> tuple[list[Any], list[Any]]:
    from torch.nn.modules import module as machinery

    always = [(hook, False) for hook in machinery._global_forward_hooks.values()]
    before = [(hook, False) for hook in machinery._global_forward_pre_hooks.values()]
    own = [(hook, key in module._forward_hooks_with_kwargs) for key, hook in module._forward_hooks.items()]
    own_before = [
        (hook, key in module._forward_pre_hooks_with_kwargs) for key, hook in module._forward_pre_hooks.items()
    ]
    return always + own, before + own_before


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
        raise TypeError(
            f"{name}() takes {len(positional)} positional argument{'s' * (len(positional) != 1)} but {len(args)} were given"
        )
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
        raise TypeError(
            f"{name}() missing {len(missing)} required argument{'s' * (len(missing) != 1)}: {', '.join(map(repr, missing))}"
        )
    if parameters.var_keyword is not None:
        bound[parameters.var_keyword] = rest
    elif rest:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(rest))}'")
    return bound


__all__ = ["Calls", "Drain", "StepIn", "bind"]
