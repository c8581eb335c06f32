"""Calls: what is stepped into, what runs natively, and what is recorded as one operation.

Python that is not torch's or the standard library's is always interpreted: it is cheap, and only so do writes go to the
journal and forks find a program point. A module tree that is torch's own is one operation. Torch's and the standard
library's Python runs natively until it is caught deciding something that only the run knows; then it is interpreted.
"""

from __future__ import annotations

import collections
import contextvars
import enum
import functools
import operator
import types
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from dycl.diagnostics import UnsupportedError
from dycl.frontend.code import Code
from dycl.frontend.lower import lower_function
from dycl.ir.trees import leaves
from dycl.passes.specialize import (  # noqa: F401  (the models register themselves)
    copying,
    modulemodels,
    ordering,
    procedures,
    pyiterators,
    pymodels,
    rows,
    torchfunctions,
)
from dycl.passes.specialize.binding import bind
from dycl.passes.specialize.builtins import MODELS, Interpret, has_runtime
from dycl.passes.specialize.dataclassinits import initialization, runs_own_code, written_init
from dycl.passes.specialize.generators import call_generator_method, is_generator_method
from dycl.passes.specialize.iteration import Iteration
from dycl.passes.specialize.lists import is_join, joined
from dycl.passes.specialize.origins import TORCH
from dycl.passes.specialize.protocols import own_method
from dycl.passes.specialize.signals import Unknown
from dycl.passes.specialize.starred import Rest
from dycl.passes.specialize.state import Frame
from dycl.passes.specialize.textops import call_text_method, is_text_method
from dycl.passes.specialize.texts import format_text
from dycl.passes.specialize.values import (
    Closure,
    Generator,
    RuntimeRange,
    Scalar,
    Text,
)
from dycl.passes.specialize.walker import Walker

MAX_DEPTH = 300

# Parts of the standard library that are interpreted from the start: their Python calls back into the model.

# Native functions that may be handed run-time values: they move them about, compare them or ask for their truth.

_NO_VALUE = object()
_MODELLED_OWNERS: tuple[type, ...] = (
    list,
    tuple,
    dict,
    torch.Tensor,
    contextvars.ContextVar,
)  # bound methods with models
_MODULE_CALLS = (torch.nn.Module.__call__, torch.nn.Module._call_impl)
_GETTERS: dict[type, Any] = dict.fromkeys((operator.itemgetter, operator.attrgetter), pymodels.call_getter)
_HIDING = TORCH + "_compile.py"


class Calls(Iteration):
    """The part of the machine that calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.guilty_modules: set[int] = set()
        self._torch_only: dict[int, bool] = {}
        self.codes: dict[types.CodeType, Code] = {}

    # ------------------------------------------------------------ policy

    def is_leaf(self, module: torch.nn.Module) -> bool:
        """Whether a module and all that is in it is torch's own, without hooks: then its call is one operation.

        A module that holds state is none: it would see what they were before the run.
        """
        found = self._torch_only.get(id(module))
        if found is None:
            found = self._torch_only[id(module)] = all(
                type(part).__module__.startswith("torch.nn.modules")
                and "forward" not in vars(part)
                and not part._forward_hooks
                and not part._forward_pre_hooks
                and not any(
                    id(tensor) in self.hints.stateful for tensor in (*part.parameters(False), *part.buffers(False))
                )
                for part in module.modules()
            )
        written = {target for target, _, _ in self.state.journal}
        return found and not any(id(part) in self.guilty_modules or id(part) in written for part in module.modules())

    # ------------------------------------------------------------ the call

    def call(self, frame: Frame, dst: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Call; the result goes to the register, now or when the frame that was entered returns."""
        function, args, kwargs = self.peel(function, args, kwargs)
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
        if (
            type(function) is types.FunctionType
            and function in _MODULE_CALLS
            and args
            and isinstance(args[0], torch.nn.Module)
        ):
            self._run_module(frame, dst, args[0], args[1:], kwargs)
            return
        if is_generator_method(function):
            call_generator_method(self, function, dst, args[0], args[1:])  # type: ignore[arg-type]
            return
        result = self._modelled(frame, dst, function, args, kwargs)
        if result is not NotImplemented:
            if result is not _NO_VALUE:
                self.put(frame, dst, result)
            return
        if self.is_steppable(function):
            self.enter(function, args, kwargs, dst)
            return
        if (written := written_init(function, args)) is not None:
            self.enter(pymodels.initialize, initialization(function, written, args, kwargs), {}, dst)
            return
        if isinstance(function, enum.EnumMeta) and is_member_asked(function, args, kwargs):
            self.enter(pymodels.enum_member, (function, *args), {}, dst)
            return
        if isinstance(function, type) and self._is_constructed(function):
            self.enter(pymodels.construct, (function, args, kwargs), {}, dst)
            return
        method = next((vars(cls)["__call__"] for cls in type(function).__mro__ if "__call__" in vars(cls)), None)
        if type(function) is not types.FunctionType and self.is_steppable(method):
            self.enter(method, (function, *args), kwargs, dst)
            return
        owner = getattr(function, "__self__", None)
        if not kwargs and is_join(function, args):
            with self.recorder:
                self.put(frame, dst, joined(self, owner, args[0]))  # type: ignore[arg-type]
            return
        if not kwargs and is_text_method(function, args):
            with self.recorder:
                self.put(frame, dst, call_text_method(self, function, args))  # type: ignore[arg-type]
            return
        if type(owner) is str and function.__name__ == "format" and has_runtime((args, kwargs)):
            self.put(frame, dst, format_text(self, owner, args, kwargs))  # type: ignore[arg-type]
            return
        wanted = tuple(
            isinstance(arg, RuntimeRange | Generator) or own_method(self, arg, "__iter__") is not None  # type: ignore[arg-type]
            for arg in args
        )
        if any(wanted) and not kwargs and _is_consumer(function):
            self.enter(pyiterators.consume, (function, args, wanted), {}, dst)
            return
        self.put(frame, dst, self.native(function, args, kwargs))

    def peel(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The function behind partials, bound methods, caches and gradient-mode decorators."""
        while True:
            if type(function) is functools.partial:
                function, args, kwargs = function.func, (*function.args, *args), {**function.keywords, **kwargs}
            elif type(function) is types.MethodType:
                function, args = function.__func__, (function.__self__, *args)
            elif (eager := _eager(function)) is not None:
                function = eager
            elif type(function) is types.MethodWrapperType and function.__name__ in _ATTRIBUTE_METHODS:
                function, args = getattr(function.__objclass__, function.__name__), (function.__self__, *args)
            elif type(function) in _GETTERS:
                made_by, made_of = function.__reduce__()[:2]
                function, args = _GETTERS[type(function)], (made_by, made_of, args)
            elif isinstance(function, functools._lru_cache_wrapper):
                function, args, kwargs = pymodels.cached, (function.__wrapped__, args, kwargs), {}
            elif _is_gradient_wrapper(function):
                function = function.__wrapped__
            else:
                return function, args, kwargs

    def _modelled(self, frame: Frame, dst: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            found = MODELS.get(function)
        except TypeError:
            return NotImplemented
        if found is None and isinstance(function, types.BuiltinFunctionType):
            owner: Any = function.__self__
            kind = next((kind for kind in _MODELLED_OWNERS if isinstance(owner, kind)), None)
            unbound = getattr(kind, function.__name__, None)
            if kind is not None and unbound in MODELS:
                found, function, args = MODELS[unbound], unbound, (owner, *args)
        if found is None:
            return NotImplemented
        if "input" in kwargs and not args:  # torch's name of a first parameter, which its model may call otherwise
            args, kwargs = (kwargs["input"],), {name: value for name, value in kwargs.items() if name != "input"}
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
        made_by = (getattr(cls, "__init__", None), getattr(cls.__new__, "__func__", cls.__new__))
        return any(map(self.is_steppable, made_by)) or runs_own_code(self, cls)  # type: ignore[arg-type]

    # ------------------------------------------------------------ modules

    def _call_module(
        self, frame: Frame, dst: str, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if isinstance(module, torch._dynamo.eval_frame.OptimizedModule):
            module = module._orig_mod
        own_call = type(module).__call__
        if own_call is not torch.nn.Module.__call__ and self.is_steppable(own_call):
            self.enter(own_call, (module, *args), kwargs, dst)
            return
        self._run_module(frame, dst, module, args, kwargs)

    def _run_module(
        self, frame: Frame, dst: str, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """What `torch.nn.Module.__call__` does."""
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
        if any(isinstance(arg, PackedSequence) for arg in args):
            return False
        return all(
            leaf is None or isinstance(leaf, (torch.Tensor, bool, int, float, str, Scalar, torch.SymInt))
            for leaf in leaves((args, kwargs))
        )

    # ------------------------------------------------------------ stepping in

    def enter(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dst: Any) -> None:
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
        rest = code.parameters.var_positional
        if rest is not None and frame.regs[rest] and isinstance(frame.regs[rest][-1], Rest):
            frame.regs[rest] = frame.regs[rest][-1].items
        frame.cells = {name: cells[name] for name in code.free_names}
        for name in code.cell_names:
            frame.cells[name] = types.CellType()
        frame.result = dst
        if code.is_generator:
            generator = Generator(frame)
            frame.owner = generator
            self.put(self.state.frames[-1], dst, generator)
            return
        if self.state.frames and procedures.note_recursion(self, frame):  # type: ignore[arg-type]
            procedures.invoke(self, frame)  # type: ignore[arg-type]
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

    def given_tensors(self) -> list[Any]:
        """The tensors that the procedure, whose body the path is in, was handed; not those that are state."""
        if self.state.procedure is None:
            return []
        walker = Walker(self, self.state)
        walker.walk(self.state.given, False)
        kept = {id(tensor) for tensor in self.stateful_fakes.values()}
        return [tensor for tensor in walker.tensors if id(tensor) not in kept]

    # ------------------------------------------------------------ native calls

    # ------------------------------------------------------------ iteration

    # ------------------------------------------------------------ small services

    # ------------------------------------------------------------ run-time lists

    # ------------------------------------------------------------ exceptions of torch


def _eager(function: Any) -> Any:
    """The function behind one that `torch.compile` or `torch.jit.script` has wrapped, if it is one."""
    if isinstance(function, torch.jit.ScriptFunction):
        return getattr(function, "_torchdynamo_inline", None)
    return getattr(function, "_torchdynamo_orig_callable", None) if type(function) is types.FunctionType else None


_ATTRIBUTE_METHODS = ("__getattribute__", "__setattr__", "__delattr__")


def _is_gradient_wrapper(function: Any) -> bool:
    """`@torch.no_grad()` and its relatives: everything runs without gradients anyway.

    And what hides a function of torch from torch.compile alone: it would make two of one.
    """
    return (
        type(function) is types.FunctionType
        and (function.__code__.co_name == "decorate_context" or function.__code__.co_filename == _HIDING)
        and function.__code__.co_filename.startswith(TORCH)
        and hasattr(function, "__wrapped__")
    )


def _is_consumer(function: Any) -> bool:
    """Whether a builtin takes all items of its arguments before it does anything else with them."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, (list, set, str, collections.deque)):
        return getattr(function, "__name__", "") in ("extend", "update", "join", "extendleft")
    return function in (list, tuple, set, frozenset, sum, sorted, collections.deque)


def is_member_asked(cls: enum.EnumMeta, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an enumeration asks for the member of a value that only the run knows."""
    has_rule = any("_missing_" in vars(base) for base in cls.__mro__ if base is not enum.Enum)
    is_plain = not issubclass(cls, enum.Flag) and not has_rule
    return is_plain and len(args) == 1 and not kwargs and isinstance(args[0], Scalar | Text)


def _hooks(module: torch.nn.Module) -> tuple[list[Any], list[Any]]:
    from torch.nn.modules import module as machinery

    always = [(hook, False) for hook in machinery._global_forward_hooks.values()]
    before = [(hook, False) for hook in machinery._global_forward_pre_hooks.values()]
    own = [(hook, key in module._forward_hooks_with_kwargs) for key, hook in module._forward_hooks.items()]
    own_before = [
        (hook, key in module._forward_pre_hooks_with_kwargs) for key, hook in module._forward_pre_hooks.items()
    ]
    return always + own, before + own_before
